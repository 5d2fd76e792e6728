"""The optimiser that the tuning settings ask for, and how long its steps are."""

from collections.abc import Iterable
from typing import Final

import torch
from torch import Tensor, nn

from pruning_core.planning.recipe import Tuning

_FUSED: Final = frozenset({"cpu", "cuda", "mps"})


def make_optimiser(parameters: Iterable[nn.Parameter], settings: Tuning) -> torch.optim.Optimizer:
    """Return the optimiser of the settings over ``parameters``; SGD uses Nesterov momentum."""
    rate, decay = settings.learning_rate, settings.weight_decay
    chosen = list(parameters)
    fused = all(parameter.device.type in _FUSED for parameter in chosen)
    match settings.optimiser:
        case "adam":
            return torch.optim.Adam(chosen, lr=rate, weight_decay=decay, fused=fused)
        case "adamw":
            return torch.optim.AdamW(chosen, lr=rate, weight_decay=decay, fused=fused)
        case "sgd":
            return torch.optim.SGD(
                chosen,
                lr=rate,
                momentum=settings.momentum,
                nesterov=settings.momentum > 0,
                weight_decay=decay,
                fused=fused,
            )


def step_size(
    optimiser: torch.optim.Optimizer, rate: float, parameter: nn.Parameter
) -> Tensor | float:
    """Return how far ``optimiser`` moves ``parameter`` for a gradient of 1 that does not change.

    SGD: ``rate / (1 - momentum)``. Adam and AdamW: ``rate`` over the root of their average of
    squared gradients, ``[shape of the parameter]``.
    """
    group = optimiser.param_groups[0]
    if "betas" not in group:
        return rate / (1 - float(group["momentum"]))
    state = optimiser.state[parameter]
    seen = 1 - float(group["betas"][1]) ** float(state["step"])
    average: Tensor = state["exp_avg_sq"] / seen
    return average.sqrt_().add_(float(group["eps"])).reciprocal_().mul_(rate)
