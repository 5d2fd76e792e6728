"""Weight, neuron and structured pruning on one budget: the winner depends on what is counted."""

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
    Number,
    Picture,
    Scene,
)
from pruning_core.planning.recipe import Budget, Ratio, Recipe, Tuning

_MODEL = "bundled:lenet_5"
_WAYS = ("weight", "neuron", "structured")
_COUNTS = ("bytes", "macs", "ms")
_SHARE = 0.5
_TUNING = Tuning(epochs=2, learning_rate=1e-3, train_samples=2000)
_BATCH = 32


def _planned(way: str) -> Recipe:
    if way == "weight":
        return Recipe(model=_MODEL, target=Ratio(value=_SHARE), tuning=_TUNING)
    return Recipe(
        model=_MODEL,
        granularity="unit",
        normalise="mean",
        target=Budget(kind="params", value=_SHARE),
        pins=("conv1", "conv2") if way == "neuron" else (),
        tuning=_TUNING,
    )


def _measure() -> Measuring:
    from pruning_core.evaluation.latency import compare

    own = lab.subject(_MODEL)
    dense = lab.preview(Recipe(model=_MODEL)).before
    found: dict[str, dict[str, float]] = {}
    found["dense"] = {"nonzero": dense.nonzero, "bytes": dense.n_bytes, "macs": dense.macs}
    found["dense"] |= {"before": lab.tested(own.model.module, _MODEL)}
    found["dense"]["after"] = found["dense"]["before"]
    for place, way in enumerate(_WAYS):
        yield place / 3, way
        recipe = _planned(way)
        after, pruned = lab.preview(recipe).after, lab.pruned(recipe)
        own_found: dict[str, float] = {
            "nonzero": after.nonzero,
            "bytes": after.n_bytes,
            "macs": after.macs,
        }
        own_found["before"] = lab.tested(pruned.module, _MODEL)
        for accuracy in lab.trained(pruned.module, _MODEL, _TUNING, masks=pruned.masks):
            own_found["after"] = accuracy
            yield (place + 0.5) / 3, way
        steps = compare(
            own.model.module, pruned.module, own.model.inputs, batch_size=_BATCH, seconds=1.0
        )
        while True:
            try:
                yield (place + 0.6 + 0.4 * next(steps)) / 3, way
            except StopIteration as end:
                timed = end.value
                break
        # by the ratio of pairs: medians of different moments do not compare on a busy machine
        found["dense"].setdefault("ms", timed.dense.median_ms)
        own_found["ms"] = found["dense"]["ms"] / timed.ratio
        found[way] = own_found
    before = {way: found[way]["before"] for way in _WAYS}
    return {
        "table": found,
        "n": len(own.data.test),
        "best_before": max(before, key=lambda way: before[way]),
        "dense": found["dense"]["before"],
        **{f"{way}_before": found[way]["before"] for way in _WAYS},
        **{f"{way}_after": found[way]["after"] for way in _WAYS},
    }


def _act(facts: Facts, value: str) -> Facts:
    table = facts["table"]
    shares = {way: 100 * table[way][value] / table["dense"][value] for way in _WAYS}
    return {
        "count": value,
        **{f"{way}_left": share for way, share in shares.items()},
    }


def _pictures(scene: Scene) -> Sequence[Picture]:
    if not scene.revealed:
        return []
    words, facts = scene.words, scene.facts
    labels = [words(f"guess.options.{way}") for way in _WAYS]
    left = [facts[f"{way}_left"] for way in _WAYS]
    accuracies = [
        Series(
            words(f"pictures.{when}"),
            [facts[f"{way}_{when}"] for way in _WAYS],
            look=look,
        )
        for when, look in (("before", 1), ("after", 0))
    ]
    return [
        pictures.bars(scene, "accuracy", labels, accuracies, x_range=(0, 115)),
        pictures.bars(
            scene,
            "left",
            labels,
            [Series(words(f"do.options.{scene.value}"), left)],
            x_range=(0, 125),
        ),
    ]


def _recipe(facts: Facts) -> Recipe:
    return _planned("structured")


LESSONS.add(
    "one_budget",
    Lesson(
        key="one_budget",
        chapter="recovery",
        place=190,
        sources=(
            "Han et al. 2015, arXiv:1506.02626",
            "Li et al. 2017, arXiv:1608.08710",
            "Blalock et al. 2020, arXiv:2003.03033",
        ),
        guess=Choice(_WAYS),
        do=Choice(_COUNTS),
        measure=_measure,
        act=_act,
        truth=lambda facts: facts["best_before"],
        pictures=_pictures,
        check=Check(
            Number(low=0, high=150, step=1, start=100, near=3),
            lambda facts: facts["structured_left"],
        ),
        recipe=_recipe,
        expected=(
            *("dense", "n", "best_before"),
            *(f"{way}_{when}" for way in _WAYS for when in ("before", "after")),
        ),
        is_long=True,
        is_timed=True,
    ),
)
