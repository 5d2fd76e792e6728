"""A threshold on 25 weights: move it until exactly ten remain."""

from collections.abc import Sequence

import numpy as np

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
from pruning_core.planning.recipe import Recipe, Threshold

_MODEL = "bundled:lenet_5"
_KERNEL = 0
_WANTED = 10


def _measure() -> Measuring:
    kernel = lab.weight(_MODEL, "conv1.weight")[_KERNEL, 0]
    yield 1.0, ""
    sizes = np.sort(np.abs(kernel), axis=None)
    n = kernel.size
    low, high = float(sizes[n - _WANTED - 1]), float(sizes[n - _WANTED])
    return {
        "kernel": [lab.rounded(row, 6) for row in kernel.tolist()],
        "n": n,
        "wanted": _WANTED,
        "low": low,
        "high": high,
        "middle": (low + high) / 2,
    }


def _act(facts: Facts, value: float) -> Facts:
    kernel = np.abs(np.array(facts["kernel"], np.float32))
    gone = int((kernel < value).sum())
    kept = kernel[kernel >= value]
    return {
        "threshold": value,
        "gone": gone,
        "kept": facts["n"] - gone,
        "sparsity": 100 * gone / facts["n"],
        "smallest": float(kept.min()) if kept.size else 0.0,
    }


def _pictures(scene: Scene) -> Sequence[Picture]:
    from pruning_core.figures import teaching
    from pruning_core.figures.canvas import Caption

    facts, words = scene.facts, scene.words
    sizes = np.abs(np.array(facts["kernel"], np.float64))
    counted = {name: facts[name] for name in ("kept", "gone", "n")}
    others = [(scene.guess, words("pictures.guess"))] if scene.guess is not None else []
    spread = teaching.histogram(
        sizes.ravel(),
        teaching.Axes(words("pictures.size"), words("pictures.count"), (0, 0.4)),
        Caption(words("pictures.finding", **counted), words("pictures.spread")),
        scene.colours,
        kept=words("pictures.kept"),
        gone=words("pictures.gone"),
        cut=teaching.Cut(facts["threshold"], words("pictures.threshold"), others),
        n_bins=40,
    )
    removed = sizes < facts["threshold"]
    mask = teaching.cells(
        [
            teaching.Panel(words("pictures.before"), sizes.astype(np.float32)),
            teaching.Panel(words("pictures.after"), sizes.astype(np.float32), removed),
        ],
        Caption(words("pictures.finding", **counted), words("pictures.mask")),
        scene.colours,
        across=words("pictures.column"),
        down=words("pictures.row"),
    )
    order = np.argsort(sizes, axis=None)
    table = {
        words("pictures.size"): np.sort(sizes, axis=None).round(4).tolist(),
        words("pictures.kept"): (~removed).ravel()[order].tolist(),
    }
    return [Picture("spread", spread, table), Picture("mask", mask, table)]


def _recipe(facts: Facts) -> Recipe:
    return Recipe(model=_MODEL, layers={"conv1": Threshold(value=facts["threshold"])})


LESSONS.add(
    "threshold",
    Lesson(
        key="threshold",
        is_exact=True,
        chapter="why",
        place=30,
        sources=("Han et al. 2015, arXiv:1506.02626",),
        guess=Number(low=0.0, high=0.4, step=0.005, start=0.05, near=0.01),
        do=Number(low=0.0, high=0.4, step=0.005, start=0.0, near=0.0),
        measure=_measure,
        act=_act,
        truth=lambda facts: facts["middle"],
        pictures=_pictures,
        check=Check(
            Number(low=0, high=100, step=1, start=0, near=0.5), lambda facts: facts["sparsity"]
        ),
        recipe=_recipe,
        expected=("n", "wanted", "low", "high"),
        reached=lambda facts: facts["kept"] == facts["wanted"],
    ),
)
