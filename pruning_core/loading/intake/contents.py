"""What a screened file holds: named tensors in groups, and how each is read."""

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import torch
from torch import Tensor

from pruning_core.errors import DataError
from pruning_core.loading.weights import TYPE_NAMES

MAX_TENSORS: Final = 10_000
MAX_NAME: Final = 512
MAX_AXES: Final = 8
_LARGEST_AXIS: Final = 2**40
_FLOAT_8: Final = (torch.float8_e4m3fn, torch.float8_e5m2)
_WEIGHTY: Final = ("weight", "bias", "kernel")


class RefusedFileError(DataError):
    """A file that is not opened; the sentence names the cause in at most 200 characters."""


@dataclass(frozen=True, slots=True)
class Stored:
    """One tensor of a file.

    Attributes:
        name: Its name in the file.
        dtype: Element type.
        shape: Sizes.
        read: Returns it, contiguous; what it shares with the file is not copied.
        place: File and first byte of its values, where they lie there as they are.
    """

    name: str
    dtype: torch.dtype
    shape: tuple[int, ...]
    read: Callable[[], Tensor]
    place: tuple[Path, int] | None = None

    @property
    def n_bytes(self) -> int:
        """Bytes of its values."""
        return self.dtype.itemsize * torch.Size(self.shape).numel()


@dataclass(frozen=True, slots=True)
class Contents:
    """Everything that was found in one upload.

    Attributes:
        kind: The format in a word: ``safetensors``, ``checkpoint`` or ``onnx``.
        groups: Tensors by the entry of the file that holds them; the one to open comes first. A
            plain file has one group, called by the empty text.
        notes: What a reader should know.
        details: What else was found out, as plain data.
    """

    kind: str
    groups: dict[str, tuple[Stored, ...]]
    notes: tuple[str, ...] = ()
    details: dict[str, object] = field(default_factory=dict)


def shortened(name: str, length: int = 60) -> str:
    """Return a name as messages show it: one line of at most ``length`` characters."""
    text = "".join(letter if letter.isprintable() else "?" for letter in name[: length + 1])
    return text if len(text) <= length else text[: length - 3] + "..."


def checked(tensors: Iterable[Stored], n_file_bytes: int) -> tuple[tuple[Stored, ...], list[str]]:
    """Return the tensors that can be opened, and notes on those that are left out.

    Args:
        tensors: Of one group.
        n_file_bytes: Size of the file; all tensors together may not be much larger.

    Raises:
        RefusedFileError: If there is none, or names, types or sizes are none of weights.
    """
    kept: list[Stored] = []
    notes: list[str] = []
    for stored in tensors:
        _check(stored)
        if 0 in stored.shape:
            notes.append(f"'{shortened(stored.name)}' has no elements and is left out.")
        else:
            kept.append(stored)
    if not kept:
        raise RefusedFileError("The file holds no weights: there is no named tensor in it.")
    _check_scales(kept)
    if sum(stored.n_bytes for stored in kept) > 4 * n_file_bytes + 1_000_000:
        raise RefusedFileError(
            "The tensors are many times larger than the file: they repeat the same values. Save "
            "them with .contiguous().clone()."
        )
    return tuple(kept), notes


def _check_scales(tensors: Collection[Stored]) -> None:
    """Refuse values of 8 bits that mean something only times a scale that is stored beside them."""
    small = {x.name.rpartition(".")[0]: x.name for x in tensors if x.dtype in _FLOAT_8}
    for stored in tensors:
        owner, _, last = stored.name.rpartition(".")
        if owner in small and "scale" in last and stored.dtype not in _FLOAT_8:
            raise RefusedFileError(
                f"'{shortened(small[owner], 40)}' is float8 with a scale beside it "
                f"('{shortened(stored.name, 40)}'), which is not applied. Save weights as float32 "
                "or bfloat16."
            )


def check_number(n: int) -> None:
    """Refuse more tensors than any model has.

    Raises:
        RefusedFileError: With the number.
    """
    if n > MAX_TENSORS:
        raise RefusedFileError(
            f"The file holds {n:,} tensors; at most {MAX_TENSORS:,} are opened. Save one state "
            "dict of one model."
        )


def _check(stored: Stored) -> None:
    name = shortened(stored.name)
    if len(stored.name) > MAX_NAME:
        raise RefusedFileError(
            f"A name in the file has {len(stored.name):,} characters ('{shortened(name, 20)}'); "
            f"at most {MAX_NAME} are read."
        )
    if not stored.name or not stored.name.isprintable():
        raise RefusedFileError(f"The name '{name}' in the file is empty or not printable.")
    if stored.dtype not in TYPE_NAMES or stored.dtype.is_complex:
        raise RefusedFileError(
            f"'{name}' has the element type {str(stored.dtype).removeprefix('torch.')}, which "
            "cannot be opened. Save it as float32."
        )
    if len(stored.shape) > MAX_AXES or any(not 0 <= n < _LARGEST_AXIS for n in stored.shape):
        raise RefusedFileError(f"'{name}' has the impossible shape {_shape(stored.shape)}.")
    is_weight = stored.name.endswith(_WEIGHTY)
    if 0 in stored.shape and (is_weight or len(stored.shape) > 1):
        raise RefusedFileError(
            f"'{name}' has the shape {_shape(stored.shape)}: a layer without outputs or inputs."
        )
    if is_weight and not stored.dtype.is_floating_point:
        raise RefusedFileError(
            f"'{name}' holds whole numbers ({str(stored.dtype).removeprefix('torch.')}), no "
            "trained weights. Save float weights; quantised ones cannot be pruned."
        )


def _shape(shape: tuple[int, ...]) -> str:
    text = str(list(shape[:4]))
    return text if len(shape) <= 4 else f"{text[:-1]}, ...]"
