"""A first look at a model on data: how good it is, and whether it is fed as it was trained."""

from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import nn

from pruning_core.evaluation.evaluate import (
    Evaluation,
    evaluate,
    headline_of,
)
from pruning_core.evaluation.intervals import wilson_interval
from pruning_core.evaluation.stopping import ShouldStop
from pruning_core.loading.split import Dataset, Split
from pruning_core.modes import evaluating
from pruning_core.tasks import CLASSES

SAMPLES: Final = 1000
_TRIED: Final = 300
_MUCH: Final = 0.1
_HARDLY: Final = 0.05


@dataclass(frozen=True, slots=True)
class Baseline:
    """What was measured on validation examples.

    Attributes:
        accuracy: Share of right answers of the dense model, 0..1; of other tasks the metric they
            are judged by.
        n: Samples measured.
        interval: 95 % interval of it; of the accuracy Wilson's.
        chance: What would be reached without looking at the inputs, see ``Task.naive_way``: of
            classes the share of the most frequent one.
        suspicions: Sentences on what is probably wrong with normalisation or labels; each rests on
            another measurement that it names.
        task: Key of what was measured.
    """

    accuracy: float
    n: int
    interval: tuple[float, float]
    chance: float
    suspicions: tuple[str, ...]
    task: str = CLASSES


def baseline(
    module: nn.Module, data: Dataset, *, n: int = SAMPLES, should_stop: ShouldStop | None = None
) -> Baseline:
    """Measure ``module`` on the first validation examples, and look for usual mistakes.

    Args:
        module: It answers what the task of the data asks.
        data: Its validation split is looked at, never its test split.
        n: Most samples to measure.
        should_stop: Asked before every batch.

    Raises:
        DataError: If the data do not fit the model.
    """
    split = data.validation.first(n)
    if not split.task.counts_classes:
        return _of_task(module, data, split, should_stop)
    found = evaluate(module, split, batch_size=100, should_stop=should_stop)
    counts = np.bincount(split.labels.numpy())
    suspicions = [
        sentence
        for sentence in (
            _order(found.confusion, found.accuracy),
            "" if split.tokens else _normalisation(module, split.first(_TRIED), should_stop),
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


def _of_task(
    module: nn.Module, data: Dataset, split: Split, should_stop: ShouldStop | None
) -> Baseline:
    """Measure a model whose answers are neither right nor wrong."""
    task, metric = split.task, split.task.metrics[0]
    found = evaluate(module, split, batch_size=100, should_stop=should_stop, full=True)
    chance = _naive(data, split)
    suspicions = []
    if not split.tokens:
        suspicions.append(_other_normalisation(module, split.first(_TRIED), should_stop))
    elif task.reads_tokens:
        suspicions.append(_looks_ahead(module, split.first(2)))
    suspicions = [sentence for sentence in suspicions if sentence]
    if not suspicions and not metric.is_better(found.headline, chance):
        suspicions.append(
            f"The model is no better than {task.naive_way} ({metric.text(chance)}): its weights "
            "may be untrained, or the data others than it was trained on."
        )
    interval = found.intervals[metric.key]
    return Baseline(found.headline, found.n, interval, chance, tuple(suspicions), task.key)


def _naive(data: Dataset, split: Split) -> float:
    """Return what is reached without looking at the inputs."""
    parts = []
    for start in range(0, len(split), 100):
        _, targets = split.batch(slice(start, start + 100))
        answer = split.task.naive(data.train.labels, targets)
        parts.append(split.task.statistics(answer, targets).numpy())
    return headline_of(split.task, np.concatenate(parts))


def _looks_ahead(module: nn.Module, split: Split) -> str:
    """Say whether an answer depends on tokens that come after it."""
    inputs, targets = split.batch(slice(None))
    if inputs.shape[1] < 2:
        return ""
    turned = inputs.clone()
    turned[:, -1] = inputs[:, 0]
    with evaluating(module), torch.inference_mode():
        first, second = (split.task.ask(module, x, targets)[:, :-1] for x in (inputs, turned))
    if torch.allclose(first, second, atol=1e-3, rtol=1e-3):
        return ""
    return (
        "The model reads the tokens that it shall predict: its answers change when a later token "
        "does. Perplexity is that of a model that sees only what comes before."
    )


def _other_normalisation(module: nn.Module, split: Split, should_stop: ShouldStop | None) -> str:
    """Say whether another usual normalisation gives a clearly better value."""
    metric = split.task.metrics[0]

    def measured(part: Split) -> Evaluation:
        return evaluate(module, part, batch_size=100, should_stop=should_stop, full=True)

    own = measured(split)
    best, words = own, ""
    for name, (scale, mean, std) in _usual(split).items():
        found = measured(replace(split, scale=scale, mean=mean, std=std))
        if metric.is_better(found.headline, best.headline):
            best, words = found, name
    worst_of_best = best.intervals[metric.key][0 if metric.higher_is_better else 1]
    best_of_own = own.intervals[metric.key][1 if metric.higher_is_better else 0]
    if not words or not metric.is_better(worst_of_best, best_of_own):
        return ""
    return (
        f"The normalisation is probably another: with {words} the {metric.name} of {len(split)} "
        f"samples is {metric.text(best.headline)}, with this one {metric.text(own.headline)}."
    )


def _usual(split: Split) -> dict[str, tuple[float, float, float]]:
    """Return usual normalisations, as scale, mean and deviation, without the split's own."""
    usual = {
        "values from 0 to 1 (mean 0, deviation 1)": (split.scale, 0.0, 1.0),
        "values from -1 to 1 (mean 0.5, deviation 0.5)": (split.scale, 0.5, 0.5),
        "values as stored (no division)": (1.0, 0.0, 1.0),
        "the mean of ImageNet (mean 0.449, deviation 0.226)": (split.scale, 0.449, 0.226),
    }
    own = (split.scale, split.mean, split.std)
    return {name: values for name, values in usual.items() if values != own}


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
    own = evaluate(module, split, batch_size=100, should_stop=should_stop).accuracy
    best, words = own, ""
    for name, (scale, mean, std) in _usual(split).items():
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
