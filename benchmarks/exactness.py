"""One architecture put to the test: is what the trace predicts what pruning gives?"""

import copy
import time
from collections import Counter
from collections.abc import Callable, Mapping
from functools import partial
from math import inf
from typing import Any, Final, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils import _pytree as pytree
from torch.utils.flop_counter import FlopCounterMode

from pruning_core.choices import Choices
from pruning_core.inputs import Inputs
from pruning_core.loading.model import load_model
from pruning_core.modes import evaluating
from pruning_core.surgery.unit import kept_indices, remove_units
from pruning_core.switches import decomposed_operators
from pruning_core.tracing.network import Network
from pruning_core.tracing.trace import trace

REMOVED: Final = 0.4
TOLERANCE: Final = 1e-4
CLEARLY_OTHER: Final = 1e-2
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
    return row | _removed(network)


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


def _removed(network: Network) -> dict[str, Any]:
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
        "macs_error": counted_macs(removal.module, network) - int(predicted.macs.sum()),
        **difference(network, keep, removal.module),
    }
    if any(group.changes_normalisation for group in network.groups):
        keep = random_keep(network, only_exact=True)
        rest = difference(network, keep, remove_units(network, keep).module)
        row |= {f"unmarked_{name}": value for name, value in rest.items()}
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


def counted_macs(module: nn.Module, network: Network) -> int:
    """Return the MACs of one forward pass by torch's own counter; gradients are switched off.

    Where values decide what runs, they are counted for what the dense model chooses: the same boxes
    are looked at.
    """
    inputs = network.inputs
    module.requires_grad_(False)  # the counter fails where a parameter is handed to a module
    with torch.no_grad(), decomposed_operators():
        made = None
        if network.analysis.capture.by_values:
            with evaluating(network.module), Choices() as choices:
                outputs(network.module, inputs)
            made = choices.made
        with FlopCounterMode(display=False) as counter, Choices(made):
            outputs(module, inputs)
    return int(counter.get_total_flops()) // 2


def difference(network: Network, keep: Keep, pruned: nn.Module) -> dict[str, Any]:
    """Return the relative difference of the pruned model from the dense one with zeros.

    Measured in float32, and where that is not clear, in float64; not where units of marked groups
    left and the difference is large. Where values decide what runs, the pruned model is made to
    choose what the dense one chooses instead, and the results of the layers inside are compared as
    well.

    Returns:
        ``difference``, and ``choices`` True if it was measured at the same choices.
    """
    zeroed = zero_units(network, keep)
    one_sample = getattr(pruned, "meta", {}).get("one_sample")
    inputs = network.inputs if one_sample else network.inputs.repeated(2)
    batch = varied(inputs, torch.float32)
    found = _difference(pruned, zeroed, batch)
    if found <= TOLERANCE:
        return {"difference": found}
    if network.analysis.capture.by_values:
        return {"difference": _difference_of_chosen(pruned, zeroed, batch), "choices": True}
    if found > CLEARLY_OTHER and network.analysis.renormalised[~keep].any():
        return {"difference": found}
    try:
        return {
            "difference": _difference(
                pruned.double(), zeroed.double(), varied(inputs, torch.float64)
            )
        }
    except RuntimeError:  # a model that makes float32 tensors itself
        return {"difference": found}


def _difference_of_chosen(pruned: nn.Module, zeroed: nn.Module, batch: Inputs) -> float:
    with torch.no_grad(), Choices() as choices, _Results(zeroed) as dense:
        right = outputs(zeroed, batch)
    with torch.no_grad(), Choices(choices.made), _Results(pruned) as small:
        left = outputs(pruned, batch)
    alike = [key for key in small.shapes if small.shapes[key] == dense.shapes.get(key)]
    left += [small.samples[key] for key in alike]
    right += [dense.samples[key] for key in alike]
    return _worst(left, right)


class _Results:
    """Notes up to 50,000 numbers of what each layer returns at each call in the block."""

    def __init__(self, module: nn.Module) -> None:
        self.shapes: dict[tuple[str, int], torch.Size] = {}
        self.samples: dict[tuple[str, int], Tensor] = {}
        self._calls: Counter[str] = Counter()
        self._hooks = [
            child.register_forward_hook(partial(self._note, name))
            for name, child in module.named_modules()
            if name and not any(True for _ in child.children())
        ]

    def _note(self, name: str, _module: nn.Module, _inputs: Any, result: Any) -> None:
        if isinstance(result, Tensor):
            key = (name, self._calls[name])
            self._calls[name] += 1
            self.shapes[key] = result.shape
            self.samples[key] = result.flatten()[:: result.numel() // 50_000 + 1].clone()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for hook in self._hooks:
            hook.remove()


def _difference(left: nn.Module, right: nn.Module, batch: Inputs) -> float:
    with torch.no_grad():
        return _worst(outputs(left, batch), outputs(right, batch))


def _worst(left: list[Tensor], right: list[Tensor]) -> float:
    """Return the largest relative difference; infinite where shapes differ or nothing is found."""
    if [a.shape for a in left] != [b.shape for b in right]:
        return inf
    found = [
        float((a - b).nan_to_num().abs().max() / b.nan_to_num().abs().max().clamp_min(1e-12))
        for a, b in zip(left, right, strict=True)
        if a.is_floating_point() and a.numel()
    ]
    return max(found, default=inf)


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
