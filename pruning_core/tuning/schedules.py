"""The learning rate over one round of training, as a function of the step."""

import math
from typing import Final, assert_never

from pruning_core.planning.recipe import Tuning

ONE_CYCLE_RISE: Final = 0.3
_ONE_CYCLE_START: Final = 1 / 25
_ONE_CYCLE_END: Final = 1e-4


def learning_rate(settings: Tuning, step: int, n_steps: int, n_epochs: int | None = None) -> float:
    """Return the learning rate of ``step`` (from 0) in a training of ``n_steps`` batches.

    The training has ``n_epochs`` epochs; None means those of the settings.

    It rises linearly over the warm-up steps. Then it falls to 0 as half a cosine, stays, or falls
    by a factor after some epochs. One cycle (Smith and Topin 2017, arXiv:1708.07120) rises from
    1/25 of the rate and falls to 1/250,000, both as half a cosine; its warm-up is that rise.
    """
    if settings.learning_rate_schedule == "one_cycle":
        return _one_cycle(settings, step, n_steps)
    warmup = min(settings.warmup_steps, n_steps)
    if step < warmup:
        return settings.learning_rate * (step + 1) / warmup
    match settings.learning_rate_schedule:
        case "constant":
            return settings.learning_rate
        case "cosine":
            done = (step - warmup) / (n_steps - warmup)
            return settings.learning_rate * 0.5 * (1 + math.cos(math.pi * done))
        case "step":
            epochs_done = step * (n_epochs or settings.epochs) // n_steps
            return settings.learning_rate * settings.step_factor ** _n_drops(settings, epochs_done)
        case _:
            assert_never(settings.learning_rate_schedule)


def _n_drops(settings: Tuning, epochs_done: int) -> int:
    if settings.step_milestones:
        return sum(epochs_done >= milestone for milestone in settings.step_milestones)
    return epochs_done // settings.step_every


def _one_cycle(settings: Tuning, step: int, n_steps: int) -> float:
    """Return the rate as ``torch.optim.lr_scheduler.OneCycleLR`` sets it without momentum."""
    high = settings.learning_rate
    start = high * _ONE_CYCLE_START
    n_rising = min(settings.warmup_steps, n_steps) or ONE_CYCLE_RISE * n_steps
    top, last = n_rising - 1, n_steps - 1
    if step <= top:
        return _half_cosine(start, high, step / top if top > 0 else 1.0)
    return _half_cosine(high, start * _ONE_CYCLE_END, (step - top) / max(last - top, 1e-9))


def _half_cosine(begin: float, end: float, done: float) -> float:
    return end + (begin - end) / 2 * (1 + math.cos(math.pi * min(done, 1.0)))
