"""Classification: one class a sample; the share of right answers counts."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from pruning_core.errors import DataError
from pruning_core.tasks.metric import ACCURACY, CLASSES
from pruning_core.tasks.output import called, shown, tensor_in
from pruning_core.tasks.task import TASKS, Array


class Classification:
    """Targets are classes ``[N]``, answers logits ``[N, classes]``; the loss is cross-entropy."""

    key = CLASSES
    title = "Classification"
    targets = "One class for each sample, numbered from 0."
    metrics = (ACCURACY,)
    loss_name = "cross-entropy"
    naive_way = "always naming the most frequent class"
    counts_classes = True
    has_classes = True
    reads_tokens = False
    moves_with_pixels = False

    def fitted(self, targets: Tensor) -> "Classification":  # noqa: ARG002 - one interface
        """Return the task itself: it has to know nothing of the targets."""
        return self

    def ask(self, call: Callable[[Tensor], object], inputs: Tensor, targets: Tensor) -> Tensor:
        """Return the logits ``[B, classes]`` of inputs ``[B, ...]``."""
        output = called(call, inputs)
        logits = tensor_in(output)
        if logits is None or logits.ndim != 2 or len(logits) != len(inputs):
            raise DataError(
                f"The model returns {shown(output)} for {len(inputs)} inputs; a classifier returns "
                f"logits ({len(inputs)}, classes). Choose a model that classifies."
            )
        return _covering(logits, targets, logits.shape[1])

    def answer(self, output: Any, targets: Tensor) -> Tensor:
        """Return the logits ``[N, C]`` or ``[N, T, C]`` for labels ``[N]`` or ``[N, T]``."""
        logits = tensor_in(output)
        whole = not targets.is_floating_point()
        if (
            logits is None
            or logits.ndim not in (2, 3)
            or logits.shape[:-1] != targets.shape
            or not whole
        ):
            raise DataError(
                f"The model returns {shown(output if logits is None else logits)} for labels "
                f"{tuple(targets.shape)} of {targets.dtype}; a loss is known for logits "
                "(N, classes) with integer labels (N), and (N, T, classes) with (N, T). Choose a "
                "criterion that reads no gradients, e.g. l1."
            )
        return _covering(logits, targets, logits.shape[-1])

    def loss(self, answer: Tensor, targets: Tensor, *, smoothing: float = 0.0) -> Tensor:
        """Return the mean cross-entropy in nats."""
        return functional.cross_entropy(answer, targets, label_smoothing=smoothing)

    def criterion_loss(self, output: Any, targets: Tensor, temperature: float = 1.0) -> Tensor:
        """Return the mean cross-entropy in nats; labels of -100 count for nothing."""
        logits = self.answer(output, targets) / temperature
        return functional.cross_entropy(logits.flatten(0, -2), targets.flatten())

    def imitation(self, student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
        """Return ``T^2 KL(teacher || student)`` of the softened answers, the mean over the batch.

        Hinton et al. 2015, arXiv:1503.02531; the factor keeps the size of the gradients.
        """
        divergence = functional.kl_div(
            functional.log_softmax(student / temperature, dim=1),
            functional.log_softmax(teacher / temperature, dim=1),
            reduction="batchmean",
            log_target=True,
        )
        return divergence * temperature**2

    def naive(self, training: Tensor, targets: Tensor) -> Tensor:
        """Return logits of the most frequent class."""
        n_classes = int(max(training.max(), targets.max())) + 1
        counts = torch.bincount(training, minlength=n_classes)
        return functional.one_hot(counts.argmax(), n_classes).float().expand(len(targets), -1)

    def statistics(self, answer: Tensor, targets: Tensor) -> Tensor:
        """Return ``[B, 2]``: 1 where the answer is right, and 1."""
        right = (answer.argmax(dim=1) == targets).double()
        return torch.stack([right, torch.ones_like(right)], dim=1)

    def values(self, sums: Array) -> dict[str, Array]:
        """Return the accuracy."""
        return {"accuracy": sums[..., 0] / sums[..., 1]}


def _covering(logits: Tensor, targets: Tensor, n_classes: int) -> Tensor:
    if n_classes <= int(targets.max()):
        raise DataError(
            f"The model tells {n_classes} classes apart, but the data has the label "
            f"{int(targets.max())}. Choose the data set the model was made for."
        )
    return logits


TASKS.add(CLASSES, Classification())
