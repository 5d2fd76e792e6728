"""Set weights to zero in a module."""

from collections.abc import Iterator, Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pruning_core.modes import copied
from pruning_core.planning.plan import Plan
from pruning_core.surgery.unit import Kept, kept_indices
from pruning_core.tracing.network import Network

_WHOLE: Kept = {}


def weight_masks(network: Network, plan: Plan, kept: Kept = _WHOLE) -> dict[str, Tensor]:
    """Return parameter name -> bool mask of the pruned shape, True where the weight stays.

    Args:
        network: The traced model.
        plan: What becomes zero.
        kept: What is left of each parameter; parameters of which nothing is left have no mask.
    """
    masks = {}
    for name, dense in plan.masks(network).items():
        axes = kept.get(name, ())
        if any(indices is not None and not len(indices) for indices in axes):
            continue
        mask = dense.copy()
        for axis, indices in enumerate(axes):
            if indices is not None:
                mask = np.take(mask, indices, axis=axis)
        masks[name] = torch.from_numpy(mask).to(network.tensor(name).device)
    return masks


def dense_masks(network: Network, plan: Plan) -> Iterator[tuple[str, NDArray[np.bool_]]]:
    """Yield each parameter of the dense network and which of its elements stay, in its shape.

    Elements of removed units are False, where they were, and so are those set to zero.

    Args:
        network: The traced dense network.
        plan: What goes.
    """
    kept = kept_indices(network, plan.unit_keep(network), plan.cut(network))
    masks = plan.masks(network)
    for name, parameter in network.module.named_parameters():
        shape = tuple(parameter.shape)
        stays = np.ones(shape, np.bool_)
        for axis, indices in enumerate(kept.get(name, ())):
            if indices is not None:
                gone = np.ones(shape[axis], np.bool_)
                gone[indices] = False
                stays[(slice(None),) * axis + (gone,)] = False
        yield name, stays & masks[name].reshape(shape) if name in masks else stays


def apply_masks(network: Network, masks: Mapping[str, Tensor]) -> nn.Module:
    """Return a copy of the model, in eval mode, with the masked weights at zero."""
    module = copied(network.module)
    set_to_zero(module, masks)
    return module


def zero_units(network: Network, keep: NDArray[np.bool_]) -> nn.Module:
    """Return a copy of the model, in eval mode, with every slice of the units that go at zero.

    It computes what the model without these units computes, unless a group that loses some changes
    a normalisation (:attr:`Group.changes_normalisation`).

    Args:
        network: The traced model.
        keep: ``[n_units]`` True for the units that stay.
    """
    module = copied(network.module)
    tensors = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    with torch.no_grad():
        for name, axes in kept_indices(network, keep).items():
            for axis, kept in enumerate(axes):
                if kept is not None:
                    gone = np.setdiff1d(np.arange(tensors[name].shape[axis]), kept)
                    places = torch.from_numpy(gone).to(tensors[name].device)
                    tensors[name].index_fill_(axis, places, 0)
    return module


def set_to_zero(module: nn.Module, masks: Mapping[str, Tensor]) -> None:
    """Set the masked weights of ``module`` to zero."""
    parameters = dict(module.named_parameters())
    with torch.no_grad():
        for name, mask in masks.items():
            _bits(parameters[name]).mul_(mask)


def _bits(tensor: Tensor) -> Tensor:
    """Return the same memory as integers: times 0, also NaN and -1 become plain zero."""
    integers = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
    return tensor.view(integers[tensor.element_size()])
