"""A network made of nothing but named weights: every matrix and kernel is read once, by itself.

What needs no architecture can be seen and done with it: histograms, pictures, thresholds,
sparsity, masks. How the weights work together is not known, so nothing can be removed as a unit,
MACs are unknown and no data can be put through it.
"""

import re
from collections.abc import Collection, Iterable, Mapping
from itertools import chain, count
from keyword import iskeyword
from math import prod
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from pruning_core.errors import UnsupportedModelError

NOTE: Final = (
    "Weights without an architecture: MACs, accuracy and units that leave together are not known. "
    "Single weights, patterns, blocks, rows and kernels can be pruned."
)
_LONGEST_KERNEL: Final = 64
_STATISTICS: Final = ("running_mean", "running_var")


_TAKEN: Final = frozenset({"", "original_names", "_weights", "width", *dir(nn.Module())})
"""What no part of a name can be: attributes that a module has already."""


class Matrix(nn.Module):
    """Holds a matrix, read as ``[outputs, inputs]``."""


class Kernels(nn.Module):
    """Holds kernels of a convolution, ``[outputs, inputs, ...]``."""


class Stack(nn.Module):
    """Holds several matrices of the same size, ``[n, outputs, inputs]``."""


class Values(nn.Module):
    """Holds values that are no matrix, e.g. biases and the numbers of a normalisation."""


class WeightsOnly(nn.Module):
    """Named tensors as a module whose submodules are the parts of their names.

    Attributes:
        original_names: Name in the file by the name here, where they differ.
    """

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        """Take over ``tensors``, floating-point ones as parameters; nothing is copied.

        Raises:
            UnsupportedModelError: If there is nothing that can be pruned.
        """
        super().__init__()
        self.original_names: dict[str, str] = {}
        self._weights: list[str] = []
        ordered = in_order(tensors)
        for (name, tensor), here in zip(ordered.items(), _place_names(ordered), strict=True):
            if here != name:
                self.original_names[here] = name
            is_float = tensor.dtype.is_floating_point and not here.endswith(_STATISTICS)
            owner = self._owner(here, tensor if is_float else None)
            last = here.rpartition(".")[2]
            if is_float:
                owner._parameters[last] = nn.Parameter(tensor, requires_grad=False)
            else:
                owner._buffers[last] = tensor
            if is_float and tensor.ndim >= 2:
                self._weights.append(here)
        if not self._weights:
            raise UnsupportedModelError(
                "The file holds no matrix and no kernel, so there is nothing to look at or prune."
            )

    def _owner(self, name: str, tensor: Tensor | None) -> nn.Module:
        """Return the module that holds ``name``, made with the modules around it."""
        path = name.split(".")[:-1]
        module: nn.Module = self
        for depth, part in enumerate(path):
            inner = module._modules.get(part)
            is_last = depth == len(path) - 1
            wanted: type[nn.Module] = _kind(tensor) if is_last and tensor is not None else Values
            if inner is None:
                inner = module._modules[part] = wanted()
            elif is_last and type(inner) is Values and wanted is not Values:
                better = wanted()
                better.__dict__ = inner.__dict__
                inner = module._modules[part] = better
            module = inner
        return module

    def __deepcopy__(self, memo: dict[int, Any]) -> "WeightsOnly":
        tensors = {name: tensor.detach().clone() for name, tensor in self.state_dict().items()}
        copied = WeightsOnly(tensors)
        copied.original_names = dict(self.original_names)
        copied._weights = list(self._weights)  # a state dict has another order
        return copied

    @property
    def width(self) -> int:
        """How many numbers the longest input of a weight has."""
        named = dict(self.named_parameters(remove_duplicate=False))
        return max(prod(_input_shape(named[name])) for name in self._weights)

    def forward(self, numbers: Tensor) -> list[Tensor]:
        """Read each weight once, from the same numbers ``[B, width]``; the result means nothing."""
        named = dict(self.named_parameters(remove_duplicate=False))
        return [_read(numbers, named[name]) for name in self._weights]


def names_in_file(module: nn.Module) -> Mapping[str, str]:
    """Return name in the file by name in ``module``, where they differ: of weights alone only."""
    return module.original_names if isinstance(module, WeightsOnly) else {}


def state_in_file(module: nn.Module) -> dict[str, Tensor]:
    """Return the state dict of ``module`` under the names that its file has."""
    names = names_in_file(module)
    return {names.get(name, name): tensor for name, tensor in module.state_dict().items()}


def in_order(tensors: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """Return the tensors in the order of layers: names that were sorted are sorted by number.

    Libraries sort them within an element type; a checkpoint has them as the model was built.
    """
    names = list(tensors)
    by_type: dict[torch.dtype, list[str]] = {}
    for name in names:
        by_type.setdefault(tensors[name].dtype, []).append(name)
    if any(own != sorted(own) for own in by_type.values()):
        return tensors
    return {name: tensors[name] for name in sorted(names, key=_natural)}


def _natural(name: str) -> list[tuple[bool, int, str]]:
    parts = re.split(r"(\d+)", name)
    return [(part.isdecimal(), int(part) if part.isdecimal() else 0, part) for part in parts]


def _place_names(names: Iterable[str]) -> list[str]:
    """Return a name for each whose parts can be names of modules; no two become the same.

    PyTorch writes these names into code that it runs, so they hold nothing but letters and digits
    of ASCII, underscores and hyphens.
    """
    found: dict[tuple[tuple[str, ...], bool], str] = {}
    taken: set[str] = set()
    for name in names:
        parts = tuple(name.split("."))
        place = ""
        for depth in range(1, len(parts) + 1):
            part = (parts[:depth], depth == len(parts))
            if part not in found:
                found[part] = _free(place + _safe(part[0][-1]), taken)
                taken.add(found[part])
            place = f"{found[part]}."
    return [found[tuple(name.split(".")), True] for name in names]


def _safe(part: str) -> str:
    safe = re.sub(r"[^\w-]", "_", part, flags=re.ASCII)
    return f"_{safe}" if safe in _TAKEN or iskeyword(safe) else safe


def _free(name: str, taken: Collection[str]) -> str:
    numbers = (f"{name}_{number}" for number in count(2))
    return next(free for free in chain([name], numbers) if free not in taken)


def _kind(tensor: Tensor) -> type[nn.Module]:
    if tensor.ndim < 2:
        return Values
    if tensor.ndim == 2:
        return Matrix
    return Stack if _is_stack(tensor) else Kernels


def _is_stack(tensor: Tensor) -> bool:
    return tensor.ndim > 5 or (tensor.ndim == 3 and tensor.shape[-1] > _LONGEST_KERNEL)


def _input_shape(weight: Tensor) -> tuple[int, ...]:
    """Return the shape of what ``weight`` is multiplied with."""
    return (weight.shape[-1],) if _is_stack(weight) else tuple(weight.shape[1:])


def _read(numbers: Tensor, weight: Tensor) -> Tensor:
    """Multiply with ``weight``, as a layer that holds it would."""
    shape = _input_shape(weight)
    given = numbers[:, : prod(shape)].to(weight.dtype)
    if weight.ndim == 2:
        return functional.linear(given, weight)
    if _is_stack(weight):
        return torch.matmul(given, weight.transpose(-1, -2))
    convolve = (functional.conv1d, functional.conv2d, functional.conv3d)[len(shape) - 2]
    result: Tensor = convolve(given.reshape(-1, *shape), weight)
    return result
