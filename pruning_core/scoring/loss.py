"""The loss of a task, from what a model returns and what the labels are."""

from collections.abc import Mapping
from dataclasses import is_dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.utils import _pytree as pytree

from pruning_core.errors import DataError


def task_loss(output: Any, labels: Tensor, temperature: float = 1.0) -> Tensor:
    """Return the mean cross-entropy in nats, a scalar; labels of -100 count for nothing.

    Args:
        output: What the model returned.
        labels: Integers ``[N]`` or ``[N, T]``.
        temperature: What the logits are divided by; a high one makes all classes nearly alike.

    Raises:
        DataError: As :func:`logits_for`.
    """
    logits = logits_for(output, labels) / temperature
    return functional.cross_entropy(logits.flatten(0, -2), labels.flatten())


def logits_for(output: Any, labels: Tensor) -> Tensor:
    """Return the logits in what a model returned, see :func:`logits_in`, once they fit the labels.

    Args:
        output: Logits ``[N, C]`` or ``[N, T, C]``, also inside a dictionary, tuple or object.
        labels: Integers ``[N]`` or ``[N, T]``.

    Raises:
        DataError: If output and labels are no such pair.
    """
    logits = logits_in(output)
    whole = not labels.is_floating_point()
    if (
        logits is None
        or logits.ndim not in (2, 3)
        or logits.shape[:-1] != labels.shape
        or not whole
    ):
        shown = type(output).__name__ if logits is None else tuple(logits.shape)
        raise DataError(
            f"The model returns {shown} for labels {tuple(labels.shape)} of {labels.dtype}; a loss "
            "is known for logits (N, classes) with integer labels (N), and (N, T, classes) with "
            "(N, T). Choose a criterion that reads no gradients, e.g. l1."
        )
    if int(labels.max()) >= logits.shape[-1]:
        raise DataError(
            f"The model tells {logits.shape[-1]} classes apart, but the data has the label "
            f"{int(labels.max())}. Choose the data set the model was made for."
        )
    return logits


def logits_in(output: Any) -> Tensor | None:
    """Return the logits in what a model returned, None without a floating-point tensor.

    It is the output itself, its entry or attribute ``logits``, or else the first floating-point
    tensor in it.
    """
    if isinstance(output, Mapping) and "logits" in output:
        output = output["logits"]
    output = getattr(output, "logits", output)
    if is_dataclass(output) and not isinstance(output, type):
        output = vars(output)
    leaves = pytree.tree_leaves(output)
    return next((x for x in leaves if torch.is_tensor(x) and x.is_floating_point()), None)
