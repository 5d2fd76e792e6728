"""The optimiser that the tuning settings ask for."""

from collections.abc import Iterable
from typing import Final

import torch
from torch import nn

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
