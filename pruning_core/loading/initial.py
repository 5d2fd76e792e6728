"""The weights a network had before training, and fresh ones: what lottery tickets start from.

A bundled model is built again from the seed on its card. Any other module may carry the attribute
``initial_state``: its own ``state_dict()`` as it was before (or early in) training.
"""

from collections.abc import Mapping
from typing import Final

import torch
from torch import Tensor, nn

from pruning_core.errors import RunError
from pruning_core.loading.architecture import build_initial
from pruning_core.loading.architectures import ARCHITECTURES
from pruning_core.loading.provider import LoadedModel
from pruning_core.loading.weights import digest
from pruning_core.modes import copied

ATTRIBUTE: Final = "initial_state"
State = Mapping[str, Tensor]


def initial_module(model: LoadedModel) -> nn.Module:
    """Return a copy of the network with the weights it had before training.

    Raises:
        RunError: If they are not known.
    """
    if model.card is not None:
        module = build_initial(ARCHITECTURES[model.card.architecture], model.card.seed)
        if digest(module.state_dict()) != model.card.initial_digest:
            raise RunError(
                f"The initial weights of '{model.identity}' cannot be drawn again: this version of "
                f"PyTorch draws others than {model.card.trained_with}. Set schedule.weights to "
                "'keep' or 'reinitialise', or install that version."
            )
        return module
    state = getattr(model.module, ATTRIBUTE, None)
    if not isinstance(state, Mapping):
        raise RunError(
            f"The initial weights of '{model.identity}' are not known, so nothing can be rewound "
            f"to them. Give the module the attribute '{ATTRIBUTE}' (its state_dict() saved before "
            "training), or set schedule.weights to 'keep' or 'reinitialise'."
        )
    module = copied(model.module)
    try:
        module.load_state_dict(dict(state))
    except (RuntimeError, AttributeError, TypeError) as error:
        raise RunError(
            f"The attribute '{ATTRIBUTE}' of '{model.identity}' does not fit its weights "
            f"({' '.join(str(error).split())[:160]}). Save it as state_dict() of the same module."
        ) from None
    return module


def fresh_module(model: LoadedModel, seed: int) -> nn.Module:
    """Return a copy of the network with new random weights, a function of ``seed`` alone.

    Modules of unknown origin are reset layer by layer (``reset_parameters``).

    Raises:
        RunError: If a parameter belongs to a layer that cannot be reset.
    """
    if model.card is not None:
        return build_initial(ARCHITECTURES[model.card.architecture], seed)
    module = copied(model.module)
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.default_generator.manual_seed(seed)
        for name, part in module.named_modules():
            reset = getattr(part, "reset_parameters", getattr(part, "_reset_parameters", None))
            if callable(reset):
                reset()
            elif any(True for _ in part.parameters(recurse=False)):
                raise RunError(
                    f"'{model.identity}' cannot be initialised anew: the layer '{name or 'model'}' "
                    f"({type(part).__name__}) has parameters and no method reset_parameters(). Add "
                    "one, or set schedule.weights to 'keep'."
                )
    return module
