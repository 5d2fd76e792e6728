"""Writing what was read as a plain safetensors file, and looking at every value on the way."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import torch
from torch import Tensor

from pruning_core.loading.intake.contents import Stored, shortened
from pruning_core.loading.weights import TYPE_NAMES, TYPE_ORDER

_BLOCK: Final = 1 << 22
_OVERFLOWS: Final = 1.8e19
"""The square of a larger float32 is infinite, and so is an L2 norm."""


@dataclass(frozen=True, slots=True)
class Written:
    """What was found in the values.

    Attributes:
        n_tensors: Tensors written.
        n_values: Their elements.
        n_bytes: Bytes of the file.
        warnings: One sentence for each kind of value that is not as trained weights are.
    """

    n_tensors: int
    n_values: int
    n_bytes: int
    warnings: tuple[str, ...]


def write_safetensors(tensors: Sequence[Stored], path: Path) -> Written:
    """Write ``tensors`` to ``path``, a block at a time, so that little memory is needed."""
    ordered = sorted(tensors, key=lambda stored: (-TYPE_ORDER[stored.dtype], stored.name))
    header: dict[str, object] = {}
    at = 0
    for stored in ordered:
        header[stored.name] = {
            "dtype": TYPE_NAMES[stored.dtype],
            "shape": list(stored.shape),
            "data_offsets": [at, at + stored.n_bytes],
        }
        at += stored.n_bytes
    header = {stored.name: header[stored.name] for stored in tensors}  # the order of the layers
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    watch = _Watch()
    with path.open("wb") as stream:
        stream.write(len(text).to_bytes(8, "little") + text)
        for stored in ordered:
            values = stored.read().reshape(-1)
            for block in _blocks(values):
                stream.write(block.view(torch.uint8).numpy().data)
                watch.look(stored.name, block)
            watch.leave(stored)
    n_values = sum(torch.Size(stored.shape).numel() for stored in ordered)
    return Written(len(ordered), n_values, path.stat().st_size, watch.sentences())


def _blocks(values: Tensor) -> Iterator[Tensor]:
    for start in range(0, len(values), _BLOCK):
        yield values[start : start + _BLOCK]


class _Watch:
    """Remembers which tensors hold values that trained weights do not have."""

    def __init__(self) -> None:
        self._found: dict[str, list[str]] = {"nan": [], "inf": [], "huge": [], "zero": []}
        self._largest = 0.0
        self._counts = {"nan": 0, "inf": 0}

    def look(self, name: str, block: Tensor) -> None:  # noqa: ARG002 - where it stands
        """Look at some values of one tensor."""
        if not block.dtype.is_floating_point:
            self._largest = 1.0
            return
        values = block.float() if block.dtype.itemsize == 1 else block
        self._counts["nan"] += int(values.isnan().sum())
        self._counts["inf"] += int(values.isinf().sum())
        finite = values.nan_to_num(0.0, 0.0, 0.0)
        self._largest = max(self._largest, float(finite.abs().max()))

    def leave(self, stored: Stored) -> None:
        """Note what was found in a tensor that was seen to its end."""
        if self._counts["nan"]:
            self._found["nan"].append(stored.name)
        if self._counts["inf"]:
            self._found["inf"].append(stored.name)
        if self._largest > _OVERFLOWS:
            self._found["huge"].append(stored.name)
        if self._largest == 0.0 and len(stored.shape) > 1 and not any(self._counts.values()):
            self._found["zero"].append(stored.name)
        self._largest, self._counts = 0.0, {"nan": 0, "inf": 0}

    def sentences(self) -> tuple[str, ...]:
        """Return one sentence for each kind of value, naming the first tensor."""
        says = {
            "nan": "holds NaN, which is no number: it cannot be rated or pruned",
            "inf": "holds infinite values: it cannot be rated or pruned",
            "huge": "holds values above 1.8e19, whose squares overflow: an L2 norm is infinite",
            "zero": "is zero everywhere: it was never trained, or is pruned already",
        }
        return tuple(
            f"'{shortened(names[0])}' {says[key]}."
            + (f" So do {len(names) - 1} more." if len(names) > 1 else "")
            for key, names in self._found.items()
            if names
        )
