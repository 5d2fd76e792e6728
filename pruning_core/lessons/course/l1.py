"""L1 makes zeros and L2 does not: by arithmetic, and on the batch-norm scales of a network."""

from collections.abc import Sequence
from functools import partial

import numpy as np

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
from pruning_core.planning.recipe import Recipe, Sparse, Tuning

_MODEL = "bundled:cnn_digits"
_STRENGTHS = (0.0, 0.01, 0.03, 0.1)
_EPOCHS = 5
_LARGE, _SMALL = 1.0, 0.3
_TUNING = Tuning(epochs=_EPOCHS, learning_rate=1e-3, batch_size=16)


def _measure() -> Measuring:
    from pruning_core.modes import copied
    from pruning_core.tracing.trace import trace
    from pruning_core.tuning.sparsity import PENALTIES

    own = lab.subject(_MODEL)
    zeros, accuracies, sizes = [], [], []
    for place, strength in enumerate(_STRENGTHS):
        module = copied(own.model.module)
        shrinker = PENALTIES["bn_scales"].bind(
            trace(module, own.model.inputs), dict(module.named_parameters())
        )
        steps = lab.trained(
            module,
            _MODEL,
            Sparse(kind="bn_scales", strength=strength or 1e-9, epochs=_EPOCHS).settings(_TUNING),
            shrink=partial(shrinker.shrink, strength) if strength else None,
        )
        reached: list[float] = []
        for accuracy in steps:
            reached.append(accuracy)
            share = (place + len(reached) / _EPOCHS) / len(_STRENGTHS)
            yield share, f"lambda {strength:g}"
        found = np.sort(shrinker.sizes().numpy())
        zeros.append(int((found == 0).sum()))
        sizes.append(lab.rounded(found.tolist()))
        accuracies.append(round(reached[-1], 4))
    return {
        "answer": _reaching_zero(),
        "strengths": list(_STRENGTHS),
        "zeros": zeros,
        "accuracies": accuracies,
        "sizes": sizes,
        "scales": len(sizes[0]),
        "n": len(own.data.test),
        "epochs": _EPOCHS,
        "large": _LARGE,
        "small": _SMALL,
        "strongest": _STRENGTHS[-1],
        "most_zeros": zeros[-1],
        "none_zeros": zeros[0],
        "acc_none": accuracies[0],
        "acc_most": accuracies[-1],
    }


def _reaching_zero() -> str:
    """Return which penalty makes the small weight zero at a strength of 1."""
    values = {"l1": _by_l1(_SMALL, 1.0), "l2": _by_l2(_SMALL, 1.0)}
    found = [name for name, value in values.items() if not value]
    return {(): "neither", ("l1",): "l1", ("l2",): "l2"}.get(tuple(found), "both")


def _by_l1(weight: float, strength: float) -> float:
    return max(0.0, weight - strength)


def _by_l2(weight: float, strength: float) -> float:
    return weight / (1 + strength)


def _act(facts: Facts, value: float) -> Facts:
    return {
        "strength": value,
        "l1_small": _by_l1(_SMALL, value),
        "l1_large": _by_l1(_LARGE, value),
        "l2_small": _by_l2(_SMALL, value),
        "l2_large": _by_l2(_LARGE, value),
    }


def _pictures(scene: Scene) -> Sequence[Picture]:
    if not scene.revealed:
        return []
    words, facts = scene.words, scene.facts
    x = [k / 20 for k in range(21)]
    plane = pictures.curves(
        scene,
        "plane",
        [
            Series(words("pictures.l1_large"), [_by_l1(_LARGE, s) for s in x], x, 0),
            Series(words("pictures.l1_small"), [_by_l1(_SMALL, s) for s in x], x, 1),
            Series(words("pictures.l2_large"), [_by_l2(_LARGE, s) for s in x], x, 2),
            Series(words("pictures.l2_small"), [_by_l2(_SMALL, s) for s in x], x, 3),
        ],
        ((0, 1), (-0.03, 1.05)),
        marked=facts["strength"],
    )
    ranks = list(range(1, facts["scales"] + 1))
    scales = pictures.curves(
        scene,
        "scales",
        [
            Series(f"λ = {strength:g}", one, ranks, look)
            for look, strength, one in zip(
                (2, 3, 0, 1), facts["strengths"], facts["sizes"], strict=True
            )
        ],
    )
    return [plane, scales]


def _recipe(facts: Facts) -> Recipe:
    return Recipe(
        model=_MODEL,
        granularity="unit",
        criterion="bn_scale",
        sparse=Sparse(kind="bn_scales", strength=_STRENGTHS[-1], epochs=_EPOCHS),
        tuning=_TUNING,
    )


LESSONS.add(
    "l1",
    Lesson(
        key="l1",
        chapter="recovery",
        place=170,
        sources=(
            "Tibshirani 1996, J. R. Stat. Soc. B 58(1)",
            "Liu et al. 2017, arXiv:1708.06519",
            "Yun et al. 2020, arXiv:2007.07484",
        ),
        guess=Choice(("l1", "l2", "both", "neither")),
        do=Number(low=0.0, high=1.0, step=0.05, start=0.0, near=0),
        measure=_measure,
        act=_act,
        truth=lambda facts: facts["answer"],
        pictures=_pictures,
        check=Check(
            Number(low=0, high=1, step=0.01, start=0, near=0.012), lambda facts: facts["l2_small"]
        ),
        recipe=_recipe,
        expected=("strengths", "zeros", "scales", "accuracies", "n"),
        reached=lambda facts: facts["l1_small"] == 0 and facts["strength"] < 0.34,
        is_long=True,
    ),
)
