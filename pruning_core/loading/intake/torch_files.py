"""Checkpoints of PyTorch, of today's zip format and the one before: read without unpickling.

The pickle becomes a description (``pickles.py``); every tensor is checked against the bytes that
are there, and read from them directly.
"""

import mmap
from collections.abc import Container, Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO, Final
from zipfile import ZIP_STORED

import torch
from torch import Tensor

from pruning_core.loading.intake.archives import Archive
from pruning_core.loading.intake.contents import (
    Contents,
    RefusedFileError,
    Stored,
    check_number,
    checked,
    shortened,
)
from pruning_core.loading.intake.pickles import Call, Global, Persistent, read_pickle

_LEGACY_MAGIC: Final = 0x1950A86A20F9469CFC6C
_MOST_ENTRIES: Final = 65_000
_MOST_PICKLE: Final = 64_000_000
_DEEPEST: Final = 8
_MOST_NODES: Final = 200_000
_STORAGES: Final = {
    "FloatStorage": torch.float32,
    "DoubleStorage": torch.float64,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
    "ComplexFloatStorage": torch.complex64,
    "ComplexDoubleStorage": torch.complex128,
    "UntypedStorage": torch.uint8,
}
_METADATA: Final = {"torch._utils _rebuild_tensor_v2": 6, "torch._utils _rebuild_tensor_v3": 7}
"""Where the arguments say that values are to be negated or conjugated."""
_NOT_WEIGHTS: Final = ("optim", "scheduler", "scaler", "rng", "callbacks", "loops")
_CONTAINERS: Final = (
    *("state_dict", "model_state_dict", "model", "net", "module", "network", "weights", "params"),
)
_AVERAGED: Final = ("ema", "averag", "shadow", "swa")


@dataclass(frozen=True, slots=True)
class _Bytes:
    """Bytes of one storage in the file."""

    start: int
    n_bytes: int


def read_checkpoint(path: Path) -> Contents:
    """Return the tensors of a checkpoint.

    Raises:
        RefusedFileError: If it is none, is damaged, or is anything but named dense tensors.
    """
    with path.open("rb") as stream:
        start = stream.read(512)
    view = _view(path)
    if start.startswith(b"PK"):
        root, storages = _of_zip(path)
    else:
        _check_is_pickle(start)
        root, storages = _of_legacy(path)
    tensors = _Tensors(view, storages)
    groups, notes = _groups(root, tensors)
    check_number(sum(map(len, groups.values())))
    found = {}
    for name, entries in groups.items():
        found[name], more = checked(entries, path.stat().st_size)
        notes += more
    return Contents("checkpoint", found, tuple(notes))


def _view(path: Path) -> Tensor:
    """Return all bytes of the file; they are read from the disk when they are looked at."""
    with path.open("rb") as stream:
        mapped = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_COPY)
    return torch.frombuffer(mapped, dtype=torch.uint8)


def _of_zip(path: Path) -> tuple[Any, dict[str, _Bytes]]:
    """Return the description and the storages of a file in the zip format."""
    size = path.stat().st_size
    archive = Archive(path, most_entries=_MOST_ENTRIES, most_bytes=size + _MOST_PICKLE)
    _refuse_programs(archive)
    pickles = [name for name in archive.members if name.rpartition("/")[2] == "data.pkl"]
    if len(pickles) != 1:
        raise RefusedFileError(
            "The zip file holds no data.pkl, so it is no checkpoint of PyTorch. Save "
            "model.state_dict() with torch.save, or as safetensors."
        )
    compressed = [
        name for name, entry in archive.members.items() if entry.compress_type != ZIP_STORED
    ]
    if compressed:
        raise RefusedFileError(
            f"The entry '{shortened(compressed[0], 40)}' is compressed, which torch.save never "
            "does: it may be a zip bomb. Save the checkpoint again."
        )
    folder = pickles[0].removesuffix("data.pkl")
    order = archive.members.get(f"{folder}byteorder")
    if order is not None and archive.read(order, 64).strip() != b"little":
        raise RefusedFileError("The checkpoint was written on a big-endian machine. Convert it.")
    root = read_pickle(BytesIO(archive.read(archive.members[pickles[0]], _MOST_PICKLE)))
    archive.check_sums()
    prefix = f"{folder}data/"
    storages = {
        name.removeprefix(prefix): _Bytes(archive.start(entry), entry.file_size)
        for name, entry in archive.members.items()
        if name.startswith(prefix)
    }
    return root, storages


def _refuse_programs(archive: Archive) -> None:
    inner = {name.partition("/")[2] for name in archive.members}
    is_script = "constants.pkl" in inner or any(name.startswith("code/") for name in inner)
    is_export = "archive_format" in inner or any(name.startswith("models/") for name in inner)
    if is_script or is_export:
        raise RefusedFileError(
            f"The file is a {'TorchScript' if is_script else 'torch.export'} program: opening it "
            "runs code. Save model.state_dict() instead."
        )


def _check_is_pickle(start: bytes) -> None:
    """Refuse what is not even the beginning of a pickle."""
    if start[257:262] == b"ustar":
        raise RefusedFileError(
            "The file is a tar archive, the oldest format of PyTorch, which can run code. Save "
            "model.state_dict() again with a newer version."
        )
    if start[:1] != b"\x80":
        raise RefusedFileError(
            f"The file is no checkpoint of PyTorch: it begins with the bytes {start[:4].hex(' ')}."
        )


def _of_legacy(path: Path) -> tuple[Any, dict[str, _Bytes]]:
    """Return the description and the storages of a file in the format before PyTorch 1.6."""
    size = path.stat().st_size
    with path.open("rb") as stream:
        magic = read_pickle(stream)
        if magic != _LEGACY_MAGIC:
            raise RefusedFileError(
                "The file is a pickle, but no checkpoint of PyTorch. Save model.state_dict() with "
                "torch.save."
            )
        version, system, root = (read_pickle(stream) for _ in range(3))
        if version != 1001 or not isinstance(system, dict) or not system.get("little_endian"):
            raise RefusedFileError("The checkpoint is of an unknown version of the old format.")
        keys = read_pickle(stream)
        if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
            raise RefusedFileError("The checkpoint is damaged: its list of storages is none.")
        types = _legacy_types(root)
        storages = dict(_legacy_storages(stream, keys, types, size))
    return root, storages


def _legacy_types(root: Any) -> dict[str, torch.dtype]:
    """Return the element type of every storage that the description refers to."""
    found: dict[str, torch.dtype] = {}
    for node, _ in _walk(root):
        if isinstance(node, Persistent):
            identifier = node.identifier
            if isinstance(identifier, tuple) and len(identifier) >= 5:
                found[str(identifier[2])] = _storage_type(identifier[1])
    return found


def _legacy_storages(
    stream: BinaryIO, keys: list[str], types: dict[str, torch.dtype], size: int
) -> Iterator[tuple[str, _Bytes]]:
    for key in keys:
        count = int.from_bytes(stream.read(8), "little")
        start = stream.tell()
        n_bytes = count * types.get(key, torch.float32).itemsize
        if start + n_bytes > size:
            raise RefusedFileError(
                "The checkpoint is cut off: it ends within its values. Download or save it again."
            )
        yield key, _Bytes(start, n_bytes)
        stream.seek(start + n_bytes)


class _Tensors:
    """Makes tensors of what the pickle says about them, after checking that against the file."""

    def __init__(self, view: Tensor, storages: dict[str, _Bytes]) -> None:
        self._view = view
        self._storages = storages

    def stored(self, name: str, call: Call) -> Stored:
        """Return the tensor that a call describes.

        Raises:
            RefusedFileError: If the description contradicts the bytes that are there.
        """
        while call.what in {
            "torch._utils _rebuild_parameter",
            "torch._utils _rebuild_parameter_with_state",
        }:
            call = call.arguments[0]
        shown = shortened(name)
        try:
            reference, offset, shape, strides = call.arguments[:4]
            _, kind, key, location, _ = reference.identifier[:5]
            dtype = _storage_type(kind)
            if call.what == "torch._utils _rebuild_tensor_v3":
                dtype = getattr(torch, call.arguments[6].name.partition(" ")[2])
            seen_as = [*call.arguments[_METADATA.get(call.what, len(call.arguments)) :]]
            seen_as += reference.identifier[5:]
            shape, strides = _sizes(shape), _sizes(strides)
            offset = _size(offset)
        except (AttributeError, TypeError, ValueError, IndexError):
            raise RefusedFileError(f"The checkpoint is damaged: '{shown}' is no tensor.") from None
        if any(part is not None and part != {} for part in seen_as):
            raise RefusedFileError(
                f"'{shown}' is stored as a view (negated, conjugated or a part of other values). "
                "Save it with .resolve_neg().clone()."
            )
        if location == "meta":
            raise RefusedFileError(f"'{shown}' is a meta tensor: the file has no values for it.")
        place = self._storages.get(str(key))
        if place is None:
            raise RefusedFileError(
                f"The values of '{shown}' are missing in the file. Download or save it again."
            )
        _check_geometry(shown, shape, strides, offset, place.n_bytes // dtype.itemsize)

        def read() -> Tensor:
            whole = place.n_bytes // dtype.itemsize * dtype.itemsize
            raw = self._view[place.start : place.start + whole]
            values = (raw.clone() if place.start % dtype.itemsize else raw).view(dtype)
            begin = values.storage_offset() + offset  # counted from the beginning of the file
            return values.as_strided(shape, strides, begin).contiguous()

        return Stored(name, dtype, shape, read)


def _check_geometry(
    name: str, shape: tuple[int, ...], strides: tuple[int, ...], offset: int, available: int
) -> None:
    """Refuse sizes that reach beyond the storage, or repeat its elements."""
    numel = 1
    for size in shape:
        numel *= size
    last = offset + sum((n - 1) * step for n, step in zip(shape, strides, strict=True))
    if len(shape) != len(strides) or (numel and last >= available):
        raise RefusedFileError(
            f"'{name}' says it has {numel:,} values; the file holds {available:,} for it."[:200]
        )
    if numel > available:
        raise RefusedFileError(
            f"'{name}' says it has {numel:.3g} values by repeating the {available:,} that are "
            "stored. Save it with .contiguous().clone()."
        )


def _sizes(value: Any) -> tuple[int, ...]:
    if isinstance(value, Call) and value.what == "torch Size":
        value = value.arguments[0]
    return tuple(map(_size, value))


def _size(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**62:
        raise ValueError("no size")
    return value


def _storage_type(kind: Any) -> torch.dtype:
    name = kind.name.partition(" ")[2] if isinstance(kind, Global) else ""
    if name not in _STORAGES:
        raise RefusedFileError(
            f"The checkpoint holds values of the kind '{shortened(name, 40)}', which cannot be "
            "opened. Save it as float32."
        )
    return _STORAGES[name]


def _is_tensor(value: Any) -> bool:
    return isinstance(value, Call) and (
        value.what.startswith(("torch._utils _rebuild_tensor", "torch._utils _rebuild_parameter"))
    )


def _entries(value: Any) -> dict[Any, Any] | None:
    """Return what a dictionary of any kind holds."""
    if isinstance(value, dict):
        return value
    if isinstance(value, Call) and value.what.startswith(
        ("collections ", "argparse", "builtins dict")
    ):
        return value.entries
    return None


def _walk(root: Any) -> Iterator[tuple[Any, int]]:
    """Yield everything below ``root`` with its depth, in no more than a bounded number of steps."""
    pending, steps = [(root, 0)], 0
    seen: set[int] = set()
    while pending:
        node, depth = pending.pop()
        if id(node) in seen:
            continue
        steps += 1
        if steps > _MOST_NODES or depth > 40:
            raise RefusedFileError(
                "The checkpoint is nested too deeply or has too many entries to be one of a model."
            )
        if isinstance(node, dict | list | tuple | Call | Persistent):
            seen.add(id(node))
        yield node, depth
        pending += [(child, depth + 1) for child in _children(node)]


def _children(node: Any) -> list[Any]:
    if isinstance(node, dict):
        return list(node.values())
    if isinstance(node, Call):
        return [*node.arguments, *node.entries.values()]
    return list(node) if isinstance(node, list | tuple) else []


def _groups(root: Any, tensors: _Tensors) -> tuple[dict[str, list[Stored]], list[str]]:
    """Return the state dicts in a description, the one to open first, and notes."""
    top = _entries(root)
    if top is None:
        kind = "one tensor" if _is_tensor(root) else f"a {_word(root)}"
        raise RefusedFileError(
            f"The checkpoint holds {kind}, not weights by name. Save model.state_dict()."
        )
    found: dict[str, dict[str, Any]] = {}
    notes: list[str] = []
    _collect(top, "", 0, found, notes)
    if not found:
        raise RefusedFileError(
            "The checkpoint holds no weights by name. Save model.state_dict() with torch.save."
        )
    order = sorted(found, key=lambda name: _rank(name, found[name]))
    opened = {
        name: [tensors.stored(key, call) for key, call in found[name].items()] for name in order
    }
    return opened, notes


def _collect(
    entries: dict[Any, Any],
    path: str,
    depth: int,
    found: dict[str, dict[str, Any]],
    notes: list[str],
) -> None:
    """Find the dictionaries of tensors below ``entries``."""
    if depth > _DEEPEST:
        raise RefusedFileError(f"The checkpoint is nested more than {_DEEPEST} levels deep.")
    own = {key: value for key, value in entries.items() if _is_tensor(value)}
    inner = {key: below for key, value in entries.items() if (below := _entries(value)) is not None}
    holders = {key for key in inner if str(key) in _CONTAINERS}
    if own and not holders:
        _check_new(path, found)
        found[path] = _named(entries, path, depth)
        return
    for key, below in inner.items():
        name = str(key)
        if any(word in name.lower() for word in _NOT_WEIGHTS):
            continue
        _collect(below, f"{path}.{name}" if path else name, depth + 1, found, notes)


def _named(entries: dict[Any, Any], path: str, depth: int) -> dict[str, Any]:
    """Return the tensors of a state dict and of the dictionaries in it, by name."""
    if depth > _DEEPEST:
        raise RefusedFileError(f"The checkpoint is nested more than {_DEEPEST} levels deep.")
    named: dict[str, Any] = {}
    for key, value in entries.items():
        below = _entries(value)
        if not isinstance(key, str):
            if _is_tensor(value):
                raise RefusedFileError(
                    f"The checkpoint names tensors by numbers ({shortened(str(key), 20)}), not by "
                    "text. Save model.state_dict()."
                )
            continue
        if _is_tensor(value):
            _check_new(key, named)
            named[key] = value
        elif below:
            for inner, tensor in _named(below, path, depth + 1).items():
                _check_new(f"{key}.{inner}", named)
                named[f"{key}.{inner}"] = tensor
        elif key.endswith(("weight", "bias")) and value is not None:
            raise RefusedFileError(
                f"'{shortened(key)}' is a {_word(value)}, not a tensor. Save model.state_dict()."
            )
        check_number(len(named))
    return named


def _check_new(name: str, found: Container[str]) -> None:
    """Refuse a name that a dictionary and a dictionary in it both make."""
    if name in found:
        raise RefusedFileError(f"The checkpoint holds the name '{shortened(name)}' twice.")


def _rank(name: str, entries: dict[str, Any]) -> tuple[bool, int, int]:
    """Order groups: plain before averaged weights, usual names first, then the larger ones."""
    last = name.rpartition(".")[2].lower()
    averaged = any(word in name.lower() for word in _AVERAGED)
    usual = _CONTAINERS.index(last) if last in _CONTAINERS else len(_CONTAINERS)
    return averaged, usual, -len(entries)


def _word(value: Any) -> str:
    if isinstance(value, Call):
        return shortened(value.what.partition(" ")[2], 40)
    names = {"str": "text", "NoneType": "nothing", "int": "number", "float": "number"}
    return names.get(type(value).__name__, type(value).__name__)
