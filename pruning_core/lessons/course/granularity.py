"""The same share, taken in five shapes: from single weights to whole channels."""

from collections.abc import Sequence

from pruning_core.figures.teaching import Series
from pruning_core.lessons import lab, pictures
from pruning_core.lessons.lesson import (
    LESSONS,
    Check,
    Choice,
    Facts,
    Lesson,
    Measuring,
    Order,
    Picture,
    Scene,
)
from pruning_core.planning.recipe import Ratio, Recipe

_MODEL = "bundled:lenet_5"
_LAYER = "conv2"
_SHAPES = ("weight", "block_1x4", "kernel", "row")
_N = 1000
_SHARE = 0.6
_SHOWN = 16


def _planned(shape: str) -> Recipe:
    return Recipe(model=_MODEL, granularity=shape, layers={_LAYER: Ratio(value=_SHARE)})


def _measure() -> Measuring:
    found = {}
    for place, shape in enumerate(_SHAPES):
        yield place / len(_SHAPES), shape
        recipe = _planned(shape)
        mask = lab.plan(recipe).masks(lab.subject(_MODEL).network)[f"{_LAYER}.weight"]
        flat = mask.reshape(mask.shape[0], -1)
        found[shape] = {
            "accuracy": lab.right(recipe, _N),
            "zeros": 100 * float(1 - mask.mean()),
            "gone": (~flat[:_SHOWN, : 5 * 8]).astype(int).tolist(),
        }
    dense = lab.dense(_MODEL, _N)
    best = max(_SHAPES, key=lambda shape: found[shape]["accuracy"])
    worst = min(_SHAPES, key=lambda shape: found[shape]["accuracy"])
    return {
        "shapes": found,
        "dense": dense,
        "n": _N,
        "order": sorted(_SHAPES, key=lambda shape: -found[shape]["accuracy"]),
        "best_lost": dense - found[best]["accuracy"],
        "worst_lost": dense - found[worst]["accuracy"],
        **{f"acc_{place}": found[shape]["accuracy"] for place, shape in enumerate(_SHAPES)},
    }


def _act(facts: Facts, value: str) -> Facts:
    own = facts["shapes"][value]
    lost = facts["dense"] - own["accuracy"]
    return {"shape": value, "zeros": own["zeros"], "accuracy": own["accuracy"], "lost": lost}


def _pictures(scene: Scene) -> Sequence[Picture]:
    import numpy as np

    from pruning_core.figures import teaching
    from pruning_core.figures.canvas import Caption

    words, facts = scene.words, scene.facts
    gone = np.array(facts["shapes"][scene.value]["gone"], bool)
    values = np.abs(lab.weight(_MODEL, f"{_LAYER}.weight"))
    shown = values.reshape(values.shape[0], -1)[: gone.shape[0], : gone.shape[1]]
    caption = Caption(
        words("pictures.mask.finding", zeros=facts["zeros"]), words("pictures.mask.subject")
    )
    mask = teaching.cells(
        [teaching.Panel(words(f"do.options.{scene.value}"), shown, gone)],
        caption,
        scene.colours,
        across=words("pictures.mask.x"),
        down=words("pictures.mask.y"),
    )
    table = {
        words("pictures.mask.y"): list(range(len(gone))),
        words("pictures.mask.gone"): gone.sum(axis=1).tolist(),
    }
    found = [Picture("mask", mask, table)]
    if scene.revealed:
        labels = [words(f"do.options.{shape}") for shape in facts["order"]]
        accuracies = [facts["shapes"][shape]["accuracy"] for shape in facts["order"]]
        series = [Series(words("pictures.accuracy.x"), accuracies)]
        found.insert(0, pictures.bars(scene, "accuracy", labels, series, x_range=(0, 110)))
    return found


def _recipe(facts: Facts) -> Recipe:
    return _planned(facts["shape"])


LESSONS.add(
    "granularity",
    Lesson(
        key="granularity",
        chapter="granularity",
        place=50,
        sources=("Mao et al. 2017, arXiv:1705.08922", "Li et al. 2017, arXiv:1608.08710"),
        guess=Order(_SHAPES),
        do=Choice(_SHAPES),
        measure=_measure,
        act=_act,
        truth=lambda facts: facts["order"],
        pictures=_pictures,
        check=Check(Choice(_SHAPES), lambda facts: facts["order"][-1]),
        recipe=_recipe,
        expected=("dense", "n", "order", "best_lost", "worst_lost"),
        is_long=True,
    ),
)
