"""Data of strangers (NPZ, IDX, a zip of class folders, CSV) as inputs and labels, nothing more.

Runs in the limited child. Whatever announces more than it holds, or unpacks to more than is
allowed, is refused before it is unpacked.
"""

import csv
import gzip
import math
import stat
import struct
import warnings
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, Final
from zipfile import ZipInfo

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from pruning_core.loading.intake.archives import Archive
from pruning_core.loading.intake.contents import RefusedFileError, Stored, shortened
from pruning_core.loading.intake.writing import write_safetensors

MOST_BYTES: Final = 600_000_000
"""Of everything after unpacking."""
_MOST_ENTRIES: Final = 20_000
_MOST_PIXELS: Final = 25_000_000
_MOST_CLASSES: Final = 100_000
_MOST_ROWS: Final = 2_000_000
_IMAGES: Final = ("PNG", "JPEG", "BMP", "WEBP", "GIF", "TIFF")
_TRAINING: Final = ("train", "training")
_TESTING: Final = ("test", "t10k", "testing", "val", "valid", "validation")
_INPUTS: Final = ("x", "inputs", "images", "data", "input", "features", "sequences", "samples")
_LABELS: Final = ("y", "labels", "targets", "label", "target", "classes")

Array = NDArray[Any]


@dataclass(slots=True)
class Found:
    """What was found: arrays by split (empty name: not divided), and the names of the classes."""

    splits: dict[str, tuple[Array, Array]]
    classes: tuple[str, ...] = ()
    notes: list[str] = field(default_factory=list)


def read_data(
    paths: Mapping[str, Path], target: Path, shape: tuple[int, ...] | None = None
) -> dict[str, Any]:
    """Write inputs and labels to ``target`` and return a summary as plain data.

    Args:
        paths: Where each file lies, by the name it was given.
        target: A safetensors file to write.
        shape: Shape of one input of the model they are for; None takes them as they are.

    Raises:
        RefusedFileError: If they are not opened.
    """
    found = _read(paths, shape)
    summary: dict[str, Any] = {"warnings": [], "sizes": {}}
    tensors: dict[str, torch.Tensor] = {}
    classes = found.classes
    for split, (inputs, labels) in found.splits.items():
        numbers, names = _numbered(labels, classes)
        classes = classes or names
        shaped = _shaped(np.asarray(inputs), shape)
        if len(shaped) != len(numbers):
            raise RefusedFileError(
                f"There are {len(shaped):,} inputs and {len(numbers):,} labels; each input needs "
                "one."
            )
        if not len(shaped) or not math.prod(shaped.shape[1:]):
            raise RefusedFileError("The data hold no samples.")
        tensors[f"{split}inputs"] = _as_tensor(shaped)
        tensors[f"{split}labels"] = torch.from_numpy(numbers)
        summary["sizes"][split or "all"] = len(numbers)
    everything = torch.cat([t for name, t in tensors.items() if name.endswith("labels")])
    n_classes = max(len(classes), int(everything.max()) + 1)
    n_used = len(np.unique(everything.numpy()))
    if n_classes > max(1000, 2 * n_used) or n_classes > _MOST_CLASSES:
        raise RefusedFileError(
            f"The label {int(everything.max()):,} is out of range: there are {n_used:,} different "
            "labels. Number the classes from 0."
        )
    if n_used == 1:
        summary["warnings"].append("All samples have the same class: nothing can be told apart.")
    summary["warnings"] += _value_warnings(tensors)
    stored = [
        Stored(name, tensor.dtype, tuple(tensor.shape), lambda tensor=tensor: tensor)  # type: ignore[misc]
        for name, tensor in tensors.items()
    ]
    write_safetensors(stored, target)
    first = next(t for name, t in tensors.items() if name.endswith("inputs"))
    summary["classes"] = list(classes) or [str(number) for number in range(n_classes)]
    summary["shape"] = list(first.shape[1:])
    summary["dtype"] = str(first.dtype).removeprefix("torch.")
    summary["notes"] = found.notes[:10]
    return summary


def _read(paths: Mapping[str, Path], shape: tuple[int, ...] | None) -> Found:
    kinds = {Path(name).suffix.lower() for name in paths}
    for name, path in paths.items():
        if not path.stat().st_size:
            raise RefusedFileError(f"'{shortened(name, 60)}' is empty.")
    if len(paths) == 1:
        ((name, path),) = paths.items()
        match Path(name).suffix.lower():
            case ".npz":
                return _npz(path)
            case ".npy":
                _npy_alone(path)
            case ".zip":
                return _folders(path, shape)
            case ".csv" | ".tsv":
                return _table(path)
    if kinds <= {".gz", ".idx", "", ".idx3-ubyte", ".idx1-ubyte"} or all(
        "ubyte" in name for name in paths
    ):
        return _idx(paths)
    raise RefusedFileError(
        f"'{shortened(next(iter(paths)), 60)}' is no data that can be read. Give one .npz, .zip of "
        "class folders or .csv, or the .gz files of images and labels (IDX)."
    )


# ------------------------------------------------------------------ NPZ


def _npz(path: Path) -> Found:
    archive = Archive(path, most_entries=64, most_bytes=MOST_BYTES)
    arrays = {
        name.removesuffix(".npy"): _npy(archive.read(entry, MOST_BYTES), name)
        for name, entry in archive.members.items()
        if name.endswith(".npy")
    }
    splits: dict[str, tuple[Array, Array]] = {}
    for split, words in (("", ("",)), ("train.", _TRAINING), ("test.", _TESTING)):
        inputs, labels = _named(arrays, words, _INPUTS), _named(arrays, words, _LABELS)
        if inputs is not None and labels is not None:
            splits[split] = (inputs, labels)
    if "train." in splits:
        splits.pop("", None)
    if not splits:
        held = ", ".join(sorted(arrays)[:6]) or "nothing"
        raise RefusedFileError(
            f"The file holds {shortened(held)}, not inputs and labels. Name the arrays x and y, or "
            "x_train, y_train, x_test and y_test."
        )
    names = arrays.get("class_names")
    classes = () if names is None else tuple(shortened(str(name)) for name in names.ravel()[:1000])
    return Found(splits, classes)


def _named(
    arrays: Mapping[str, Array], splits: Sequence[str], words: Sequence[str]
) -> Array | None:
    """Return the array whose name is a word, with the name of a split before or behind it."""
    for name, array in arrays.items():
        parts = name.lower().replace("-", "_").split("_")
        rest = [part for part in parts if part not in splits] if splits != ("",) else parts
        had_split = splits == ("",) or len(rest) < len(parts)
        if had_split and "_".join(rest) in words:
            return array
    return None


def _npy(data: bytes, name: str) -> Array:
    """Return the array of an .npy file; its header is compared with the bytes that follow."""
    shown = shortened(name, 40)
    stream = BytesIO(data)
    try:
        version = np.lib.format.read_magic(stream)
        read = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }[version]
        shape, fortran, dtype = read(stream, max_header_size=10_000)
    except (ValueError, KeyError, struct.error, TypeError, SyntaxError, MemoryError):
        raise RefusedFileError(f"The array '{shown}' has a damaged header.") from None
    if dtype.hasobject:
        raise RefusedFileError(
            f"The array '{shown}' holds Python objects, which can run code. Save plain numbers."
        )
    needed = math.prod(shape) * dtype.itemsize
    there = len(data) - stream.tell()
    if needed != there or any(size < 0 for size in shape):
        raise RefusedFileError(
            f"The array '{shown}' says it has {math.prod(shape):.4g} values; the file holds "
            f"{there:,} bytes for it."
        )
    flat = np.frombuffer(data, dtype, offset=stream.tell())
    return flat.reshape(shape, order="F" if fortran else "C")


def _npy_alone(path: Path) -> None:
    with path.open("rb") as stream:
        array = _npy(stream.read(MOST_BYTES), "the file")
    raise RefusedFileError(
        f"The file holds one array of the shape {list(array.shape)[:4]}, and no labels. Save "
        "inputs and labels with numpy.savez(FILE, x=..., y=...)."
    )


# ------------------------------------------------------------------ IDX


def _idx(paths: Mapping[str, Path]) -> Found:
    splits: dict[str, dict[bool, Array]] = {}
    for name, path in paths.items():
        array = _idx_array(path, name)
        is_test = any(word in name.lower() for word in ("test", "t10k"))
        splits.setdefault("test." if is_test else "train.", {})[array.ndim == 1] = array
    whole = {key: value for key, value in splits.items() if len(value) == 2}
    if not whole or len(whole) != len(splits):
        what = "labels" if any(False in value for value in splits.values()) else "images"
        raise RefusedFileError(
            f"There are no {what} beside the file. Give the files of images and of labels together."
        )
    if len(whole) == 1:
        whole = {"": next(iter(whole.values()))}
    return Found({key: (value[False], value[True]) for key, value in whole.items()})


def _idx_array(path: Path, name: str) -> Array:
    shown = shortened(name, 60)
    with path.open("rb") as raw:
        is_packed = raw.read(2) == b"\x1f\x8b"
    try:
        with gzip.open(path, "rb") if is_packed else path.open("rb") as stream:
            return _idx_values(stream, shown)
    except (OSError, EOFError, zlib.error):
        raise RefusedFileError(f"'{shown}' is damaged or cut off. Download it again.") from None


def _idx_values(stream: BinaryIO | gzip.GzipFile, shown: str) -> Array:
    start = stream.read(4)
    if len(start) < 4 or start[:3] != b"\0\0\x08" or not 1 <= start[3] <= 4:
        raise RefusedFileError(
            f"'{shown}' is no IDX file of unsigned bytes: it begins with "
            f"{start.hex(' ') or 'nothing'}."
        )
    header = stream.read(4 * start[3])
    shape = tuple(int(n) for n in np.frombuffer(header[: len(header) // 4 * 4], ">u4"))
    count = math.prod(shape)
    if len(shape) != start[3] or not 0 < count <= MOST_BYTES:
        raise RefusedFileError(
            f"'{shown}' says it has {count:.4g} values; between 1 and {MOST_BYTES:,} are read."
        )
    values = stream.read(count + 1)
    if len(values) != count:
        raise RefusedFileError(
            f"'{shown}' says it has {count:,} values and holds "
            f"{'more' if len(values) > count else f'{len(values):,}'}."
        )
    return np.frombuffer(values, np.uint8).reshape(shape)


# ------------------------------------------------------------------ class folders


def _folders(path: Path, shape: tuple[int, ...] | None) -> Found:
    archive = Archive(path, most_entries=_MOST_ENTRIES, most_bytes=MOST_BYTES)
    packed = sum(entry.compress_size for entry in archive.members.values())
    if sum(entry.file_size for entry in archive.members.values()) > 200 * packed + 1_000_000:
        raise RefusedFileError("The zip file unpacks to more than 200 times its size: a zip bomb.")
    placed = list(_placed(archive.members.values()))
    classes = tuple(sorted({name for _, name, _ in placed}))
    if len(classes) < 2:
        raise RefusedFileError(
            f"The zip file has images in {len(classes)} class folders; it needs two or more, e.g. "
            "cat/1.png and dog/1.png."
        )
    pictures = [_picture(archive, entry) for _, _, entry in placed]
    size, mode = _common(pictures, shape)
    total = len(pictures) * size[0] * size[1] * (3 if mode == "RGB" else 1)
    if total > MOST_BYTES:
        raise RefusedFileError(
            f"The images would take {total / 1e6:,.0f} MB; at most {MOST_BYTES / 1e6:,.0f} MB are "
            "opened. Make them smaller, or give fewer."
        )
    notes = []
    other = sum(picture.size != size for picture in pictures)
    if other:
        notes.append(f"{other:,} of {len(pictures):,} images were scaled to {size[0]} x {size[1]}.")
    arrays = np.stack([_pixels(picture, size, mode) for picture in pictures])
    labels = np.array([classes.index(name) for _, name, _ in placed], np.int64)
    parts = np.array([part for part, _, _ in placed])
    splits = {
        part: (arrays[parts == part], labels[parts == part]) for part in sorted(set(parts.tolist()))
    }
    if set(splits) != {"train.", "test."} and set(splits) != {""}:
        splits = {"": (arrays, labels)}
    return Found(splits, tuple(map(shortened, classes)), notes)


def _placed(entries: Iterator[ZipInfo] | Any) -> Iterator[tuple[str, str, ZipInfo]]:
    """Yield split, class and entry of every image; nothing is ever extracted by its name."""
    for entry in entries:
        name = shortened(entry.filename, 60)
        parts = PurePosixPath(entry.filename.replace("\\", "/")).parts
        if stat.S_ISLNK(entry.external_attr >> 16):
            raise RefusedFileError(f"The entry '{name}' is a link to another file.")
        if ".." in parts or entry.filename.startswith(("/", "\\")) or ":" in parts[0]:
            raise RefusedFileError(f"The entry '{name}' points outside of the zip file.")
        if parts[0] == "__MACOSX" or parts[-1].startswith("."):
            continue
        if len(parts) < 2:
            raise RefusedFileError(f"The image '{name}' is in no folder; a folder names its class.")
        first = [part.lower() for part in parts[:-2]]
        split = "train." if set(first) & set(_TRAINING) else ""
        yield "test." if set(first) & set(_TESTING) else split, parts[-2], entry


def _picture(archive: Archive, entry: ZipInfo) -> Image.Image:
    name = shortened(entry.filename, 60)
    data = archive.read(entry, 100_000_000)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            picture = Image.open(BytesIO(data), formats=_IMAGES)
            if picture.width * picture.height > _MOST_PIXELS:
                raise RefusedFileError(
                    f"The image '{name}' has {picture.width:,} x {picture.height:,} pixels; at "
                    f"most {_MOST_PIXELS / 1e6:.0f} million are read."
                )
            picture.load()
    except Image.DecompressionBombWarning:
        raise RefusedFileError(
            f"The image '{name}' has more than {_MOST_PIXELS / 1e6:.0f} million pixels, the most "
            "that are read."
        ) from None
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        raise RefusedFileError(f"'{name}' is no image that can be read, or is damaged.") from None
    except (Warning, zlib.error, struct.error, EOFError, IndexError, KeyError, TypeError):
        raise RefusedFileError(f"'{name}' is a damaged image.") from None
    return picture


def _common(
    pictures: Sequence[Image.Image], shape: tuple[int, ...] | None
) -> tuple[tuple[int, int], str]:
    """Return the size and mode that all images get: the model's, else the most common ones."""
    if shape is not None and len(shape) == 3 and shape[0] in {1, 3}:
        return (shape[2], shape[1]), "L" if shape[0] == 1 else "RGB"
    size = Counter(picture.size for picture in pictures).most_common(1)[0][0]
    is_grey = all(picture.mode in {"1", "L", "I", "I;16", "F", "LA"} for picture in pictures)
    return size, "L" if is_grey else "RGB"


def _pixels(picture: Image.Image, size: tuple[int, int], mode: str) -> Array:
    """Return an image as ``[C, H, W]`` uint8."""
    if picture.mode in {"I", "I;16", "F"}:
        values = np.asarray(picture, np.float64)
        most = 65535.0 if values.max(initial=0) > 255 else 255.0
        picture = Image.fromarray((values / most * 255).clip(0, 255).astype(np.uint8))
    picture = picture.convert(mode)
    if picture.size != size:
        picture = picture.resize(size, Image.Resampling.BILINEAR)
    array = np.asarray(picture, np.uint8)
    return array[None] if mode == "L" else np.ascontiguousarray(array.transpose(2, 0, 1))


# ------------------------------------------------------------------ CSV


def _table(path: Path) -> Found:
    """Read numbers by column; the class is in the column called label, class, y, or the last."""
    if path.stat().st_size > MOST_BYTES // 4:
        raise RefusedFileError(f"The table is larger than {MOST_BYTES / 4e6:,.0f} MB.")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise RefusedFileError("The table cannot be read: it is no text in UTF-8.") from None
    first = text.partition("\n")[0]
    lines = csv.reader(text.splitlines(), delimiter=max(",;\t", key=first.count))
    rows = []
    for row in lines:
        if row:
            rows.append([cell.strip() for cell in row])
        if len(rows) > _MOST_ROWS:
            raise RefusedFileError(f"The table has more than {_MOST_ROWS:,} rows.")
    if len(rows) < 2 or len(rows[0]) < 2:
        raise RefusedFileError("The table needs rows of two columns or more: numbers and a class.")
    head = rows[0] if not _is_number(rows[0][0]) or not _is_number(rows[0][1]) else None
    names = [name.lower() for name in head] if head else []
    at = next((i for i, name in enumerate(names) if name in _LABELS or name == "class"), -1)
    body = rows[1:] if head else rows
    width = len(rows[0])
    labels = []
    values = np.empty((len(body), width - 1), np.float32)
    for number, row in enumerate(body):
        line = number + 1 + bool(head)
        if len(row) != width:
            raise RefusedFileError(f"Line {line:,} has {len(row)} columns; the first has {width}.")
        labels.append(row[at])
        rest = row[:at] + row[at + 1 :] if at >= 0 else row[:-1]
        try:
            values[number] = [float(cell) if cell else math.nan for cell in rest]
        except ValueError:
            wrong = next(cell for cell in rest if not _is_number(cell))
            raise RefusedFileError(
                f"Line {line:,} holds '{shortened(wrong, 30)}' where a number should be. Give "
                "numbers in every column but the class."
            ) from None
    return Found({"": (values, np.array(labels))})


def _is_number(cell: str) -> bool:
    try:
        float(cell or "nan")
    except ValueError:
        return False
    return True


# ------------------------------------------------------------------ labels and shapes


def _numbered(labels: Array, classes: tuple[str, ...]) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """Return labels as numbers from 0, and the names of classes where the labels are names."""
    flat = np.asarray(labels)
    if flat.ndim == 2 and flat.shape[1] == 1:
        flat = flat[:, 0]
    if (
        flat.ndim == 2
        and flat.shape[1] > 1
        and np.array_equal(flat.sum(axis=1), np.ones(len(flat)))
    ):
        flat = flat.argmax(axis=1)  # one-hot
    if flat.ndim != 1:
        raise RefusedFileError(
            f"The labels have the shape {list(flat.shape)[:4]}; one number a sample is needed."
        )
    if flat.dtype.kind in "SU":
        try:
            flat = flat.astype(np.float64)
        except ValueError:
            names = tuple(classes) or tuple(sorted({str(name) for name in flat.tolist()}))
            places = {name: number for number, name in enumerate(names)}
            return (
                np.array([places[str(name)] for name in flat.tolist()], np.int64),
                tuple(map(shortened, names)),
            )
    if flat.dtype.kind == "f":
        if not np.isfinite(flat).all() or not np.array_equal(flat, np.floor(flat)):
            raise RefusedFileError(
                "The labels are no whole numbers. Number the classes from 0; values to be "
                "predicted (regression) are not read yet."
            )
    elif flat.dtype.kind not in "iub":
        raise RefusedFileError(
            f"The labels have the element type {flat.dtype}; give whole numbers."
        )
    if len(flat) and flat.min() < 0:
        raise RefusedFileError(f"The labels hold {int(flat.min())}. Number the classes from 0.")
    return flat.astype(np.int64), ()


def _shaped(inputs: Array, shape: tuple[int, ...] | None) -> Array:
    """Return inputs in the shape the model takes, where they are the same numbers in that shape."""
    if inputs.dtype.kind not in "iufb":
        raise RefusedFileError(f"The inputs have the element type {inputs.dtype}; give numbers.")
    own = inputs.shape[1:]
    if inputs.ndim < 2:
        raise RefusedFileError("The inputs are one number each; a sample needs several.")
    if inputs.ndim == 4 and own != shape and own[2] in {1, 3, 4} and own[0] not in {1, 3, 4}:
        inputs = np.ascontiguousarray(inputs.transpose(0, 3, 1, 2))  # channels last
    elif inputs.ndim == 3 and own != shape and (shape is None or shape == (1, *own)):
        inputs = inputs[:, None]
    elif shape is not None and math.prod(own) == math.prod(shape) and (len(own) == 1 or 1 in shape):
        inputs = inputs.reshape(-1, *shape)
    if shape is not None and inputs.shape[1:] != tuple(shape):
        raise RefusedFileError(
            f"The samples have the shape {list(inputs.shape[1:])[:5]}; the model takes "
            f"{list(shape)}. Choose the data the model was made for."
        )
    return inputs


def _as_tensor(inputs: Array) -> torch.Tensor:
    if inputs.dtype == np.uint8:
        return torch.from_numpy(np.array(inputs))
    return torch.from_numpy(np.array(inputs, np.float32))


def _value_warnings(tensors: Mapping[str, torch.Tensor]) -> list[str]:
    for name, values in tensors.items():
        if name.endswith("inputs") and values.dtype.is_floating_point:
            wrong = (~values.isfinite()).reshape(len(values), -1).any(dim=1)
            if bool(wrong.any()):
                return [
                    f"{int(wrong.sum()):,} samples hold NaN or infinite values, the first is "
                    f"number {int(wrong.nonzero()[0])}: no accuracy on them means anything."
                ]
    return []
