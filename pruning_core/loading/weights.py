"""Weights as safetensors files: writing, reading, the exact size in advance, and a digest."""

import hashlib
import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from pruning_core.errors import DataError, ExportError, UnsupportedModelError

# Names of the element types in the file, in the order in which the format sorts them.
TYPE_NAMES: Final[Mapping[torch.dtype, str]] = {
    torch.bool: "BOOL",
    torch.uint8: "U8",
    torch.int8: "I8",
    torch.float8_e5m2: "F8_E5M2",
    torch.float8_e4m3fn: "F8_E4M3",
    torch.int16: "I16",
    torch.uint16: "U16",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int32: "I32",
    torch.uint32: "U32",
    torch.float32: "F32",
    torch.complex64: "C64",
    torch.float64: "F64",
    torch.int64: "I64",
    torch.uint64: "U64",
}
TYPE_ORDER: Final = {dtype: order for order, dtype in enumerate(TYPE_NAMES)}
_ALIGNMENT: Final = 8


def save_weights(state: Mapping[str, Tensor], path: Path) -> None:
    """Write ``state`` to ``path``; the file appears whole or not at all.

    Tensors that share memory are written once under each of their names.

    Args:
        state: Tensors by name.
        path: The file, in an existing folder.

    Raises:
        ExportError: If the file cannot be written.
    """
    tensors = {name: value.detach().cpu().contiguous().clone() for name, value in state.items()}
    temporary: Path | None = None
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        os.close(handle)
        temporary = Path(name)
        safetensors.torch.save_file(tensors, temporary)
        temporary.chmod(0o644)
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    except (OSError, SafetensorError) as error:
        raise ExportError(f"The weights cannot be written to '{path}': {error}.") from None
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def read_weights(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a safetensors file by name.

    Raises:
        DataError: If the file is missing or damaged.
    """
    try:
        return safetensors.torch.load_file(path)
    except (OSError, SafetensorError) as error:
        raise DataError(
            f"The weights '{path.name}' cannot be read: {str(error)[:160]}. Give a whole "
            "safetensors file."
        ) from None


def predicted_safetensors_bytes(
    tensors: Mapping[str, tuple[tuple[int, ...], torch.dtype]],
) -> int:
    """Return the exact size in bytes of the file ``save_weights`` would write.

    Args:
        tensors: Shape and element type of every tensor by name.

    Raises:
        UnsupportedModelError: If the format does not know an element type.
    """
    header: dict[str, object] = {}
    end = 0
    for name in sorted(tensors, key=lambda name: (-_order(name, tensors[name][1]), name)):
        shape, dtype = tensors[name]
        start, end = end, end + dtype.itemsize * torch.Size(shape).numel()
        header[name] = {
            "dtype": TYPE_NAMES[dtype],
            "shape": list(shape),
            "data_offsets": [start, end],
        }
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    padded = -(-len(text) // _ALIGNMENT) * _ALIGNMENT
    return 8 + padded + end


def digest(state: Mapping[str, Tensor]) -> str:
    """Return a SHA-256 (hex) over names, element types, shapes and values, in order of name."""
    total = hashlib.sha256()
    for name in sorted(state):
        value = state[name].detach().cpu().contiguous()
        total.update(repr((name, str(value.dtype), tuple(value.shape))).encode())
        total.update(value.reshape(-1).view(torch.uint8).numpy().tobytes())
    return total.hexdigest()


def file_sha256(path: Path) -> str:
    """Return the SHA-256 (hex) of a file's bytes.

    Raises:
        DataError: If the file cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DataError(f"'{path}' cannot be read: {error.strerror}.") from None


def _order(name: str, dtype: torch.dtype) -> int:
    if dtype not in TYPE_ORDER:
        raise UnsupportedModelError(
            f"'{name}' has the element type {dtype}, which safetensors files do not hold."
        )
    return TYPE_ORDER[dtype]
