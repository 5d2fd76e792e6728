"""The types of loading: a loaded model, and the providers that load one kind of identity each."""

from dataclasses import dataclass
from importlib.util import find_spec
from typing import Protocol

import torch
from torch import Tensor, nn

from pruning_core.errors import UnsupportedModelError
from pruning_core.inputs import Inputs
from pruning_core.loading.card import ModelCard
from pruning_core.loading.weights import digest

_EXAMPLE_SEED = 0


@dataclass(frozen=True, slots=True, eq=False)
class LoadedModel:
    """A model as loaded; nothing in the core changes it.

    Attributes:
        identity: What it was loaded by, e.g. ``bundled:lenet_5``.
        module: In eval mode, on the CPU; treat it as read-only.
        inputs: The call for one sample.
        data: Name in ``DATASETS`` of the data it was trained on; None when unknown.
        card: How it was trained; None unless it is bundled.
        weights_sha256: Digest of its state dict: names, element types, shapes and values.
        note: What a reader of its results has to know, e.g. that its weights are random.
    """

    identity: str
    module: nn.Module
    inputs: Inputs
    data: str | None
    card: ModelCard | None
    weights_sha256: str
    note: str = ""

    @property
    def example_inputs(self) -> tuple[Tensor, ...]:
        """The tensors of one sample, batch axis first."""
        return self.inputs.tensors

    @property
    def reads_tokens(self) -> bool:
        """True where its input is whole numbers, which an embedding looks up."""
        kind = self.inputs.tensors[0].dtype
        return not (kind.is_floating_point or kind.is_complex or kind is torch.bool)

    @property
    def input_shape(self) -> tuple[int, ...]:
        """The shape of one sample of its first tensor."""
        return tuple(self.inputs.tensors[0].shape[1:])


class LoadModel(Protocol):
    """Loads one model."""

    def __call__(self, name: str, input_shape: tuple[int, ...] | None) -> LoadedModel:
        """Return the model ``name`` (the identity without its prefix).

        Raises:
            PruningError: If there is no such model or it cannot be loaded.
        """
        ...


@dataclass(frozen=True, slots=True)
class Provider:
    """A source of models.

    Attributes:
        key: Prefix of its identities.
        title: Its name on the screen.
        usage: How an identity is written.
        runs_code: True when loading runs code the user names, so that only the command line and
            Python may.
        load: Loads one model.
        package: The package it needs besides the project's own; empty if none.
    """

    key: str
    title: str
    usage: str
    runs_code: bool
    load: LoadModel
    package: str = ""

    @property
    def installed(self) -> bool:
        """True when the package it needs can be found."""
        return not self.package or find_spec(self.package) is not None


def example_input(input_shape: tuple[int, ...]) -> Tensor:
    """Return the same normally distributed sample ``[1, *input_shape]`` (float32) on every call.

    Raises:
        UnsupportedModelError: If the shape is no list of positive sizes.
    """
    if not input_shape or any(size < 1 for size in input_shape):
        raise UnsupportedModelError(
            f"The input shape {input_shape} is no shape of one sample. Give positive sizes without "
            "the batch axis, e.g. 1,28,28."
        )
    generator = torch.Generator().manual_seed(_EXAMPLE_SEED)
    return torch.randn(1, *input_shape, generator=generator)


def loaded(
    identity: str,
    module: nn.Module,
    inputs: Inputs,
    *,
    data: str | None = None,
    card: ModelCard | None = None,
    note: str = "",
) -> LoadedModel:
    """Return the loaded model, with ``module`` in eval mode."""
    return LoadedModel(
        identity=identity,
        module=module.eval(),
        inputs=inputs,
        data=data,
        card=card,
        weights_sha256=digest(module.state_dict()),
        note=note,
    )
