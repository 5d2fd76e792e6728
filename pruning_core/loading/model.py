"""Models by identity, e.g. ``bundled:lenet_5`` or ``python:package.module:factory``."""

from torch import nn

from pruning_core.errors import DataError, UnknownNameError, UnsupportedModelError
from pruning_core.loading.architecture import build_initial
from pruning_core.loading.architectures import ARCHITECTURES
from pruning_core.loading.card import ModelCard, read_card
from pruning_core.loading.names import architecture_of
from pruning_core.loading.provider import LoadedModel
from pruning_core.loading.providers import PROVIDERS
from pruning_core.loading.providers.bundled import bundled_names
from pruning_core.loading.weights_only import WeightsOnly

__all__ = [
    "ARCHITECTURES",
    "PROVIDERS",
    "LoadedModel",
    "ModelCard",
    "bundled_models",
    "check_fits",
    "initial_module",
    "load_model",
]


def load_model(
    identity: str, *, input_shape: tuple[int, ...] | None = None, allow_python: bool = True
) -> LoadedModel:
    """Return the model called ``identity``, in eval mode; each call returns a new module.

    Args:
        identity: A prefix in ``PROVIDERS``, a colon and a name.
        input_shape: Shape of one input without the batch axis, for models that do not know it.
        allow_python: False refuses models whose loading runs code that the identity names.

    Raises:
        UnknownNameError: If there is no such prefix or name.
        UnsupportedModelError: If the identity is none, or the model cannot be loaded.
        DataError: If files of the model are damaged.
    """
    prefix, colon, name = identity.partition(":")
    if not colon or not name:
        shown = identity if len(identity) <= 60 else identity[:57] + "..."
        usages = ", ".join(provider.usage for provider in PROVIDERS.values())
        raise UnsupportedModelError(f"'{shown}' names no model. Write one of: {usages}.")
    if prefix not in PROVIDERS:
        raise UnknownNameError("kind of model", prefix, PROVIDERS)
    provider = PROVIDERS[prefix]
    inner = PROVIDERS.get(architecture_of(identity).partition(":")[0], provider)
    if inner.runs_code and not allow_python:
        raise UnsupportedModelError(
            f"Models called '{inner.usage}' run code when they are loaded, so only the command "
            "line and Python load them. Choose another model here."
        )
    return provider.load(name, input_shape)


def check_fits(model: LoadedModel, input_shape: tuple[int, ...], data: str) -> None:
    """Refuse examples whose shape is not that of the model's input.

    Args:
        model: Its example input says what it takes.
        input_shape: Shape of one example, without the batch axis.
        data: Name of the data, for the message.

    Raises:
        DataError: With both shapes.
    """
    if isinstance(model.module, WeightsOnly):
        raise DataError(
            f"'{model.identity}' is weights without an architecture, so no data can be put through "
            "it. Name one (weights:FILE@ARCHITECTURE), or leave the data out."
        )
    if not model.inputs.is_flat:
        raise DataError(
            f"The data set '{data}' gives one tensor, by position; the model '{model.identity}' is "
            f"called with {', '.join(model.inputs.names)}. Leave the data out and choose a "
            "criterion that reads weights only."
        )
    taken = [tuple(tensor.shape[1:]) for tensor in model.example_inputs]
    if taken != [tuple(input_shape)]:
        raise DataError(
            f"The data set '{data}' has samples of shape {tuple(input_shape)}; the model "
            f"'{model.identity}' takes {' and '.join(map(str, taken))}. Choose the data the model "
            "was made for."
        )


def bundled_models() -> tuple[ModelCard, ...]:
    """Return the cards of the bundled models, the smallest first.

    Raises:
        DataError: If a card is damaged.
    """
    return tuple(sorted(map(read_card, bundled_names()), key=lambda card: card.n_params))


def initial_module(architecture: str, seed: int) -> nn.Module:
    """Return the network as it was before training: fresh weights, a function of ``seed`` alone.

    A bundled model's card names its architecture and seed, so a lottery ticket can be rewound.

    Raises:
        UnknownNameError: If there is no such architecture.
    """
    return build_initial(ARCHITECTURES[architecture], seed)
