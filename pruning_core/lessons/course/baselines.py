"""Smallest first, at random, largest first: the same budget, three accuracies."""

from collections.abc import Sequence

from pruning_core.lessons import lab
from pruning_core.lessons.lesson import (
    LESSONS,
    Check,
    Facts,
    Lesson,
    Measuring,
    Number,
    Picture,
    Scene,
)
from pruning_core.planning.recipe import Ratio, Recipe

_MODEL = "bundled:lenet_300_100"
_RATIOS = (0, 10, 20, 30, 40, 50, 60, 70, 80, 90, 95)
_RULES = {"smallest": ("l1", False), "random": ("random", False), "largest": ("l1", True)}
_BREAKS = 10.0


def _planned(rule: str, percent: float) -> Recipe:
    criterion, reverse = _RULES[rule]
    return Recipe(
        model=_MODEL,
        criterion=criterion,
        reverse=reverse,
        scope="local",
        target=Ratio(value=percent / 100),
    )


def _measure() -> Measuring:
    curves: dict[str, list[float]] = {rule: [] for rule in _RULES}
    done = 0
    for ratio in _RATIOS:
        for rule, curve in curves.items():
            yield done / (len(_RATIOS) * len(_RULES)), rule
            curve.append(round(lab.right(_planned(rule, ratio)), 4))
            done += 1
    dense = curves["smallest"][0]
    broken = {
        rule: next((r for r, y in zip(_RATIOS, curve, strict=True) if dense - y > _BREAKS), 100)
        for rule, curve in curves.items()
    }
    return {
        "ratios": list(_RATIOS),
        "curves": curves,
        "dense": dense,
        "n": lab.accuracy(_planned("smallest", 0)).n,
        "breaks": broken["random"],
        "breaks_smallest": broken["smallest"],
        "breaks_largest": broken["largest"],
    }


def _act(facts: Facts, value: float) -> Facts:
    nearest = min(range(len(_RATIOS)), key=lambda place: abs(_RATIOS[place] - value))
    at = {rule: curve[nearest] for rule, curve in facts["curves"].items()}
    return {**at, "ratio": _RATIOS[nearest], "gap": at["smallest"] - at["random"]}


def _pictures(scene: Scene) -> Sequence[Picture]:
    from pruning_core.figures import teaching
    from pruning_core.figures.canvas import Caption

    if not scene.revealed:
        return []
    facts, words = scene.facts, scene.words
    curves = facts["curves"]
    figure = teaching.lines(
        [
            teaching.Series(words(f"pictures.{rule}"), curves[rule], facts["ratios"], look)
            for look, rule in ((0, "smallest"), (2, "random"), (1, "largest"))
        ],
        teaching.Axes(words("pictures.ratio"), words("pictures.accuracy"), (0, 97), (0, 100)),
        Caption(
            words("pictures.finding", breaks=facts["breaks"], dense=facts["dense"]),
            words("pictures.subject"),
        ),
        scene.colours,
        guess=teaching.Guess(words("pictures.guess"), [facts["dense"] - _BREAKS], [scene.guess]),
        marked=(facts["ratio"], words("pictures.here")),
    )
    table = {
        words("pictures.ratio"): facts["ratios"],
        **{words(f"pictures.{rule}"): curves[rule] for rule in _RULES},
    }
    return [Picture("curves", figure, table)]


def _recipe(facts: Facts) -> Recipe:
    return _planned("smallest", float(facts["ratio"]))


LESSONS.add(
    "baselines",
    Lesson(
        key="baselines",
        chapter="criteria",
        place=90,
        sources=("Han et al. 2015, arXiv:1506.02626", "Blalock et al. 2020, arXiv:2003.03033"),
        guess=Number(low=5, high=95, step=5, start=50, near=5),
        do=Number(low=0, high=90, step=10, start=50, near=0),
        measure=_measure,
        act=_act,
        truth=lambda facts: facts["breaks"],
        pictures=_pictures,
        check=Check(
            Number(low=-20, high=100, step=0.5, start=0, near=1.0), lambda facts: facts["gap"]
        ),
        recipe=_recipe,
        is_long=True,
        expected=("dense", "n", "breaks", "breaks_smallest", "breaks_largest"),
    ),
)
