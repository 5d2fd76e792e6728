"""What two classifiers say of the same samples: where one is right and the other is not."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pruning_core.evaluation.intervals import paired_interval
from pruning_core.evaluation.stopping import ShouldStop, check_stop
from pruning_core.loading.split import Split

_BATCH = 500


@dataclass(frozen=True, slots=True, eq=False)
class Answers:
    """What a classifier says of ``N`` samples.

    Attributes:
        named: ``[N]`` int64, the class it answers.
        confidence: ``[N]`` float32, the probability it gives that class.
        n_classes: Logits of one sample.
    """

    named: NDArray[np.int64]
    confidence: NDArray[np.float32]
    n_classes: int


@dataclass(frozen=True, slots=True, eq=False)
class Behaviour:
    """Two classifiers on the same ``n`` samples; the four counts add up to them.

    Attributes:
        n: Samples.
        both_right: Samples that both name correctly.
        lost: ``[L]`` samples that only the first names correctly, the surest error first.
        won: ``[W]`` samples that only the second does, the surest answer first.
        both_wrong: Samples that both name wrongly.
        same: Share of the samples to which both give the same answer, right or wrong.
        change: 95 % interval of the second accuracy minus the first, on the same samples.
    """

    n: int
    both_right: int
    lost: NDArray[np.int64]
    won: NDArray[np.int64]
    both_wrong: int
    same: float
    change: tuple[float, float]


def answers_of(
    call: Callable[[Tensor], object], split: Split, *, should_stop: ShouldStop | None = None
) -> Answers:
    """Return the answers of a function from inputs ``[B, ...]`` to logits ``[B, classes]``.

    Raises:
        DataError: If the samples do not fit it.
        StoppedError: If ``should_stop`` says so.
    """
    named, confidence, n_classes = [], [], 0
    with torch.inference_mode():
        for start in range(0, len(split), _BATCH):
            check_stop(should_stop)
            inputs, labels = split.batch(slice(start, start + _BATCH))
            logits = split.task.ask(call, inputs, labels)
            n_classes = logits.shape[1]
            surest = logits.softmax(dim=1).max(dim=1)
            named.append(surest.indices.numpy())
            confidence.append(surest.values.float().numpy())
    return Answers(np.concatenate(named), np.concatenate(confidence), n_classes)


def behaviour(first: Answers, second: Answers, labels: NDArray[np.int64]) -> Behaviour:
    """Compare two sets of answers.

    Args:
        first: Of one classifier.
        second: Of the other, on the same samples.
        labels: ``[N]`` the true classes.
    """
    was_right, is_right = first.named == labels, second.named == labels
    lost, won = np.flatnonzero(was_right & ~is_right), np.flatnonzero(~was_right & is_right)
    n = len(labels)
    return Behaviour(
        n=n,
        both_right=int((was_right & is_right).sum()),
        lost=lost[np.argsort(-second.confidence[lost], kind="stable")],
        won=won[np.argsort(-second.confidence[won], kind="stable")],
        both_wrong=int((~was_right & ~is_right).sum()),
        same=float((first.named == second.named).mean()),
        change=paired_interval(lost.size, won.size, n),
    )
