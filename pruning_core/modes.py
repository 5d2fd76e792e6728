"""Copies of modules, and modules in eval mode for a moment."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

from pruning_core.errors import UnsupportedModelError, first_line


def copied(module: nn.Module) -> nn.Module:
    """Return a deep copy of ``module`` in eval mode.

    Raises:
        UnsupportedModelError: If the module cannot be copied.
    """
    try:
        return copy.deepcopy(module).eval()
    except Exception as error:  # whatever the user's class raises
        raise UnsupportedModelError(
            f"The model cannot be copied, so it cannot be pruned: {first_line(error)} "
            "Use torch.nn.utils.parametrizations instead of hooks that store tensors."
        ) from error


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Put ``module`` into eval mode inside the block and every part back to its mode after it."""
    training = [child for child in module.modules() if child.training]
    module.eval()
    try:
        yield
    finally:
        for child in training:
            child.training = True
