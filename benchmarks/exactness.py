"""One architecture put to the test: is what the trace predicts what pruning gives?"""

import copy
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils import _pytree as pytree
from torch.utils.flop_counter import FlopCounterMode

from pruning_core.inputs import Inputs
from pruning_core.loading.model import LoadedModel, load_model
from pruning_core.surgery.unit import kept_indices, remove_units
from pruning_core.switches import decomposed_operators
from pruning_core.tracing.network import Network
from pruning_core.tracing.trace import trace

REMOVED: Final = 0.4
TOLERANCE: Final = 1e-4
Keep = NDArray[np.bool_]


def measure(identity: str, input_shape: tuple[int, ...] | None) -> dict[str, Any]:
    """Trace a model, remove a seeded random 40 % of the units of every group, and compare.

    Returns:
        JSON-ready figures of one row of the table.
    """
    model = load_model(identity, input_shape=input_shape)
    stir(model.module)
    began = time.perf_counter()
    network = trace(model.module, model.inputs)
    traced = time.perf_counter() - began
    everything, nothing = (np.full(network.cost.n_units, value) for value in (True, False))
    n_params = int(network.cost.query(everything).params.sum())
    row: dict[str, Any] = {
        "params": n_params,
        "macs": int(network.cost.query(everything).macs.sum()),
        "groups": len(network.groups),
        "units": network.cost.n_units,
        "prunable": 1 - int(network.cost.query(nothing).params.sum()) / n_params,
        "unknown": dict(network.unknown_operators),
        "marked": sum(group.changes_normalisation for group in network.groups),
        "trace_seconds": traced,
    }
    return row | _removed(model, network)


def stir(module: nn.Module) -> None:
    """Change parameters and statistics that are all alike, so that mistakes show in the output.

    Fresh scales are all one and fresh shifts all zero; some models even start with branches that
    add nothing.
    """
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for tensor in (*module.parameters(), *_statistics(module)):
            if tensor.is_floating_point() and tensor.numel() > 1 and bool(tensor.std() < 1e-3):
                noise = torch.rand(tensor.shape, generator=generator)
                tensor.add_((noise * 0.4).to(tensor.dtype))


def _statistics(module: nn.Module) -> list[Tensor]:
    return [
        tensor
        for name, tensor in module.named_buffers()
        if name.rpartition(".")[2] in {"running_mean", "running_var"}
    ]


def _removed(model: LoadedModel, network: Network) -> dict[str, Any]:
    """Remove units and compare counts with the prediction, outputs with the zeroed model."""
    keep = random_keep(network)
    began = time.perf_counter()
    removal = remove_units(network, keep)
    seconds = time.perf_counter() - began
    predicted = network.cost.query(keep)
    counted = sum(parameter.numel() for parameter in removal.module.parameters())
    row: dict[str, Any] = {
        "prune_seconds": seconds,
        "form": "graph" if removal.graph_reason else "module",
        "reason": removal.graph_reason,
        "params_error": counted - int(predicted.params.sum()),
        "macs_error": counted_macs(removal.module, model.inputs) - int(predicted.macs.sum()),
        "difference": difference(network, keep, removal.module),
    }
    if any(group.changes_normalisation for group in network.groups):
        keep = random_keep(network, only_exact=True)
        row["unmarked_difference"] = difference(network, keep, remove_units(network, keep).module)
    return row


def random_keep(network: Network, *, only_exact: bool = False) -> Keep:
    """Return which units stay: about 60 % of every group, at least one.

    Args:
        network: The traced model.
        only_exact: Leave the groups whole that are marked as changing a normalisation.
    """
    generator = np.random.default_rng(0)
    parts = []
    for group in network.groups:
        part = generator.random(group.n_units) >= REMOVED
        part[0] = True
        parts.append(part | (only_exact and group.changes_normalisation))
    return np.concatenate([*parts, np.zeros(0, np.bool_)])


def counted_macs(module: nn.Module, inputs: Inputs) -> int:
    """Return the MACs of one forward pass by torch's own counter; gradients are switched off."""
    module.requires_grad_(False)  # the counter fails where a parameter is handed to a module
    with torch.no_grad(), decomposed_operators(), FlopCounterMode(display=False) as counter:
        module(*inputs.args, **inputs.kwargs)
    return int(counter.get_total_flops()) // 2


def difference(network: Network, keep: Keep, pruned: nn.Module) -> float:
    """Return the relative difference of the pruned model from the dense one with zeros.

    Measured in float32, and where that is not clear, in float64.
    """
    zeroed = zero_units(network, keep)
    found = _difference(pruned, zeroed, network.inputs, torch.float32)
    if found <= TOLERANCE:
        return found
    try:
        return _difference(pruned.double(), zeroed.double(), network.inputs, torch.float64)
    except RuntimeError:  # a model that makes float32 tensors itself
        return found


def _difference(left: nn.Module, right: nn.Module, inputs: Inputs, dtype: torch.dtype) -> float:
    batch = varied(inputs.repeated(2), dtype)
    with torch.no_grad():
        pairs = zip(outputs(left, batch), outputs(right, batch), strict=True)
        return max(
            float((a - b).nan_to_num().abs().max() / b.nan_to_num().abs().max().clamp_min(1e-12))
            for a, b in pairs
            if a.is_floating_point() and a.numel()
        )


def varied(inputs: Inputs, dtype: torch.dtype) -> Inputs:
    """Return the inputs with seeded noise on everything that is no index."""
    generator = torch.Generator().manual_seed(2)
    return inputs.with_tensors(
        (x + torch.randn(x.shape, generator=generator)).to(dtype) if x.is_floating_point() else x
        for x in inputs.tensors
    )


def outputs(module: Callable[..., object], inputs: Inputs) -> list[Tensor]:
    """Return all tensors that a call of ``module`` gives; what it draws at random is seeded."""
    torch.manual_seed(0)
    returned = module(*inputs.args, **inputs.kwargs)
    plain = dict(returned) if isinstance(returned, Mapping) else returned
    return [leaf for leaf in pytree.tree_leaves(plain) if isinstance(leaf, Tensor)]


def zero_units(network: Network, keep: Keep) -> nn.Module:
    """Return a copy of the dense model in which everything that leaves is zero."""
    module = copy.deepcopy(network.module).eval()
    tensors = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    with torch.no_grad():
        for name, axes in kept_indices(network, keep).items():
            for axis, indices in enumerate(axes):
                if indices is not None:
                    gone = np.setdiff1d(np.arange(tensors[name].shape[axis]), indices)
                    tensors[name].index_fill_(axis, torch.from_numpy(gone), 0)
    return module
