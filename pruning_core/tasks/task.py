"""What every task says of itself, and the registry."""

from collections.abc import Callable
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from pruning_core.registry import Registry
from pruning_core.tasks.metric import Metric

IGNORED: Final = -100
"""Targets of this number count for nothing, where there is one for each pixel or token."""

Array = NDArray[np.float64]


class Task(Protocol):
    """What a network is asked to do.

    Everything that is measured is a function of sums over samples (:meth:`statistics`,
    :meth:`values`), so that metrics of a part, of two networks on the same samples, and of samples
    drawn anew come from the same numbers.
    """

    @property
    def key(self) -> str:
        """Its name in data sets and reports."""

    @property
    def title(self) -> str:
        """Its name on the screen."""

    @property
    def targets(self) -> str:
        """What a target is, one sentence for the screen."""

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """What is measured, the headline first."""

    @property
    def loss_name(self) -> str:
        """What the loss is, for the axis of a figure."""

    @property
    def counts_classes(self) -> bool:
        """True where each sample has one class: then answers are right or wrong."""

    @property
    def has_classes(self) -> bool:
        """True where targets are numbers of classes: labels can be smoothed, answers softened."""

    @property
    def reads_tokens(self) -> bool:
        """True where inputs are whole numbers, which are never normalised."""

    @property
    def moves_with_pixels(self) -> bool:
        """True where a change of the image would have to change the target as well."""

    def fitted(self, targets: Tensor) -> "Task":
        """Return the task with what it has to know of the training targets."""

    def ask(self, call: Callable[[Tensor], object], inputs: Tensor, targets: Tensor) -> Tensor:
        """Return what ``call`` answers to one batch, once it fits the targets.

        Raises:
            DataError: If it does not; the sentence says what the task needs.
        """

    def answer(self, output: Any, targets: Tensor) -> Tensor:
        """Return the answer in what a model returned, also inside a dictionary, tuple or object.

        Raises:
            DataError: If it does not fit the targets.
        """

    def loss(self, answer: Tensor, targets: Tensor, *, smoothing: float = 0.0) -> Tensor:
        """Return the mean loss of a batch, a scalar: what training minimises."""

    def criterion_loss(self, output: Any, targets: Tensor, temperature: float = 1.0) -> Tensor:
        """Return the mean loss of what a model returned, a scalar, for criteria.

        ``temperature`` divides the logits of tasks that have some.
        """

    def imitation(self, student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
        """Return how far one answer is from another one, a scalar, for distillation."""

    @property
    def naive_way(self) -> str:
        """What :meth:`naive` does, e.g. ``always naming the most frequent class``."""

    def naive(self, training: Tensor, targets: Tensor) -> Tensor:
        """Return what one would answer to ``targets`` without their inputs.

        Args:
            training: Targets that the answer is taken from.
            targets: ``[B, ...]``; only their shape and highest class are read.
        """

    def statistics(self, answer: Tensor, targets: Tensor) -> Tensor:
        """Return ``[B, K]`` float64 of which :meth:`values` needs the sums over samples."""

    def values(self, sums: Array) -> dict[str, Array]:
        """Return the metrics by key, and ``loss``, of sums ``[..., K]``; NaN where undefined."""


TASKS: Registry[Task] = Registry("task")
