"""Carry what an optimiser has gathered (momentum, averages) over to the smaller parameters."""

from collections import defaultdict
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from pruning_core.errors import UnsupportedModelError
from pruning_core.surgery.prune import Pruned

Axes = tuple[np.ndarray | None, ...]
AnyOptimizer = TypeVar("AnyOptimizer", bound=Optimizer)


def carry_over(optimiser: AnyOptimizer, dense: nn.Module, pruned: Pruned) -> AnyOptimizer:
    """Return an optimiser of the same class, settings and state for the pruned model.

    State of a parameter's shape loses what the parameter lost; numbers (steps) stay. What is
    computed for a kept weight afterwards is what it would have been in the dense model with zeros
    in the place of the others.

    Args:
        optimiser: Of the dense model; not changed.
        dense: The model whose parameters it updates.
        pruned: What pruning made of that model.

    Raises:
        UnsupportedModelError: If it updates parameters that are not in the model, or keeps state
            that is neither a number nor of a parameter's shape.
    """
    names = {id(parameter): name for name, parameter in dense.named_parameters()}
    smaller = dict(pruned.module.named_parameters())
    result: AnyOptimizer = object.__new__(type(optimiser))
    result.__dict__.update(optimiser.__dict__)
    result.param_groups = []
    result.state = defaultdict(dict)
    for group in optimiser.param_groups:
        new_group = dict(group)
        new_group["params"] = []
        for parameter in group["params"]:
            name = _name(names, parameter)
            if name not in smaller:  # it left with a residual branch
                continue
            new_group["params"].append(smaller[name])
            if parameter in optimiser.state:
                axes = pruned.kept.get(name, (None,) * parameter.ndim)
                result.state[smaller[name]] = {
                    key: _carried(value, parameter, axes, f"{type(optimiser).__name__}'s {key}")
                    for key, value in optimiser.state[parameter].items()
                }
        result.param_groups.append(new_group)
    return result


def _name(names: dict[int, str], parameter: Tensor) -> str:
    if id(parameter) not in names:
        raise UnsupportedModelError(
            f"The optimiser updates a parameter of shape {tuple(parameter.shape)} that is not in "
            "the model. Give the optimiser that was made with the dense model's parameters."
        )
    return names[id(parameter)]


def _carried(value: Any, parameter: Tensor, axes: Axes, what: str) -> Any:
    if not isinstance(value, Tensor):
        if isinstance(value, int | float | str | None):
            return value
        raise UnsupportedModelError(
            f"{what} is a {type(value).__name__}, which cannot be cut. Start a new optimiser."
        )
    if value.shape != parameter.shape:
        if value.numel() == 1:
            return value.clone()
        raise UnsupportedModelError(
            f"{what} has the shape {tuple(value.shape)}, not that of its parameter "
            f"{tuple(parameter.shape)}, so it cannot be cut. Start a new optimiser."
        )
    for axis, indices in enumerate(axes):
        if indices is not None:
            value = value.index_select(axis, torch.from_numpy(indices).to(value.device))
    return value.clone()
