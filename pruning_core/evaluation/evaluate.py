"""Measuring a classifier on one split."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from pruning_core.devices import device_of
from pruning_core.errors import DataError
from pruning_core.evaluation.logits import logits_of
from pruning_core.evaluation.stopping import ShouldStop, StoppedError, check_stop
from pruning_core.loading.split import Split
from pruning_core.modes import evaluating

__all__ = [
    "ClassMetrics",
    "Evaluation",
    "StoppedError",
    "evaluate",
    "evaluate_calls",
    "right_answers",
]

_NORMAL_95 = 1.959963984540054


@dataclass(frozen=True, slots=True)
class ClassMetrics:
    """How well one class is told apart; every share is 0..1, and 0 where nothing can be divided.

    Attributes:
        label: Number of the class.
        precision: Of the samples called this class, the share that is of it.
        recall: Of the samples of this class, the share called so.
        f1: Harmonic mean of the two.
        n: Samples of this class.
    """

    label: int
    precision: float
    recall: float
    f1: float
    n: int


@dataclass(frozen=True, slots=True, eq=False)
class Evaluation:
    """How good a classifier is on one split; every share is 0..1.

    Attributes:
        accuracy: Share of samples with the right answer.
        precision: Mean over the classes that occur in labels or answers.
        recall: Mean over the same classes.
        f1: Mean over the same classes.
        loss: Mean cross-entropy in nats.
        n: Samples measured.
        per_class: One entry for each logit, in order.
        confusion: ``[classes, classes]``, rows are true labels, columns are answers.
    """

    accuracy: float
    precision: float
    recall: float
    f1: float
    loss: float
    n: int
    per_class: tuple[ClassMetrics, ...]
    confusion: NDArray[np.int64]

    @property
    def accuracy_interval(self) -> tuple[float, float]:
        """The 95 % Wilson interval of the accuracy."""
        return wilson_interval(self.accuracy, self.n)


def evaluate(
    module: nn.Module,
    split: Split,
    *,
    batch_size: int = 500,
    should_stop: ShouldStop | None = None,
) -> Evaluation:
    """Return how good ``module`` is on all of ``split``; the module is left in its old mode.

    Args:
        module: A classifier that returns logits ``[B, classes]``.
        split: What to measure on; at least one sample.
        batch_size: Samples per forward pass.
        should_stop: Asked before every batch.

    Raises:
        DataError: If the split is empty or does not fit the model.
        StoppedError: If ``should_stop`` says so.
    """
    with evaluating(module):
        return evaluate_calls(
            module,
            split,
            device=device_of(module),
            batch_size=batch_size,
            should_stop=should_stop,
        )


def evaluate_calls(
    call: Callable[[Tensor], object],
    split: Split,
    *,
    device: torch.device | None = None,
    batch_size: int = 500,
    should_stop: ShouldStop | None = None,
) -> Evaluation:
    """Return how good a function from inputs ``[B, ...]`` to logits ``[B, classes]`` is.

    The arguments and errors are those of :func:`evaluate`; another runtime is measured so.
    ``device`` is where the inputs are put; None leaves them where the data are.
    """
    if len(split) == 0:
        raise DataError("There is no sample to measure on. Choose a split with at least one.")
    confusion, loss = _measure(call, split, device, batch_size, should_stop)
    return from_confusion(confusion, loss)


def right_answers(
    module: nn.Module,
    split: Split,
    *,
    batch_size: int = 500,
    should_stop: ShouldStop | None = None,
) -> NDArray[np.bool_]:
    """Return ``[N]`` which samples of ``split`` the module names correctly.

    Their mean is the accuracy of :func:`evaluate`, which takes the same batches.

    Raises:
        DataError: If the split does not fit the model.
        StoppedError: If ``should_stop`` says so.
    """
    right, device = [np.zeros(0, np.bool_)], device_of(module)
    with evaluating(module), torch.inference_mode():
        for start in range(0, len(split), batch_size):
            check_stop(should_stop)
            inputs, labels = split.batch(slice(start, start + batch_size), device)
            right.append((logits_of(module, inputs, labels).argmax(dim=1) == labels).cpu().numpy())
    return np.concatenate(right)


def from_confusion(confusion: NDArray[np.int64], loss: float) -> Evaluation:
    """Return the metrics of a confusion matrix.

    Args:
        confusion: ``[classes, classes]``, rows are true labels, columns are answers.
        loss: Mean cross-entropy, passed through.
    """
    right = confusion.diagonal().astype(np.float64)
    actual, answered = confusion.sum(axis=1), confusion.sum(axis=0)
    precision = _divided(right, answered)
    recall = _divided(right, actual)
    f1 = _divided(2 * right, actual + answered)
    occurs = actual + answered > 0
    n = int(confusion.sum())
    return Evaluation(
        accuracy=float(right.sum()) / n,
        precision=float(precision[occurs].mean()),
        recall=float(recall[occurs].mean()),
        f1=float(f1[occurs].mean()),
        loss=loss,
        n=n,
        per_class=tuple(
            ClassMetrics(
                label, float(precision[label]), float(recall[label]), float(f1[label]), int(count)
            )
            for label, count in enumerate(actual)
        ),
        confusion=confusion,
    )


def wilson_interval(share: float, n: int) -> tuple[float, float]:
    """Return the 95 % confidence interval of a share ``0 <= share <= 1`` of ``n`` samples.

    Wilson 1927, doi:10.1080/01621459.1927.10502953.
    """
    square = _NORMAL_95**2
    centre = (share + square / (2 * n)) / (1 + square / n)
    spread = math.sqrt(share * (1 - share) / n + square / (4 * n * n))
    half = _NORMAL_95 * spread / (1 + square / n)
    return max(0.0, centre - half), min(1.0, centre + half)


def paired_interval(only_first: int, only_second: int, n: int) -> tuple[float, float]:
    """Return the 95 % confidence interval of (second share - first share) on the same samples.

    Args:
        only_first: Samples that only the first classifier names correctly.
        only_second: Samples that only the second one does.
        n: All samples, at least 1.

    Agresti and Min 2005, doi:10.1002/sim.1781: the Wald interval with 1/2 added to each cell.
    """
    total, change = n + 2, only_second - only_first
    spread = math.sqrt(only_first + only_second + 1 - change**2 / total)
    centre, half = change / total, _NORMAL_95 * spread / total
    return max(-1.0, centre - half), min(1.0, centre + half)


def _measure(
    call: Callable[[Tensor], object],
    split: Split,
    device: torch.device | None,
    batch_size: int,
    should_stop: ShouldStop | None,
) -> tuple[NDArray[np.int64], float]:
    """Return the confusion matrix ``[C, C]`` and the mean cross-entropy."""
    confusion = torch.zeros(0, dtype=torch.int64)
    total = 0.0
    n_classes = 0
    with torch.inference_mode():
        for start in range(0, len(split), batch_size):
            check_stop(should_stop)
            inputs, labels = split.batch(slice(start, start + batch_size), device)
            logits = logits_of(call, inputs, labels)
            if not n_classes:
                n_classes = logits.shape[1]
                confusion = torch.zeros(n_classes**2, dtype=torch.int64)
            total += functional.cross_entropy(logits, labels, reduction="sum").item()
            cells = labels * n_classes + logits.argmax(dim=1)
            confusion += torch.bincount(cells, minlength=n_classes**2).cpu()
    matrix: NDArray[np.int64] = confusion.reshape(n_classes, n_classes).numpy()
    return matrix, total / len(split)


def _divided(part: NDArray[np.float64], whole: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return ``part / whole``, and 0 where ``whole`` is 0."""
    result: NDArray[np.float64] = part / np.maximum(whole, 1)
    return result
