"""Safetensors files, one or several shards: the header is checked before anything else."""

import json
import mmap
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from pruning_core.loading.intake.contents import (
    Contents,
    RefusedFileError,
    Stored,
    check_number,
    checked,
    shortened,
)
from pruning_core.loading.weights import TYPE_NAMES

MAX_HEADER: Final = 8_000_000
_TYPES: Final = {name: dtype for dtype, name in TYPE_NAMES.items()}
_SHARD: Final = re.compile(r"-(\d{5})-of-(\d{5})\.safetensors$")


def read_safetensors(paths: Mapping[str, Path]) -> Contents:
    """Return the tensors of one file, or of all shards of a model.

    Args:
        paths: Where each file lies, by the name it was given.

    Raises:
        RefusedFileError: If a file is damaged or lies, shards are missing, or a name occurs twice.
    """
    _check_shards(list(paths))
    found: dict[str, Stored] = {}
    total = 0
    metadata: dict[str, str] = {}
    for path in paths.values():
        tensors, own = read_header(path)
        total += path.stat().st_size
        metadata |= own
        twice = next((name for name in tensors if name in found), None)
        if twice is not None:
            raise RefusedFileError(
                f"Two of the files hold a tensor '{shortened(twice)}'. Give the shards of one "
                "model."
            )
        found |= tensors
    check_number(len(found))
    kept, notes = checked(found.values(), total)
    return Contents("safetensors", {"": kept}, tuple(notes), {"metadata": metadata})


def read_header(path: Path) -> tuple[dict[str, Stored], dict[str, str]]:
    """Return the tensors of one file, mapped into memory, and its metadata.

    Raises:
        RefusedFileError: If its header and its size contradict each other.
    """
    size = path.stat().st_size
    with path.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        if size < 10 or length > size - 8:
            raise RefusedFileError(
                "The file is cut off or no safetensors file: it is shorter than its header says. "
                "Download or save it again."
            )
        if length > MAX_HEADER:
            raise RefusedFileError(
                f"The header of the file has {length:,} bytes; at most {MAX_HEADER:,} are read."
            )
        entries = _entries(stream.read(length))
        mapped = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_COPY)
    metadata = entries.pop("__metadata__", {})
    if not isinstance(metadata, dict):
        raise RefusedFileError("The metadata in the file's header are no text by name.")
    check_number(len(entries))
    view = torch.frombuffer(mapped, dtype=torch.uint8)
    places = {name: _place(name, entry) for name, entry in entries.items()}
    _check_places(places, size - 8 - length)
    tensors = {
        name: replace(_stored(name, view, 8 + length, place), place=(path, 8 + length + place[2]))
        for name, place in places.items()
    }
    return tensors, {str(key)[:100]: str(value)[:1000] for key, value in metadata.items()}


Place = tuple[torch.dtype, tuple[int, ...], int, int]
"""Element type, shape, and where the bytes begin and end."""


def _entries(raw: bytes) -> dict[str, Any]:
    try:
        header = json.loads(raw.decode("utf-8"), object_pairs_hook=_distinct)
    except RecursionError:
        raise RefusedFileError("The header of the file is nested too deeply.") from None
    except UnicodeDecodeError:
        raise RefusedFileError("The header of the file is not UTF-8: it is damaged.") from None
    except ValueError as error:
        if isinstance(error, RefusedFileError):
            raise
        raise RefusedFileError(
            "The header of the file is no JSON: it is damaged, or no safetensors file."
        ) from None
    if not isinstance(header, dict):
        raise RefusedFileError("The header of the file is no list of tensors by name.")
    return header


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    entries = dict(pairs)
    if len(entries) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in entries if names.count(name) > 1)
        raise RefusedFileError(f"The file's header holds the name '{shortened(twice)}' twice.")
    return entries


def _place(name: str, entry: Any) -> Place:
    shown = shortened(name)
    try:
        kind, shape, (start, end) = entry["dtype"], entry["shape"], entry["data_offsets"]
        sizes = [*shape, start, end]
    except (TypeError, KeyError, ValueError):
        raise RefusedFileError(f"The header's entry for '{shown}' is no tensor.") from None
    if kind not in _TYPES:
        raise RefusedFileError(
            f"'{shown}' has the unknown element type '{shortened(str(kind), 20)}'. Save it as "
            "float32."
        )
    if not all(type(n) is int and 0 <= n < 2**62 for n in sizes):
        raise RefusedFileError(
            f"'{shown}' has the impossible shape or offsets {shortened(str(sizes), 60)}."
        )
    n_bytes = _TYPES[kind].itemsize
    for n in shape:
        n_bytes *= n
    if n_bytes != end - start:
        raise RefusedFileError(
            f"'{shown}' has a shape that needs {n_bytes:.4g} bytes; the header gives it "
            f"{end - start:,}."
        )
    return _TYPES[kind], tuple(shape), start, end


def _check_places(places: Mapping[str, Place], available: int) -> None:
    """Refuse tensors that overlap, leave a hole, or do not fill the file."""
    at = 0
    for name, (_, _, start, end) in sorted(places.items(), key=lambda item: item[1][2:]):
        if start != at:
            what = "overlaps another tensor" if start < at else "comes after a hole"
            raise RefusedFileError(
                f"'{shortened(name)}' {what} in the file: it is damaged or hides something."
            )
        at = end
    if at != available:
        what = "is cut off" if at > available else "holds more than its header says"
        raise RefusedFileError(
            f"The file {what}: the tensors need {at:,} bytes, and there are {available:,}. "
            "Download or save it again."
        )


def _stored(name: str, view: Tensor, base: int, place: Place) -> Stored:
    dtype, shape, start, end = place

    def read() -> Tensor:
        raw = view[base + start : base + end]
        aligned = raw.clone() if (base + start) % dtype.itemsize else raw
        return aligned.view(dtype).view(shape)

    return Stored(name, dtype, shape, read)


def _check_shards(names: Sequence[str]) -> None:
    """Refuse some shards without the others."""
    matches = [_SHARD.search(name) for name in names]
    numbers = {int(match[1]) for match in matches if match}
    totals = {int(match[2]) for match in matches if match}
    if not numbers:
        return
    if len(totals) != 1 or None in matches:
        raise RefusedFileError("The files are not the shards of one model.")
    missing = sorted(set(range(1, max(totals) + 1)) - numbers)
    if missing:
        raise RefusedFileError(
            f"The model has {max(totals)} shards; {len(missing)} are missing, the first is number "
            f"{missing[0]}. Choose all shards at once."
        )
