"""The square law: what share of the MACs is left when every layer loses some channels."""

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

_MODEL = "bundled:resnet_8"
_ASKED = 30


def _planned(percent: float) -> Recipe:
    return Recipe(
        model=_MODEL, granularity="unit", scope="local", target=Ratio(value=percent / 100)
    )


def _left(percent: float) -> dict[str, float]:
    counted = lab.preview(_planned(percent))
    before, after = counted.before, counted.after
    return {"macs": 100 * after.macs / before.macs, "params": 100 * after.params / before.params}


def _measure() -> Measuring:
    ratios = list(range(0, 100, 10))
    curve = []
    for place, ratio in enumerate(ratios):
        yield place / len(ratios), ""
        curve.append(_left(ratio))
    before = lab.preview(_planned(0)).before
    return {
        "ratios": ratios,
        "macs": lab.rounded([one["macs"] for one in curve]),
        "params": lab.rounded([one["params"] for one in curve]),
        "asked": _ASKED,
        "asked_macs": _left(_ASKED)["macs"],
        "dense_macs": before.macs,
    }


def _act(facts: Facts, value: float) -> Facts:
    left = _left(value)
    kept = 1 - value / 100
    return {
        "ratio": value,
        "kept": kept,
        "left_macs": left["macs"],
        "left_params": left["params"],
        "square": 100 * kept * kept,
    }


def _pictures(scene: Scene) -> Sequence[Picture]:
    from pruning_core.figures import teaching
    from pruning_core.figures.canvas import Caption

    facts, words = scene.facts, scene.words
    seen = len(facts["ratios"]) if scene.revealed else 0
    ratios = facts["ratios"][:seen]
    law = list(range(0, 101, 5)) if scene.revealed else [0, 100]
    square = [(100 - x) ** 2 / 100 for x in law]
    series = [teaching.Series(words("pictures.straight"), [100, 0], [0, 100], 2)]
    if scene.revealed:
        series = [
            teaching.Series(words("pictures.macs"), facts["macs"], ratios, 0),
            teaching.Series(words("pictures.params"), facts["params"], ratios, 1),
            *series,
            teaching.Series(words("pictures.law"), square, law, 3),
        ]
        title = words("pictures.finding", ratio=facts["ratio"], left_macs=facts["left_macs"])
    else:
        title = words("pictures.question", ratio=facts["ratio"])
    guess = teaching.Guess(words("pictures.guess"), [scene.guess], [facts["asked"]])
    figure = teaching.lines(
        series,
        teaching.Axes(words("pictures.ratio"), words("pictures.left"), (0, 100), (0, 104)),
        Caption(title, words("pictures.subject")),
        scene.colours,
        guess=guess if scene.guess is not None else None,
        marked=(facts["ratio"], words("pictures.here")),
    )
    table = {
        words("pictures.ratio"): ratios,
        words("pictures.macs"): facts["macs"][:seen],
        words("pictures.params"): facts["params"][:seen],
    }
    return [Picture("curve", figure, table)]


def _recipe(facts: Facts) -> Recipe:
    return _planned(facts["ratio"])


LESSONS.add(
    "square",
    Lesson(
        key="square",
        is_exact=True,
        chapter="granularity",
        place=80,
        sources=("Li et al. 2017, arXiv:1608.08710", "MIT 6.5940, Lab 1, question 8"),
        guess=Number(low=0, high=100, step=1, start=70, near=3),
        do=Number(low=0, high=90, step=5, start=0, near=0),
        measure=_measure,
        act=_act,
        truth=lambda facts: facts["asked_macs"],
        pictures=_pictures,
        check=Check(
            Number(low=0, high=100, step=1, start=0, near=1.5), lambda facts: facts["square"]
        ),
        recipe=_recipe,
        expected=("asked", "asked_macs", "dense_macs", "macs", "params"),
        reached=lambda facts: facts["ratio"] == facts["asked"],
    ),
)
