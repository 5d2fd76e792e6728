"""The budget game: a quarter of the size, at most two points lost; then solvers play it."""

from collections.abc import Mapping, Sequence
from typing import Literal

from pruning_core.figures.teaching import Series
from pruning_core.lessons import lab, pictures
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
from pruning_core.planning.recipe import LayerTarget, Ratio, Recipe

_MODEL = "bundled:lenet_5"
_LAYERS = ("conv1", "conv2", "fc1", "fc2")
_SOLVERS: Mapping[str, Literal["local", "erk", "global"]] = {
    "uniform": "local",
    "erk": "erk",
    "ranking": "global",
}
_SIZE, _LOSS, _N = 25.0, 2.0, 500


def _by_hand(ratios: Sequence[float]) -> Recipe:
    targets: dict[str, LayerTarget] = {
        name: Ratio(value=percent / 100)
        for name, percent in zip(_LAYERS, ratios, strict=True)
        if percent
    }
    return Recipe(model=_MODEL, layers=targets)


def _solved(solver: str) -> Recipe:
    weights = {name: lab.weight(_MODEL, f"{name}.weight").size for name in _LAYERS}
    before = lab.preview(Recipe(model=_MODEL)).before.params
    share = before * (1 - _SIZE / 100) / sum(weights.values())
    return Recipe(model=_MODEL, scope=_SOLVERS[solver], target=Ratio(value=min(0.99, share + 1e-3)))


def _played(recipe: Recipe) -> dict[str, float]:
    counted = lab.preview(recipe)
    return {
        "size": 100 * counted.after.nonzero / counted.before.params,
        "lost": lab.dense(_MODEL, _N) - lab.right(recipe, _N),
    }


def _measure() -> Measuring:
    found = {}
    for place, solver in enumerate(_SOLVERS):
        yield place / len(_SOLVERS), solver
        found[solver] = _played(_solved(solver))
    return {
        "solvers": found,
        "best": min(found, key=lambda solver: found[solver]["lost"]),
        "dense": lab.dense(_MODEL, _N),
        "n": _N,
        "size_limit": _SIZE,
        "loss_limit": _LOSS,
        **{f"{solver}_lost": one["lost"] for solver, one in found.items()},
        "counts": {name: int(lab.weight(_MODEL, f"{name}.weight").size) for name in _LAYERS},
    }


def _act(facts: Facts, value: Sequence[float]) -> Facts:
    own = _played(_by_hand(value))
    gone = {
        name: facts["counts"][name] * ratio / 100
        for name, ratio in zip(_LAYERS, value, strict=True)
    }
    main = max(gone, key=lambda name: gone[name])
    total = sum(gone.values())
    return {
        "ratios": list(value),
        "size": own["size"],
        "lost": own["lost"],
        "main": main if total else _LAYERS[2],
        "main_share": 100 * gone[main] / total if total else 0.0,
        "main_n": facts["counts"][main],
    }


def _pictures(scene: Scene) -> Sequence[Picture]:
    words, facts = scene.words, scene.facts
    names, sizes, lost = [words("pictures.you")], [facts["size"]], [facts["lost"]]
    if scene.revealed:
        for solver, one in facts["solvers"].items():
            names.append(words(f"guess.options.{solver}"))
            sizes.append(one["size"])
            lost.append(one["lost"])
    return [
        pictures.bars(
            scene,
            "size",
            names,
            [Series(words("pictures.size.x"), sizes, look=0)],
            x_range=(0, 118),
        ),
        pictures.bars(scene, "lost", names, [Series(words("pictures.lost.x"), lost, look=1)]),
    ]


def _recipe(facts: Facts) -> Recipe:
    return _by_hand(facts["ratios"])


LESSONS.add(
    "budget",
    Lesson(
        key="budget",
        chapter="criteria",
        place=130,
        sources=(
            "MIT 6.5940, Lab 1, question 5",
            "Evci et al. 2020, arXiv:1911.11134",
            "Han et al. 2015, arXiv:1506.02626",
        ),
        guess=Choice(tuple(_SOLVERS)),
        do=Numbers(
            _LAYERS, low=0, high=98, step=1, start=0, near=1, solution=(0.0, 30.0, 79.0, 20.0)
        ),
        measure=_measure,
        act=_act,
        truth=lambda facts: facts["best"],
        pictures=_pictures,
        check=Check(Choice(_LAYERS, literal=True), lambda facts: facts["main"]),
        recipe=_recipe,
        expected=("dense", "n", "best", "uniform_lost", "erk_lost", "ranking_lost"),
        reached=lambda facts: facts["size"] <= _SIZE and facts["lost"] <= _LOSS + 1e-9,
        is_long=True,
    ),
)
