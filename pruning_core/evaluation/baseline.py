"""A first look at a model on data: how good it is, and whether it is fed as it was trained."""

from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from scipy.optimize import linear_sum_assignment
from torch import nn

from pruning_core.evaluation.evaluate import evaluate
from pruning_core.evaluation.intervals import wilson_interval
from pruning_core.evaluation.stopping import ShouldStop
from pruning_core.loading.split import Dataset, Split

SAMPLES: Final = 1000
_TRIED: Final = 300
_MUCH: Final = 0.1
_HARDLY: Final = 0.05


@dataclass(frozen=True, slots=True)
class Baseline:
    """What was measured on validation examples.

    Attributes:
        accuracy: Share of right answers of the dense model, 0..1.
        n: Samples measured.
        interval: 95 % Wilson interval of the accuracy.
        chance: Share of the most frequent class: what naming it always would reach.
        suspicions: Sentences on what is probably wrong with normalisation or labels; each rests on
            another measurement that it names.
    """

    accuracy: float
    n: int
    interval: tuple[float, float]
    chance: float
    suspicions: tuple[str, ...]


def baseline(
    module: nn.Module, data: Dataset, *, n: int = SAMPLES, should_stop: ShouldStop | None = None
) -> Baseline:
    """Measure ``module`` on the first validation examples, and look for usual mistakes.

    Args:
        module: A classifier.
        data: Its validation split is looked at, never its test split.
        n: Most samples to measure.
        should_stop: Asked before every batch.

    Raises:
        DataError: If the data do not fit the model.
    """
    split = data.validation.first(n)
    found = evaluate(module, split, batch_size=100, should_stop=should_stop)
    counts = np.bincount(split.labels.numpy())
    suspicions = [
        sentence
        for sentence in (
            _order(found.confusion, found.accuracy),
            _normalisation(module, split.first(_TRIED), should_stop),
        )
        if sentence
    ]
    interval = wilson_interval(found.accuracy, found.n)
    chance = float(counts.max() / counts.sum())
    if not suspicions and interval[1] < chance + _HARDLY:
        suspicions.append(
            "The model is no better than guessing: its weights may be untrained, or the data "
            "others than it was trained on."
        )
    return Baseline(found.accuracy, found.n, interval, chance, tuple(suspicions))


def _order(confusion: np.ndarray[tuple[int, int], np.dtype[np.int64]], accuracy: float) -> str:
    """Say whether other numbers for the classes would fit much better."""
    rows, columns = linear_sum_assignment(confusion, maximize=True)
    best = float(confusion[rows, columns].sum() / max(1, confusion.sum()))
    occurs = confusion.sum(axis=1) > 0
    moved = int(((rows != columns) & occurs[rows]).sum())
    if best < max(accuracy + 2 * _MUCH, 0.5) or moved < 2:
        return ""
    pairs = ", ".join(
        f"{row} for {column}"
        for row, column in zip(rows.tolist(), columns.tolist(), strict=True)
        if row != column and occurs[row]
    )
    return (
        f"The labels are probably in another order: numbered differently, {100 * best:.0f} % would "
        f"be right instead of {100 * accuracy:.0f} % ({pairs[:80]})."
    )


def _normalisation(module: nn.Module, split: Split, should_stop: ShouldStop | None) -> str:
    """Say whether another usual normalisation gives a much better accuracy."""
    usual = {
        "values from 0 to 1 (mean 0, deviation 1)": (split.scale, 0.0, 1.0),
        "values from -1 to 1 (mean 0.5, deviation 0.5)": (split.scale, 0.5, 0.5),
        "values as stored (no division)": (1.0, 0.0, 1.0),
        "the mean of ImageNet (mean 0.449, deviation 0.226)": (split.scale, 0.449, 0.226),
    }
    own = evaluate(module, split, batch_size=100, should_stop=should_stop).accuracy
    best, words = own, ""
    for name, (scale, mean, std) in usual.items():
        if (scale, mean, std) == (split.scale, split.mean, split.std):
            continue
        other = replace(split, scale=scale, mean=mean, std=std)
        accuracy = evaluate(module, other, batch_size=100, should_stop=should_stop).accuracy
        if accuracy > best:
            best, words = accuracy, name
    lowest = wilson_interval(best, len(split))[0]
    if not words or best < own + _MUCH or lowest <= wilson_interval(own, len(split))[1]:
        return ""
    return (
        f"The normalisation is probably another: with {words} {100 * best:.0f} % of {len(split)} "
        f"samples are right, with this one {100 * own:.0f} %."
    )
