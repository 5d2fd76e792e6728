"""The optimiser and the learning rate that the tuning settings ask for."""

import math
from collections.abc import Iterable

import torch
from torch import nn

from pruning_core.planning.recipe import Tuning


def make_optimiser(parameters: Iterable[nn.Parameter], settings: Tuning) -> torch.optim.Optimizer:
    """Return the optimiser of the settings over ``parameters``; SGD uses Nesterov momentum."""
    rate, decay = settings.learning_rate, settings.weight_decay
    chosen = list(parameters)
    match settings.optimiser:
        case "adam":
            return torch.optim.Adam(chosen, lr=rate, weight_decay=decay, fused=True)
        case "adamw":
            return torch.optim.AdamW(chosen, lr=rate, weight_decay=decay, fused=True)
        case "sgd":
            return torch.optim.SGD(
                chosen,
                lr=rate,
                momentum=settings.momentum,
                nesterov=settings.momentum > 0,
                weight_decay=decay,
                fused=True,
            )


def learning_rate(settings: Tuning, step: int, n_steps: int) -> float:
    """Return the learning rate of ``step`` (from 0) in a run of ``n_steps`` batches.

    It rises linearly over the warm-up steps, then falls to 0 as half a cosine, or stays.
    """
    warmup = min(settings.warmup_steps, n_steps)
    if step < warmup:
        return settings.learning_rate * (step + 1) / warmup
    if settings.learning_rate_schedule == "constant":
        return settings.learning_rate
    done = (step - warmup) / (n_steps - warmup)
    return settings.learning_rate * 0.5 * (1 + math.cos(math.pi * done))
