"""Finding the answer in whatever a model returns."""

from collections.abc import Callable, Mapping
from dataclasses import is_dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from pruning_core.errors import DataError


def called(call: Callable[[Tensor], object], inputs: Tensor) -> object:
    """Return what ``call`` returns for one batch.

    Raises:
        DataError: If the inputs are tokens, and one of them is none of the model's.
    """
    try:
        return call(inputs)
    except IndexError:
        if inputs.is_floating_point():
            raise
        raise DataError(
            f"The data hold the token {int(inputs.max())}, which the model does not know: its "
            "vocabulary is smaller. Choose the data the model was made for."
        ) from None


def tensor_in(output: Any) -> Tensor | None:
    """Return the logits in what a model returned, None without a floating-point tensor.

    It is the output itself, its entry or attribute ``logits`` (``out`` of torchvision's
    segmentation models), or else the first floating-point tensor in it.
    """
    if isinstance(output, Mapping):
        output = next((output[name] for name in ("logits", "out") if name in output), output)
    output = getattr(output, "logits", output)
    if is_dataclass(output) and not isinstance(output, type):
        output = vars(output)
    leaves = pytree.tree_leaves(output)
    return next((x for x in leaves if torch.is_tensor(x) and x.is_floating_point()), None)


def shown(output: object) -> str:
    """Return the shape of a tensor, or the type of something else, for a message."""
    return str(tuple(output.shape)) if isinstance(output, Tensor) else type(output).__name__
