"""A file of weights: alone, or put into an architecture of another source."""

from pathlib import Path
from typing import Final

import torch
from torch import Tensor

from pruning_core.errors import DataError, UnsupportedModelError
from pruning_core.inputs import Inputs
from pruning_core.loading.fitting import fitted
from pruning_core.loading.intake.contents import checked, shortened
from pruning_core.loading.intake.safetensors_files import read_header
from pruning_core.loading.intake.store import REFERENCE, find, take_in
from pruning_core.loading.names import MOST_VALUES, split_name
from pruning_core.loading.provider import LoadedModel, Provider, loaded
from pruning_core.loading.providers import PROVIDERS
from pruning_core.loading.weights_only import NOTE, WeightsOnly

USAGE: Final = "weights:FILE or weights:FILE@ARCHITECTURE"


def load(name: str, input_shape: tuple[int, ...] | None) -> LoadedModel:
    """Return the weights ``name``: the number of an upload, or a file of this machine.

    With ``@ARCHITECTURE`` behind it, the weights are put into that model, whose own loading may
    run code if it is called ``python:...``.
    """
    reference, architecture = split_name(name)
    identity = f"weights:{name}"
    if not architecture:
        tensors, note = read_tensors(reference)
        count = sum(tensor.numel() for tensor in tensors.values())
        if count > MOST_VALUES:
            raise UnsupportedModelError(
                f"'{shortened(reference)}' holds {count:,} weights; plans are made for up to "
                f"{MOST_VALUES:,}. Look at larger ones on the Model page of a server started with "
                "--model weights:FILE (safetensors), or with: python -m pruning_core weights FILE"
            )
        alone = WeightsOnly(tensors)
        return loaded(identity, alone, Inputs.of(torch.zeros(1, alone.width)), note=f"{NOTE}{note}")
    prefix, _, inner = architecture.partition(":")
    if prefix == "weights" or prefix not in PROVIDERS:
        raise UnsupportedModelError(
            f"'{shortened(architecture)}' is no architecture. Write e.g. "
            "weights:FILE@bundled:lenet_5"
        )
    model = PROVIDERS[prefix].load(inner, input_shape)
    tensors, note = read_tensors(reference)
    module = fitted(model.module, tensors, shortened(reference))
    return loaded(
        identity,
        module,
        model.inputs,
        data=model.data,
        note=f"Weights from a file in the architecture {architecture}.{note}",
    )


def read_tensors(reference: str) -> tuple[dict[str, Tensor], str]:
    """Return the tensors of an upload or a file, and what a reader should know of their values.

    Safetensors files of this machine are mapped into memory; others are screened and kept first.

    Raises:
        DataError: If there is no such file, or it is not opened.
    """
    if REFERENCE.fullmatch(reference):
        path, upload = find(reference)
        group = next(group for group in upload.groups if group.reference == reference)
        note = "".join(f" {sentence}" for sentence in (*group.warnings, *upload.notes))
        return _mapped(path)[0], note
    path = Path(reference)
    if not path.is_file():
        raise DataError(
            f"There is no file '{shortened(reference, 100)}'. Give the path of a .safetensors, "
            ".pt, .pth or .onnx file."
        )
    if path.suffix.lower() == ".safetensors":
        return _mapped(path)
    upload = take_in({path.name: path})
    return read_tensors(upload.groups[0].reference)


def _mapped(path: Path) -> tuple[dict[str, Tensor], str]:
    """Return the tensors of a safetensors file under the rules for uploads, and what to note."""
    kept, notes = checked(read_header(path)[0].values(), path.stat().st_size)
    return {stored.name: stored.read() for stored in kept}, "".join(f" {note}" for note in notes)


PROVIDERS.add(
    "weights",
    Provider(
        key="weights",
        title="A file of weights",
        usage=USAGE,
        runs_code=False,
        load=load,
    ),
)
