"""Segmentation: a class for every pixel; the overlap of what is found with what is there."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from pruning_core.errors import DataError
from pruning_core.tasks.metric import Metric
from pruning_core.tasks.output import called, shown, tensor_in
from pruning_core.tasks.task import IGNORED, TASKS, Array


class Segmentation:
    """Targets are masks ``[N, H, W]``, answers logits ``[N, C, H, W]``; cross-entropy by pixel."""

    key = "segmentation"
    title = "Segmentation"
    targets = "One class for each pixel, numbered from 0; pixels of -100 count for nothing."
    metrics = (
        Metric("miou", "Mean IoU over the classes", "mean IoU", least=0.0, most=1.0),
        Metric("dice", "Dice, mean over the classes", "Dice", least=0.0, most=1.0),
        Metric("pixel_accuracy", "Right pixels", "share of right pixels", least=0.0, most=1.0),
    )
    loss_name = "cross-entropy"
    naive_way = "naming the most frequent class at every pixel"
    counts_classes = False
    has_classes = True
    reads_tokens = False
    moves_with_pixels = True

    def fitted(self, targets: Tensor) -> "Segmentation":  # noqa: ARG002 - one interface
        """Return the task itself: it has to know nothing of the targets."""
        return self

    def ask(self, call: Callable[[Tensor], object], inputs: Tensor, targets: Tensor) -> Tensor:
        """Return the logits ``[B, C, H, W]`` of inputs ``[B, ...]``."""
        return self.answer(called(call, inputs), targets)

    def answer(self, output: Any, targets: Tensor) -> Tensor:
        """Return the logits ``[N, C, H, W]`` for masks ``[N, H, W]``.

        Models that answer a coarser grid, as SegFormer does, are interpolated to the masks.
        """
        logits = tensor_in(output)
        if logits is None or logits.ndim != 4 or len(logits) != len(targets):
            raise DataError(
                f"The model returns {shown(output if logits is None else logits)} for masks "
                f"{tuple(targets.shape)}; segmentation needs logits (N, classes, height, width). "
                "Choose a model that answers every pixel, or other data."
            )
        if logits.shape[1] <= int(targets.max()):
            raise DataError(
                f"The model tells {logits.shape[1]} classes apart, but the masks hold the class "
                f"{int(targets.max())}. Choose the data the model was made for."
            )
        if logits.shape[2:] != targets.shape[1:]:
            logits = functional.interpolate(
                logits, targets.shape[1:], mode="bilinear", align_corners=False
            )
        return logits

    def loss(self, answer: Tensor, targets: Tensor, *, smoothing: float = 0.0) -> Tensor:
        """Return the mean cross-entropy of a pixel in nats."""
        return functional.cross_entropy(
            answer, targets, label_smoothing=smoothing, ignore_index=IGNORED
        )

    def criterion_loss(self, output: Any, targets: Tensor, temperature: float = 1.0) -> Tensor:
        """Return the same of what a model returned."""
        return self.loss(self.answer(output, targets) / temperature, targets)

    def imitation(self, student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
        """Return ``T^2 KL(teacher || student)`` of the softened answers, the mean over pixels."""
        divergence = functional.kl_div(
            functional.log_softmax(student / temperature, dim=1),
            functional.log_softmax(teacher / temperature, dim=1),
            reduction="none",
            log_target=True,
        )
        return divergence.sum(dim=1).mean() * temperature**2

    def naive(self, training: Tensor, targets: Tensor) -> Tensor:
        """Return logits of the most frequent class at every pixel."""
        n_classes = int(max(training.max(), targets.max())) + 1
        counts = torch.bincount(training[training != IGNORED].long(), minlength=n_classes)
        logits = functional.one_hot(counts.argmax(), n_classes).float()
        return logits[None, :, None, None].expand(len(targets), -1, *targets.shape[1:])

    def statistics(self, answer: Tensor, targets: Tensor) -> Tensor:
        """Return ``[B, 3 + 2 C]``: loss, pixels, right ones; intersection and union by class."""
        n, n_classes = answer.shape[:2]
        counts = targets != IGNORED
        found = answer.argmax(dim=1)
        losses = functional.cross_entropy(
            answer, targets, reduction="none", ignore_index=IGNORED
        ).double()
        places = torch.arange(n, device=targets.device)[:, None, None] * n_classes

        def by_class(classes: Tensor, chosen: Tensor) -> Tensor:
            flat = (places + classes.clamp_min(0))[chosen]
            return torch.bincount(flat, minlength=n * n_classes).reshape(n, n_classes)

        right = counts & (found == targets)
        both = by_class(found, right)
        either = by_class(found, counts) + by_class(targets, counts) - both
        sums = [losses, counts, right]
        return torch.cat(
            [torch.stack([x.flatten(1).double().sum(1) for x in sums], dim=1), both, either], dim=1
        )

    def values(self, sums: Array) -> dict[str, Array]:
        """Return mean IoU and Dice over the classes that occur, right pixels, and the loss."""
        loss, n_pixels, right = (sums[..., place] for place in range(3))
        both, either = np.split(sums[..., 3:], 2, axis=-1)
        occurs = either > 0
        n_classes = occurs.sum(axis=-1)
        with np.errstate(divide="ignore", invalid="ignore"):
            overlap = np.where(occurs, both / either, 0.0)
            dice = np.where(occurs, 2 * both / (both + either), 0.0)
            return {
                "miou": overlap.sum(axis=-1) / n_classes,
                "dice": dice.sum(axis=-1) / n_classes,
                "pixel_accuracy": right / n_pixels,
                "loss": loss / n_pixels,
            }


TASKS.add(Segmentation.key, Segmentation())
