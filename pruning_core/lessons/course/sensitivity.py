"""A sensitivity scan: draw the curve of one layer first, then see all of them."""

from collections.abc import Sequence

from pruning_core.lessons import lab
from pruning_core.lessons.lesson import (
    LESSONS,
    Check,
    Choice,
    Facts,
    Lesson,
    Measuring,
    Numbers,
    Picture,
    Scene,
)
from pruning_core.planning.recipe import Ratio, Recipe

_MODEL = "bundled:lenet_5"
_LAYERS = ("conv1", "conv2", "fc1", "fc2")
_RATIOS = (30, 50, 70, 80, 90, 95)
_DRAWN = ("50", "70", "90", "95")
_ASKED = "conv1"
_N = 500


def _planned(layer: str, percent: float) -> Recipe:
    return Recipe(model=_MODEL, layers={layer: Ratio(value=percent / 100)})


def _measure() -> Measuring:
    dense = lab.dense(_MODEL, _N)
    curves: dict[str, list[float]] = {}
    done = 0
    for layer in _LAYERS:
        curves[layer] = [dense]
        for ratio in _RATIOS:
            yield done / (len(_LAYERS) * len(_RATIOS)), f"{layer} {ratio} %"
            curves[layer].append(round(lab.right(_planned(layer, ratio), _N), 4))
            done += 1
    fallen = {layer: dense - curve[-1] for layer, curve in curves.items()}
    worst = max(fallen, key=lambda layer: fallen[layer])
    best = min(fallen, key=lambda layer: fallen[layer])
    counts = {layer: int(lab.weight(_MODEL, f"{layer}.weight").size) for layer in _LAYERS}
    return {
        "ratios": [0, *_RATIOS],
        "curves": curves,
        "counts": counts,
        "dense": dense,
        "n": _N,
        "worst": worst,
        "best": best,
        "worst_lost": fallen[worst],
        "best_lost": fallen[best],
        "worst_n": counts[worst],
        "best_n": counts[best],
        "asked": _ASKED,
    }


def _act(facts: Facts, value: str) -> Facts:
    curve = facts["curves"][value]
    return {"layer": value, "at_90": curve[-2], "lost_90": facts["dense"] - curve[-2]}


def _truth(facts: Facts) -> list[float]:
    places = [facts["ratios"].index(int(name)) for name in _DRAWN]
    return [facts["curves"][_ASKED][place] for place in places]


def _pictures(scene: Scene) -> Sequence[Picture]:
    from pruning_core.figures import teaching
    from pruning_core.figures.canvas import Caption

    if not scene.revealed:
        return []
    facts, words = scene.facts, scene.words
    looks = {"conv1": 1, "conv2": 0, "fc1": 3, "fc2": 2}
    guess = None
    if scene.guess is not None:
        guess = teaching.Guess(
            words("pictures.guess"), list(scene.guess), [float(name) for name in _DRAWN]
        )
    figure = teaching.lines(
        [
            teaching.Series(layer, facts["curves"][layer], facts["ratios"], looks[layer])
            for layer in _LAYERS
        ],
        teaching.Axes(words("pictures.ratio"), words("pictures.accuracy"), (0, 97), (0, 100)),
        Caption(
            words("pictures.finding", worst=facts["worst"], lost=facts["worst_lost"]),
            words("pictures.subject"),
        ),
        scene.colours,
        guess=guess,
    )
    table = {words("pictures.ratio"): facts["ratios"], **facts["curves"]}
    return [Picture("curves", figure, table)]


def _recipe(facts: Facts) -> Recipe:
    return _planned(facts["layer"], 90)


LESSONS.add(
    "sensitivity",
    Lesson(
        key="sensitivity",
        chapter="criteria",
        place=120,
        sources=("Han et al. 2015, arXiv:1506.02626", "Li et al. 2017, arXiv:1608.08710"),
        guess=Numbers(_DRAWN, low=0, high=100, step=5, start=90, near=7),
        do=Choice(_LAYERS, literal=True),
        measure=_measure,
        act=_act,
        truth=_truth,
        pictures=_pictures,
        check=Check(Choice(_LAYERS, literal=True), lambda facts: facts["best"]),
        recipe=_recipe,
        expected=("dense", "n", "worst", "worst_lost", "best", "best_lost", "curves"),
        is_long=True,
    ),
)
