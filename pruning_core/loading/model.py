"""Models by identity, e.g. ``bundled:lenet_5`` or ``python:package.module:factory``."""

import inspect
from pathlib import Path

import torch
from torch import nn

from pruning_core.errors import DataError, UnknownNameError, UnsupportedModelError
from pruning_core.loading.architecture import build_initial
from pruning_core.loading.architectures import ARCHITECTURES
from pruning_core.loading.card import ModelCard, read_card
from pruning_core.loading.dataset import load_dataset
from pruning_core.loading.names import architecture_of
from pruning_core.loading.provider import LoadedModel
from pruning_core.loading.providers import PROVIDERS
from pruning_core.loading.providers.bundled import bundled_names
from pruning_core.loading.split import Dataset, Source, Split
from pruning_core.loading.weights_only import WeightsOnly
from pruning_core.modes import evaluating
from pruning_core.tasks.registry import CLASSIFICATION, Task

__all__ = [
    "ARCHITECTURES",
    "PROVIDERS",
    "LoadedModel",
    "ModelCard",
    "bundled_models",
    "check_answers",
    "check_fits",
    "data_for",
    "fitted",
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


def check_fits(
    model: LoadedModel,
    input_shape: tuple[int, ...],
    data: str,
    task: Task = CLASSIFICATION,
) -> None:
    """Refuse examples that are not of the shape and kind of the model's input.

    Args:
        model: Its example input says what it takes.
        input_shape: Shape of one example, without the batch axis.
        data: Name of the data, for the message.
        task: What is to be done with them.

    Raises:
        DataError: With both shapes.
    """
    if isinstance(model.module, WeightsOnly):
        raise DataError(
            f"'{model.identity}' is weights without an architecture, so no data can be put through "
            "it. Name one (weights:FILE@ARCHITECTURE), or leave the data out."
        )
    if not _takes_one_tensor(model):
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
    if task.reads_tokens and not model.reads_tokens:
        raise DataError(
            f"The data set '{data}' gives tokens ({task.title.lower()}); the model "
            f"'{model.identity}' takes numbers. Choose the data the model was made for."
        )


def _takes_one_tensor(model: LoadedModel) -> bool:
    """Tell whether the model may be called with one tensor by position, and nothing else."""
    if model.inputs.is_flat:
        return True
    names = list(model.inputs.kwargs)
    first = next(iter(inspect.signature(model.module.forward).parameters), None)
    return not model.inputs.args and names == [first] and len(model.example_inputs) == 1


def data_for(
    model: LoadedModel, key: str, *, folder: Path | None = None, source: Source = "auto"
) -> Dataset:
    """Return the data set ``key`` as ``model`` reads it; see :func:`load_dataset`.

    Raises:
        UnknownNameError: If there is no such data set.
        DataError: If it cannot be read, or does not fit the model.
    """
    data = load_dataset(key, folder=folder, source=source, input_shape=model.input_shape)
    return fitted(model, data)


def fitted(model: LoadedModel, data: Dataset) -> Dataset:
    """Return data as ``model`` reads them.

    Raises:
        DataError: If they do not fit it.
    """
    check_fits(model, data.input_shape, data.key, data.task)
    if model.reads_tokens:
        data = data.as_tokens()
    check_answers(model, data.validation)
    return data


def check_answers(model: LoadedModel, split: Split) -> None:
    """Refuse data whose task is another than the model's, before anything slow starts.

    Nothing is asked where answers are classes of anything but tokens: measuring says it as soon.

    Raises:
        DataError: If what the model answers to two examples does not fit the task.
    """
    if not len(split) or (split.task.counts_classes and not split.tokens):
        return
    place = 0
    if split.tokens:  # the largest number is the one that may be unknown
        place = int(split.inputs.reshape(len(split), -1).amax(dim=1).argmax())
    inputs, targets = split.batch(torch.tensor([place, 0]))
    with evaluating(model.module), torch.inference_mode():
        split.task.ask(model.module, inputs, targets)


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
