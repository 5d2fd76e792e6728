"""Making batch-norm statistics fit a network that was just pruned."""

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from pruning_core.devices import device_of
from pruning_core.loading.split import Split


def recalibrate_batchnorm(
    module: nn.Module, split: Split, n_samples: int = 2_000, batch_size: int = 200
) -> bool:
    """Replace the running statistics of every batch norm by those of ``split``'s first samples.

    Pruning changes what reaches a batch norm; with the old statistics the network answers almost
    at random. Labels are not used. Weights, modes and momenta are left as they were.

    Args:
        module: Changed in place.
        split: Training data, never test data.
        n_samples: How many samples are read.
        batch_size: Samples per forward pass; the statistics are the mean over the batches, and
            an incomplete last batch is left out unless it is the only one.

    Returns:
        True when the module has batch norms with running statistics.
    """
    norms = running_norms(module)
    if not norms:
        return False
    modes = {part: part.training for part in module.modules()}
    momenta = [norm.momentum for norm in norms]
    module.eval()
    try:
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None  # a cumulative mean over all batches
            norm.train()
        _pass_through(module, split.first(n_samples), batch_size)
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
        for part, training in modes.items():
            part.training = training
    return True


def running_norms(module: nn.Module) -> list[_BatchNorm]:
    """Return the batch norms of ``module`` that keep running statistics."""
    return [
        part
        for part in module.modules()
        if isinstance(part, _BatchNorm) and part.track_running_stats
    ]


def _pass_through(module: nn.Module, split: Split, batch_size: int) -> None:
    n_batches = max(1, len(split) // batch_size)
    with torch.no_grad():
        for index in range(n_batches):
            part = slice(index * batch_size, (index + 1) * batch_size)
            inputs, _ = split.batch(part, device_of(module))
            module(inputs)
