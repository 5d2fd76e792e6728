"""Copies of modules, and modules that are put back as they were."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from pruning_core.errors import UnsupportedModelError, first_line


def copied(module: nn.Module) -> nn.Module:
    """Return a deep copy of ``module`` in eval mode.

    Tensors that its parts computed and keep beside their parameters (``torch.nn.utils.weight_norm``
    does) are copied without the operators behind them, which PyTorch would refuse.

    Raises:
        UnsupportedModelError: If the module cannot be copied.
    """
    kept = [x for part in module.modules() for x in vars(part).values() if isinstance(x, Tensor)]
    plain: dict[int, Any] = {id(x): x.detach().clone() for x in kept if not x.is_leaf}
    try:
        return copy.deepcopy(module, plain).eval()
    except Exception as error:  # whatever the user's class raises
        raise UnsupportedModelError(
            f"The model cannot be copied, so it cannot be pruned: {first_line(error)[:60]}. "
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


@contextmanager
def restored(module: nn.Module) -> Iterator[None]:
    """Put everything that a forward pass can leave in ``module`` back after the block.

    Hooks (old weight norm), caches, and ``functional_call`` on a module that stands in two places
    leave tensors of the pass behind; a cache also notes in a number how far it is filled, and a
    recorded pass fills none.
    """
    stored = [(child, _stored(child)) for child in module.modules()]
    try:
        yield
    finally:
        for child, attributes in stored:
            for name in vars(child).keys() - attributes.keys() - _KEPT_BY_TORCH:
                del vars(child)[name]
            for name, value in attributes.items():
                if isinstance(value, dict) and name in {"_parameters", "_buffers"}:
                    vars(child)[name].update(value)
                else:
                    vars(child)[name] = value


def _stored(module: nn.Module) -> dict[str, Any]:
    """Return the module's own attributes, and copies of parameters, buffers and containers."""
    found = {
        name: copy.copy(value) if type(value) in {dict, list, set} else value
        for name, value in vars(module).items()
        if name not in _KEPT_BY_TORCH
    }
    return found | {"_parameters": {**module._parameters}, "_buffers": {**module._buffers}}


_KEPT_BY_TORCH = frozenset(vars(nn.Module()))
