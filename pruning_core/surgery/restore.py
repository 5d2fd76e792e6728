"""Expand a pruned model to the shapes of the dense one, with zeros where units left."""

import numpy as np
import torch
from torch import Tensor, nn

from pruning_core.modes import copied
from pruning_core.surgery.prune import Pruned


def restore(dense: nn.Module, pruned: Pruned) -> nn.Module:
    """Return a module of the dense model's class that holds the weights of the pruned one.

    It computes what the pruned model computes, unless a normalisation runs over units that left
    (groups marked ``changes_normalisation``).

    Args:
        dense: The model before pruning; only its class, shapes and what pruning does not know
            (plain attributes) are used. It is not changed.
        pruned: What pruning made of it, fine-tuned or not, in any form.
    """
    module = copied(dense)
    stored = _tensors(pruned.module)
    with torch.no_grad():
        for name, tensor in _tensors(module).items():
            if name not in stored:  # it left with a residual branch, which adds nothing
                tensor.zero_()
                continue
            tensor.copy_(expand(stored[name], tuple(tensor.shape), pruned.kept.get(name)))
    return module


def expand(
    tensor: Tensor, shape: tuple[int, ...], kept: tuple[np.ndarray | None, ...] | None
) -> Tensor:
    """Return ``tensor`` in its original ``shape``, zero where nothing was kept.

    Args:
        tensor: What stayed.
        shape: Its sizes before.
        kept: For each axis the original indices kept, None where all were; None if nothing left.

    Raises:
        ValueError: If the tensor does not have the sizes that ``kept`` says.
    """
    if kept is None:
        return tensor.detach().clone()
    indices = [np.arange(n) if axis is None else axis for n, axis in zip(shape, kept, strict=True)]
    sizes = tuple(len(axis) for axis in indices)
    if tuple(tensor.shape) != sizes:
        raise ValueError(f"a tensor of shape {tuple(tensor.shape)} was kept as {sizes}")
    result = torch.zeros(shape, dtype=tensor.dtype, device=tensor.device)
    places = torch.meshgrid(
        *(torch.from_numpy(axis).to(tensor.device) for axis in indices), indexing="ij"
    )
    return result.index_put_(places, tensor.detach())


def _tensors(module: nn.Module) -> dict[str, Tensor]:
    return {**dict(module.named_parameters()), **dict(module.named_buffers())}
