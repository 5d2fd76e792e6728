"""Other values in a pruned network: the part of a dense network's weights that it still has."""

import torch
from torch import Tensor, nn

from pruning_core.surgery.prune import Pruned


def put_weights(pruned: Pruned, source: nn.Module) -> None:
    """Give the pruned module the values that ``source`` has in the same places.

    Parameters and buffers are written; weights that are masked become zero again.

    Args:
        pruned: Its module is changed in place.
        source: Of the dense network's class and shapes; it is not changed.
    """
    values = _tensors(source)
    with torch.no_grad():
        for name, tensor in _tensors(pruned.module).items():
            value = values[name]
            for axis, indices in enumerate(pruned.kept.get(name, ())):
                if indices is not None:
                    value = value.index_select(axis, torch.from_numpy(indices))
            tensor.copy_(value)
        parameters = dict(pruned.module.named_parameters(remove_duplicate=False))
        for name, mask in pruned.masks.items():
            parameters[name].masked_fill_(~mask, 0.0)


def _tensors(module: nn.Module) -> dict[str, Tensor]:
    return {**dict(module.named_parameters()), **dict(module.named_buffers())}
