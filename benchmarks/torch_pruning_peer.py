"""The same architectures pruned by Torch-Pruning, as its documentation shows, without hand work.

It prunes a copy whose weights are numbers that name their place. What is left of these numbers says
which weights were kept, so that its result can be compared with the dense model in which all others
are zero, just as ours is.
"""

import copy
import time
import warnings
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from benchmarks.exactness import REMOVED, TOLERANCE, outputs, stir, varied
from pruning_core.errors import first_line
from pruning_core.inputs import Inputs
from pruning_core.loading.model import load_model

_NORMS = (nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)


def measure(identity: str, input_shape: tuple[int, ...] | None) -> dict[str, Any]:
    """Prune 40 % of the units of every group with random scores and compare.

    Returns:
        JSON-ready: ``outcome`` is exact, "differs", "norms" (statistics over pruned units: zeroing
        is no reference), "nothing" (no parameter left) or "fails", with the reason.
    """
    import torch_pruning

    model = load_model(identity, input_shape=input_shape)
    stir(model.module)
    tagged = _tagged(model.module)
    began = time.perf_counter()
    try:
        _prune(torch_pruning, tagged, model.inputs)
        pruned = _restored(tagged, model.module)
        seconds = time.perf_counter() - began
        left = outputs(pruned, varied(model.inputs, torch.float32))
    except Exception as error:
        seconds = time.perf_counter() - began
        reason = f"{type(error).__name__}: {first_line(error)}"
        return {"outcome": "fails", "reason": reason, "seconds": seconds}
    dense = sum(parameter.numel() for parameter in model.module.parameters())
    kept = sum(parameter.numel() for parameter in pruned.parameters()) / dense
    right = outputs(_zeroed(tagged, model.module), varied(model.inputs, torch.float32))
    worst = _worst(left, right)
    unlike = "norms" if _norms_shrank(pruned, model.module) else "differs"
    outcome = "exact" if worst <= TOLERANCE else unlike
    return {
        "outcome": "nothing" if kept == 1 else outcome,
        "reason": "",
        "difference": worst,
        "kept": kept,
        "seconds": seconds,
    }


def _prune(torch_pruning: Any, module: nn.Module, inputs: Inputs) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pruner = torch_pruning.pruner.BasePruner(
            module,
            example_inputs=dict(inputs.kwargs) or inputs.tensors,
            importance=torch_pruning.importance.RandomImportance(),
            pruning_ratio=REMOVED,
            ignored_layers=_classifiers(module, inputs),
            output_transform=_tensors_with_gradient,
        )
        pruner.step()


def _tensors_with_gradient(output: Any) -> list[Tensor]:
    plain = dict(output) if isinstance(output, Mapping) else output
    leaves = pytree.tree_leaves(plain)
    return [leaf for leaf in leaves if isinstance(leaf, Tensor) and leaf.requires_grad]


def _classifiers(module: nn.Module, inputs: Inputs) -> list[nn.Module]:
    """Return the layers that make the outputs, which a user of Torch-Pruning names."""
    sizes: dict[nn.Module, int] = {}
    with torch.no_grad():
        shapes = [set(output.shape) for output in outputs(module, inputs)]
    for child in module.modules():
        if isinstance(child, nn.Linear):
            sizes[child] = child.out_features
        elif isinstance(child, nn.modules.conv._ConvNd):
            sizes[child] = child.out_channels
    *_, last = sizes
    return [
        child
        for child, size in sizes.items()
        if child is last or any(size in shape for shape in shapes[:1] if size >= 100)
    ]


def _tagged(module: nn.Module) -> nn.Module:
    """Return a copy in which the bits of every number name its place in its tensor."""
    tagged = copy.deepcopy(module).eval()
    with torch.no_grad():
        for tensor in _tensors(tagged).values():
            places = torch.arange(tensor.numel(), dtype=torch.int32).view(torch.float32)
            tensor.copy_(places.view(tensor.shape))
    return tagged


def _restored(tagged: nn.Module, dense: nn.Module) -> nn.Module:
    """Return what is left, with the weights of ``dense``."""
    result = copy.deepcopy(tagged)
    places, originals = _tensors(tagged), _tensors(dense)
    with torch.no_grad():
        for name, tensor in _tensors(result).items():
            tensor.copy_(originals[name].flatten()[_places(places[name])])
    return result


def _zeroed(tagged: nn.Module, dense: nn.Module) -> nn.Module:
    """Return the dense model with everything at zero that did not stay; tied weights untied."""
    result = copy.deepcopy(dense)
    for child in result.modules():
        for leaf, parameter in child.named_parameters(recurse=False):
            child.register_parameter(leaf, nn.Parameter(parameter.detach().clone()))
    places = _tensors(tagged)
    with torch.no_grad():
        for name, tensor in _tensors(result).items():
            kept = torch.zeros(tensor.numel(), dtype=torch.bool)
            kept[_places(places[name]).flatten()] = True
            tensor.mul_(kept.view(tensor.shape))
    return result


def _tensors(module: nn.Module) -> dict[str, Tensor]:
    statistics = ("running_mean", "running_var")
    buffers = module.named_buffers()
    stored = {name: x for name, x in buffers if name.rpartition(".")[2] in statistics}
    return {**dict(module.named_parameters(remove_duplicate=False)), **stored}


def _places(tagged: Tensor) -> Tensor:
    return tagged.detach().contiguous().view(torch.int32).long()


def _norms_shrank(pruned: nn.Module, dense: nn.Module) -> bool:
    parts = dict(dense.named_modules())
    return any(
        child.weight.shape != parts[name].weight.shape
        for name, child in pruned.named_modules()
        if getattr(child, "weight", None) is not None
        and (isinstance(child, _NORMS) or "Norm" in type(child).__name__)
        and not isinstance(child, nn.modules.batchnorm._BatchNorm)
    )


def _worst(left: list[Tensor], right: list[Tensor]) -> float:
    return max(
        float((a - b).abs().max() / b.abs().max().clamp_min(1e-12))
        for a, b in zip(left, right, strict=True)
        if a.is_floating_point() and a.numel()
    )
