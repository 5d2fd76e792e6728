"""Measuring a network on one split, in the metrics of its task."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from pruning_core.devices import device_of
from pruning_core.errors import DataError
from pruning_core.evaluation.intervals import (
    RESAMPLES,
    Interval,
    basic_interval,
    mean_interval,
    paired_interval,
    resampled_calibration,
    resampled_scores,
    resampled_sums,
    wilson_interval,
)
from pruning_core.evaluation.stopping import ShouldStop, StoppedError, check_stop
from pruning_core.loading.split import Split
from pruning_core.modes import evaluating
from pruning_core.tasks import CLASSES
from pruning_core.tasks.registry import TASKS, Task

__all__ = [
    "ClassMetrics",
    "Evaluation",
    "StoppedError",
    "evaluate",
    "evaluate_calls",
    "headline_of",
    "paired_interval",
    "right_answers",
    "statistics_of",
    "statistics_of_calls",
    "wilson_interval",
]

TOP: Final = 5
BINS: Final = 15
_BOOTSTRAP: Final = f"basic bootstrap over samples, {RESAMPLES:,} resamples, seed 0"
INTERVAL_METHODS: Final[Mapping[str, str]] = {
    "accuracy": "Wilson",
    "top5": "Wilson",
    "precision": _BOOTSTRAP,
    "recall": _BOOTSTRAP,
    "f1": _BOOTSTRAP,
    "loss": "normal",
    "calibration_error": _BOOTSTRAP,
    "each class": "Wilson; F1 by the share right of samples that are of the class or called so",
}


@dataclass(frozen=True, slots=True)
class ClassMetrics:
    """How well one class is told apart; every share is 0..1, and 0 where nothing can be divided.

    Attributes:
        label: Number of the class.
        precision: Of the samples called this class, the share that is of it.
        recall: Of the samples of this class, the share called so.
        f1: Harmonic mean of the two.
        n: Samples of this class.
        intervals: 95 % intervals of ``precision``, ``recall`` and ``f1``; empty when not full.
    """

    label: int
    precision: float
    recall: float
    f1: float
    n: int
    intervals: Mapping[str, Interval] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class Evaluation:
    """How good a network is on one split; every share is 0..1.

    Other tasks than classification have their metrics in ``values``; what is of classes alone is
    NaN or empty then.

    Attributes:
        accuracy: Share of samples with the right answer.
        precision: Mean over the classes that occur in labels or answers.
        recall: Mean over the same classes.
        f1: Mean over the same classes.
        loss: Mean cross-entropy in nats.
        n: Samples measured.
        per_class: One entry for each logit, in order.
        confusion: ``[classes, classes]``, rows are true labels, columns are answers.
        top5: Share of samples whose class is among the five largest logits; None where there are
            no more than five classes.
        calibration_error: Expected difference of confidence and accuracy, in 15 bins of equal
            width (Guo et al. 2017, arXiv:1706.04599); None where logits are not finite.
        intervals: 95 % intervals by the name of the metric, by the methods of
            ``INTERVAL_METHODS`` or of the task; empty when not full.
        task: Key of what was measured.
        values: Metrics of another task than classification, by key.
    """

    accuracy: float
    precision: float
    recall: float
    f1: float
    loss: float
    n: int
    per_class: tuple[ClassMetrics, ...]
    confusion: NDArray[np.int64]
    top5: float | None = None
    calibration_error: float | None = None
    intervals: Mapping[str, Interval] = field(default_factory=dict)
    task: str = CLASSES
    values: Mapping[str, float] = field(default_factory=dict)

    @property
    def headline(self) -> float:
        """The metric that the task is judged by, see ``tasks.task.headline``."""
        return self.values.get(TASKS[self.task].metrics[0].key, self.accuracy)

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
    full: bool = False,
) -> Evaluation:
    """Return how good ``module`` is on all of ``split``; the module is left in its old mode.

    Args:
        module: It answers what the task of the split asks, e.g. logits ``[B, classes]``.
        split: What to measure on; at least one sample.
        batch_size: Samples per forward pass.
        should_stop: Asked before every batch.
        full: Also the interval of everything, and of classes top-5 accuracy and calibration error.

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
            full=full,
        )


def evaluate_calls(
    call: Callable[[Tensor], object],
    split: Split,
    *,
    device: torch.device | None = None,
    batch_size: int = 500,
    should_stop: ShouldStop | None = None,
    full: bool = False,
) -> Evaluation:
    """Return how good a function from inputs ``[B, ...]`` to answers is.

    The arguments and errors are those of :func:`evaluate`; another runtime is measured so.
    ``device`` is where the inputs are put; None leaves them where the data are.
    """
    if len(split) == 0:
        raise DataError("There is no sample to measure on. Choose a split with at least one.")
    if not split.task.counts_classes:
        statistics = statistics_of_calls(
            call, split, device=device, batch_size=batch_size, should_stop=should_stop
        )
        return _of_statistics(split.task, statistics, full=full)
    answers = _answers(
        call,
        split,
        device=device,
        batch_size=batch_size,
        should_stop=should_stop,
        full=full,
    )
    plain = from_confusion(_confusion(answers), float(answers.losses.double().mean()))
    return _thorough(plain, answers) if full else plain


def statistics_of(
    module: nn.Module,
    split: Split,
    *,
    batch_size: int = 500,
    should_stop: ShouldStop | None = None,
) -> NDArray[np.float64]:
    """Return ``[N, K]`` what each sample of ``split`` adds to the metrics of its task.

    ``split.task.values`` of their sum are the metrics of :func:`evaluate`, which takes the same
    batches.

    Raises:
        DataError: If the split does not fit the module.
        StoppedError: If ``should_stop`` says so.
    """
    with evaluating(module):
        return statistics_of_calls(
            module,
            split,
            device=device_of(module),
            batch_size=batch_size,
            should_stop=should_stop,
        )


def headline_of(task: Task, statistics: NDArray[np.float64]) -> float:
    """Return the metric that a task is judged by, of the statistics ``[N, K]`` of its samples."""
    return float(task.values(statistics.sum(axis=0))[task.metrics[0].key])


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
            logits = split.task.ask(module, inputs, labels)
            right.append((logits.argmax(dim=1) == labels).cpu().numpy())
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


@dataclass(frozen=True, slots=True, eq=False)
class _Answers:
    """What a classifier said of each of ``N`` samples.

    Attributes:
        n_classes: Logits of one sample.
        labels: ``[N]``.
        named: ``[N]`` its answers.
        losses: ``[N]`` cross-entropy in nats.
        confidence: ``[N]`` the largest probability.
        n_top5: Samples whose label is among the five largest logits; None when not counted.
    """

    n_classes: int
    labels: Tensor
    named: Tensor
    losses: Tensor
    confidence: Tensor
    n_top5: int | None


def _answers(
    call: Callable[[Tensor], object],
    split: Split,
    *,
    device: torch.device | None,
    batch_size: int,
    should_stop: ShouldStop | None,
    full: bool,
) -> _Answers:
    """Ask the classifier about every sample."""
    found: list[tuple[Tensor, ...]] = []
    n_classes, n_top5 = 0, 0
    with torch.inference_mode():
        for start in range(0, len(split), batch_size):
            check_stop(should_stop)
            inputs, labels = split.batch(slice(start, start + batch_size), device)
            logits = split.task.ask(call, inputs, labels)
            n_classes = logits.shape[1]
            losses = functional.cross_entropy(logits, labels, reduction="none")
            confidence = logits.softmax(dim=1).amax(dim=1)
            found.append((labels, logits.argmax(dim=1), losses, confidence))
            if full and n_classes > TOP:
                n_top5 += _among_top(logits, labels)
    labels, named, losses, confidence = (
        torch.cat(parts).cpu() for parts in zip(*found, strict=True)
    )
    counts_top = full and n_classes > TOP
    return _Answers(n_classes, labels, named, losses, confidence, n_top5 if counts_top else None)


def statistics_of_calls(
    call: Callable[[Tensor], object],
    split: Split,
    *,
    device: torch.device | None = None,
    batch_size: int = 500,
    should_stop: ShouldStop | None = None,
) -> NDArray[np.float64]:
    """Return ``[N, K]`` of a function from inputs to answers, see :func:`statistics_of`."""
    found = []
    with torch.inference_mode():
        for start in range(0, len(split), batch_size):
            check_stop(should_stop)
            inputs, targets = split.batch(slice(start, start + batch_size), device)
            answer = split.task.ask(call, inputs, targets).float()
            found.append(split.task.statistics(answer, targets).cpu().numpy())
    return np.concatenate(found) if found else np.zeros((0, 0))


def _of_statistics(task: Task, found: NDArray[np.float64], *, full: bool) -> Evaluation:
    """Return the metrics of a task without classes, with their intervals when ``full``."""
    values = {name: float(value) for name, value in task.values(found.sum(axis=0)).items()}
    intervals: dict[str, Interval] = {}
    if full:
        drawn = task.values(resampled_sums([found])[0])
        bounds = {metric.key: (metric.least, metric.most) for metric in task.metrics}
        for name, value in values.items():
            low, high = bounds.get(name, (0.0, np.inf))
            (intervals[name],) = basic_interval(
                np.array([value]), drawn[name][:, None], (low, high)
            )
    loss = values.pop("loss")
    return Evaluation(
        accuracy=np.nan,
        precision=np.nan,
        recall=np.nan,
        f1=np.nan,
        loss=loss,
        n=len(found),
        per_class=(),
        confusion=np.zeros((0, 0), np.int64),
        intervals=intervals,
        task=task.key,
        values=values,
    )


def _among_top(logits: Tensor, labels: Tensor) -> int:
    """Return how many labels are among the five largest logits."""
    from torchmetrics.functional.classification import multiclass_accuracy

    share = multiclass_accuracy(
        logits, labels, logits.shape[1], top_k=TOP, average="micro", validate_args=False
    )
    return round(float(share) * len(labels))


def _confusion(answers: _Answers) -> NDArray[np.int64]:
    """Return ``[C, C]``, rows are true labels, columns are answers."""
    from torchmetrics.functional.classification import multiclass_confusion_matrix

    found: NDArray[np.int64] = multiclass_confusion_matrix(
        answers.named, answers.labels, answers.n_classes, validate_args=False
    ).numpy()
    return found


def _thorough(plain: Evaluation, answers: _Answers) -> Evaluation:
    """Add top-5, the calibration error and the intervals of everything."""
    from torchmetrics.functional.classification import binary_calibration_error

    n, right = plain.n, answers.named == answers.labels
    loss = mean_interval(answers.losses.double().numpy())
    intervals = {"accuracy": plain.accuracy_interval, "loss": loss}
    top5 = None if answers.n_top5 is None else answers.n_top5 / n
    if top5 is not None:
        intervals["top5"] = wilson_interval(top5, n)
    error = None
    if bool(answers.confidence.isfinite().all()):
        error = float(
            binary_calibration_error(
                answers.confidence, right.long(), n_bins=BINS, validate_args=False
            )
        )
        drawn = resampled_calibration(answers.confidence.double().numpy(), right.numpy(), BINS)
        (intervals["calibration_error"],) = basic_interval(np.array([error]), drawn[:, None])
    intervals |= _macro_intervals(plain)
    return replace(
        plain,
        top5=top5,
        calibration_error=error,
        intervals=intervals,
        per_class=tuple(_with_intervals(item, plain.confusion) for item in plain.per_class),
    )


def _macro_intervals(plain: Evaluation) -> dict[str, Interval]:
    """Return the intervals of macro precision, recall and F1.

    Where no sample was wrong, drawing samples anew says nothing; the accuracy's interval stands.
    """
    names = ("precision", "recall", "f1")
    if plain.accuracy == 1:
        return dict.fromkeys(names, plain.accuracy_interval)
    estimates = np.array([getattr(plain, name) for name in names])
    drawn = np.nanmean(resampled_scores(plain.confusion), axis=2)
    return dict(zip(names, basic_interval(estimates, drawn), strict=True))


def _with_intervals(item: ClassMetrics, confusion: NDArray[np.int64]) -> ClassMetrics:
    """Return the metrics of a class with their intervals.

    F1 is ``2q / (1 + q)`` with q the share that is right of all samples which are of the class or
    were called so, and so are the ends of its interval.
    """
    right, answered = int(confusion[item.label, item.label]), int(confusion[:, item.label].sum())
    either = item.n + answered - right
    share = right / either if either else 0.0
    low, high = (2 * end / (1 + end) for end in wilson_interval(share, either))
    return replace(
        item,
        intervals={
            "precision": wilson_interval(item.precision, answered),
            "recall": wilson_interval(item.recall, item.n),
            "f1": (low, high),
        },
    )


def _divided(part: NDArray[np.float64], whole: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return ``part / whole``, and 0 where ``whole`` is 0."""
    result: NDArray[np.float64] = part / np.maximum(whole, 1)
    return result
