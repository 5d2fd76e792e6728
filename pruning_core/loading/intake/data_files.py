"""Data of strangers (NPZ, IDX, zips of images, CSV, text) as inputs and targets, nothing more.

Runs in the limited child. Whatever announces more than it holds, or unpacks to more than is
allowed, is refused before it is unpacked.
"""

import csv
import gzip
import math
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
from pruning_core.loading.intake.targets import as_targets, kind_of
from pruning_core.loading.intake.texts import read_text
from pruning_core.loading.intake.writing import write_safetensors
from pruning_core.tasks import CLASSES
from pruning_core.tasks.registry import TASKS

MOST_BYTES: Final = 600_000_000
"""Of everything after unpacking."""
_MOST_RATIO: Final = 200
"""Bytes after unpacking for each one before."""
_MOST_ENTRIES: Final = 20_000
_MOST_PIXELS: Final = 25_000_000
_MOST_CLASSES: Final = 100_000
_MOST_LABEL: Final = 2**31
_SAMPLED: Final = 20_000
"""Samples that mean and deviation are taken from."""
_BLOCK: Final = 1 << 20
"""Values that are in memory as float64 at a time."""
_MOST_ROWS: Final = 2_000_000
_IMAGES: Final = ("PNG", "JPEG", "BMP", "WEBP", "GIF", "TIFF")
_MASKS: Final = frozenset({"masks", "mask", "labels", "annotations"})
_PAIRS: Final = tuple({"images", mask} for mask in _MASKS)
"""Folders of a zip with a mask for each image."""
_TOKENISER: Final = ".json"
_WITH_TEXT: Final = tuple({text, *more} for text in (".txt", ".md") for more in ((), (_TOKENISER,)))
"""Kinds of the files of a text, with the tokeniser of the model or without."""
_TRAINING: Final = ("train", "training")
_TESTING: Final = ("test", "t10k", "testing", "val", "valid", "validation")
_INPUTS: Final = ("x", "inputs", "images", "data", "input", "features", "sequences", "samples")
_LABELS: Final = ("y", "labels", "targets", "label", "target", "classes", "masks", "mask")

Array = NDArray[Any]


@dataclass(slots=True)
class Found:
    """What was found.

    Attributes:
        splits: Inputs and targets by split (empty name: not divided).
        classes: Names of the classes.
        notes: What a reader should know.
        task: Key of what is to be done, where the kind of file decides it.
        beginnings: Of the first pieces of a text in words, where it was divided by a tokeniser.
    """

    splits: dict[str, tuple[Array, Array]]
    classes: tuple[str, ...] = ()
    notes: list[str] = field(default_factory=list)
    task: str | None = None
    beginnings: tuple[str, ...] = ()


def read_data(
    paths: Mapping[str, Path],
    target: Path,
    shape: tuple[int, ...] | None = None,
    task: str | None = None,
) -> dict[str, Any]:
    """Write inputs and targets to ``target`` and return a summary as plain data.

    Args:
        paths: Where each file lies, by the name it was given.
        target: A safetensors file to write.
        shape: Shape of one input of the model they are for; None takes them as they are.
        task: Key of what is to be done with them; None finds out.

    Raises:
        RefusedFileError: If they are not opened.
    """
    found = _read(paths, shape)
    given = {split: np.asarray(targets) for split, (_, targets) in found.splits.items()}
    named = found.task or task or kind_of(given)
    if task not in {None, named}:
        raise RefusedFileError(
            f"The file holds data for {TASKS[named].title.lower()}, not for "
            f"{TASKS[str(task)].title.lower()}."
        )
    summary: dict[str, Any] = {"warnings": [], "sizes": {}, "task": named}
    tensors: dict[str, torch.Tensor] = {}
    numbered: Mapping[str, Array]
    if named == CLASSES:
        numbered, names = _numbered_together(given, found.classes)
    else:
        numbered, notes = as_targets(given, named)
        names, found.notes = (), [*found.notes, *notes]
        if task is None and found.task is None:
            found.notes.append(f"These are data for {TASKS[named].title.lower()}.")
    classes = found.classes or names
    for split, (inputs, _) in found.splits.items():
        inputs = np.asarray(inputs)
        shaped = inputs if TASKS[named].reads_tokens else _shaped(inputs, shape)
        tensors |= _paired(split, shaped, numbered[split])
        summary["sizes"][split or "all"] = len(numbered[split])
    _check_masks(tensors, named)
    if named == CLASSES:
        classes = _named_classes(tensors, classes, summary)
    elif TASKS[named].moves_with_pixels:
        classes = _mask_classes(tensors, classes)
    summary["warnings"] += _value_warnings(tensors)
    summary["scale"], summary["mean"], summary["std"] = 1.0, 0.0, 1.0
    if not TASKS[named].reads_tokens:
        summary["scale"], summary["mean"], summary["std"] = _statistics(tensors)
    stored = [
        Stored(name, tensor.dtype, tuple(tensor.shape), lambda tensor=tensor: tensor)  # type: ignore[misc]
        for name, tensor in tensors.items()
    ]
    write_safetensors(stored, target)
    first = next(t for name, t in tensors.items() if name.endswith("inputs"))
    summary["classes"] = list(classes)
    summary["shape"] = list(first.shape[1:])
    summary["dtype"] = str(first.dtype).removeprefix("torch.")
    summary["notes"] = found.notes[:10]
    summary["beginnings"] = list(found.beginnings)
    return summary


def _paired(split: str, inputs: Array, targets: Array) -> dict[str, torch.Tensor]:
    """Return the tensors of a split by name.

    Raises:
        RefusedFileError: If not every input has its target.
    """
    if len(inputs) != len(targets):
        raise RefusedFileError(
            f"There are {len(inputs):,} inputs and {len(targets):,} labels; each input needs one."
        )
    if not len(inputs) or not math.prod(inputs.shape[1:]):
        raise RefusedFileError("The data hold no samples.")
    return {
        f"{split}inputs": _as_tensor(inputs),
        f"{split}labels": torch.from_numpy(np.ascontiguousarray(targets)),
    }


def _named_classes(
    tensors: Mapping[str, torch.Tensor], classes: tuple[str, ...], summary: dict[str, Any]
) -> tuple[str, ...]:
    """Return a name for each class, and warn where there is one alone.

    Raises:
        RefusedFileError: If the labels number no classes.
    """
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
    return classes or tuple(str(number) for number in range(n_classes))


def _check_masks(tensors: Mapping[str, torch.Tensor], task: str) -> None:
    """Refuse masks that are not as large as their images.

    Raises:
        RefusedFileError: With both sizes.
    """
    if not TASKS[task].moves_with_pixels:
        return
    for name, masks in tensors.items():
        if not name.endswith("labels"):
            continue
        images = tensors[name.removesuffix("labels") + "inputs"]
        if images.ndim != 4 or images.shape[-2:] != masks.shape[1:]:
            raise RefusedFileError(
                f"The masks have {list(masks.shape[1:])} pixels, the images the shape "
                f"{list(images.shape[1:])}; each image needs a mask of its height and width."
            )


def _mask_classes(tensors: Mapping[str, torch.Tensor], classes: tuple[str, ...]) -> tuple[str, ...]:
    """Return a name for each class of the masks."""
    most = max(int(t.max()) for name, t in tensors.items() if name.endswith("labels"))
    return classes or tuple(str(number) for number in range(max(0, most) + 1))


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
    if kinds in _WITH_TEXT and len(paths) == len(kinds):
        return _text(paths, shape)
    if kinds <= {".gz", ".idx", "", ".idx3-ubyte", ".idx1-ubyte"} or all(
        "ubyte" in name for name in paths
    ):
        return _idx(paths)
    raise RefusedFileError(
        f"'{shortened(next(iter(paths)), 60)}' is no data that can be read. Give one .npz, .zip of "
        "class folders, .csv or .txt (with its tokenizer.json), or the .gz files of an IDX set."
    )


def _text(paths: Mapping[str, Path], shape: tuple[int, ...] | None) -> Found:
    by_kind = {Path(name).suffix.lower(): path for name, path in paths.items()}
    tokeniser = by_kind.pop(_TOKENISER, None)
    (path,) = by_kind.values()
    pieces = read_text(path, shape, tokeniser)
    return Found(
        {"": (pieces.inputs, pieces.targets)},
        notes=pieces.notes,
        task="language_modelling",
        beginnings=pieces.beginnings,
    )


def _check_ratio(archive: Archive) -> None:
    packed = sum(entry.compress_size for entry in archive.members.values())
    if sum(entry.file_size for entry in archive.members.values()) > _most_unpacked(packed):
        raise RefusedFileError(
            f"The zip file unpacks to more than {_MOST_RATIO} times its size: a zip bomb."
        )


def _most_unpacked(packed: int) -> int:
    return _MOST_RATIO * packed + 1_000_000


# ------------------------------------------------------------------ NPZ


def _npz(path: Path) -> Found:
    archive = Archive(path, most_entries=64, most_bytes=MOST_BYTES)
    _check_ratio(archive)
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
            packed = path.stat().st_size
            most = min(MOST_BYTES, _most_unpacked(packed) if is_packed else packed)
            return _idx_values(stream, shown, most)
    except (OSError, EOFError, zlib.error):
        raise RefusedFileError(f"'{shown}' is damaged or cut off. Download it again.") from None


def _idx_values(stream: BinaryIO | gzip.GzipFile, shown: str, most: int) -> Array:
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
    if count > most:
        raise RefusedFileError(
            f"'{shown}' says it has {count:,} values, more than {_MOST_RATIO} times what it holds."
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
    _check_ratio(archive)
    placed = list(_placed(archive.members.values()))
    if {folder.lower() for _, folder, _ in placed} in _PAIRS:
        return _pairs(archive, placed, shape)
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


def _pairs(
    archive: Archive, placed: Sequence[tuple[str, str, ZipInfo]], shape: tuple[int, ...] | None
) -> Found:
    """Read images and their masks, which go together by the names of their files."""
    images: dict[str, ZipInfo] = {}
    masks: dict[str, ZipInfo] = {}
    for _, folder, entry in placed:
        side = masks if folder.lower() in _MASKS else images
        side[PurePosixPath(entry.filename.replace("\\", "/")).stem] = entry
    alone = sorted(set(images) ^ set(masks))
    if alone:
        raise RefusedFileError(
            f"'{shortened(alone[0], 60)}' has an image or a mask, not both. Give each image a mask "
            "of the same name, e.g. images/1.png and masks/1.png."
        )
    names = sorted(images)
    pictures = [_picture(archive, images[name]) for name in names]
    size, mode = _common(pictures, shape)
    drawn = [_picture(archive, masks[name]) for name in names]
    for name, picture, mask in zip(names, pictures, drawn, strict=True):
        if mask.mode not in {"1", "L", "P"}:
            raise RefusedFileError(
                f"The mask '{shortened(name, 60)}' is of the mode {mask.mode}; a mask has one "
                "number from 0 to 255 for each pixel, its class (grey or palette PNG)."
            )
        if mask.size != picture.size:
            raise RefusedFileError(
                f"The mask '{shortened(name, 60)}' has {mask.width} x {mask.height} pixels, its "
                f"image {picture.width} x {picture.height}."
            )
    depth = 3 if mode == "RGB" else 1
    if len(names) * size[0] * size[1] * (depth + 2) > MOST_BYTES:
        raise RefusedFileError(
            f"Images and masks would take more than {MOST_BYTES / 1e6:,.0f} MB. Make them smaller, "
            "or give fewer."
        )
    other = sum(picture.size != size for picture in pictures)
    notes = []
    if other:
        notes.append(f"{other:,} of {len(pictures):,} images were scaled to {size[0]} x {size[1]}.")
    inputs = np.stack([_pixels(picture, size, mode) for picture in pictures])
    return Found(
        {"": (inputs, np.stack([_classes_of(mask, size) for mask in drawn]))},
        (),
        notes,
        "segmentation",
    )


def _classes_of(mask: Image.Image, size: tuple[int, int]) -> Array:
    """Return the numbers of a mask ``[H, W]``; scaling takes the nearest and mixes none."""
    numbers = Image.fromarray(np.asarray(mask).astype(np.uint8))
    if numbers.size != size:
        numbers = numbers.resize(size, Image.Resampling.NEAREST)
    return np.asarray(numbers, np.uint8)


def _placed(entries: Iterator[ZipInfo] | Any) -> Iterator[tuple[str, str, ZipInfo]]:
    """Yield split, class and entry of every image; nothing is ever extracted by its name."""
    for entry in entries:
        name = shortened(entry.filename, 60)
        parts = PurePosixPath(entry.filename.replace("\\", "/")).parts
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
    _check_range(picture, name)
    return picture


def _common(
    pictures: Sequence[Image.Image], shape: tuple[int, ...] | None
) -> tuple[tuple[int, int], str]:
    """Return the size and mode that all images get: the model's, else the most common ones."""
    if shape is not None and len(shape) == 3 and shape[0] in {1, 3}:
        return (shape[2], shape[1]), "L" if shape[0] == 1 else "RGB"
    size = Counter(picture.size for picture in pictures).most_common(1)[0][0]
    is_grey = all(picture.mode in {"1", "L", "LA"} or _is_deep(picture) for picture in pictures)
    return size, "L" if is_grey else "RGB"


def _pixels(picture: Image.Image, size: tuple[int, int], mode: str) -> Array:
    """Return an image as ``[C, H, W]`` uint8."""
    if _is_deep(picture):  # one scale for all of them, so that dark ones stay dark
        values = np.asarray(picture, np.float64)
        picture = Image.fromarray((values / 257).astype(np.uint8))
    picture = picture.convert(mode)
    if picture.size != size:
        picture = picture.resize(size, Image.Resampling.BILINEAR)
    array = np.asarray(picture, np.uint8)
    return array[None] if mode == "L" else np.ascontiguousarray(array.transpose(2, 0, 1))


def _is_deep(picture: Image.Image) -> bool:
    """Tell 16 bits in either order of bytes; Pillow reads some formats of 16 bits as 32."""
    return picture.mode == "I" or picture.mode.startswith("I;16")


def _check_range(picture: Image.Image, name: str) -> None:
    """Refuse values of which nothing says what white is."""
    low, high = picture.getextrema() if picture.mode == "I" else (0, 0)
    if picture.mode == "F" or low < 0 or high > 65_535:  # type: ignore[operator]
        raise RefusedFileError(
            f"The image '{name}' has values that are neither 8 nor 16 bits. Save it as 8 or 16 "
            "bits, or save the values as .npz."
        )


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
    head = rows[0] if _is_head(rows) else None
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


def _is_head(rows: Sequence[Sequence[str]]) -> bool:
    """Tell whether the first row names columns. The class of a sample may be a word as well."""
    *cells, last = rows[0]
    if not all(map(_is_number, cells)):
        return True
    others = {row[-1] for row in rows[1:]}
    if _is_number(last) or last in others:
        return False
    is_counted = cells == [str(number) for number in range(len(cells))]
    return is_counted or last.lower() in (*_LABELS, "class") or all(map(_is_number, others))


def _is_number(cell: str) -> bool:
    try:
        float(cell or "nan")
    except ValueError:
        return False
    return True


# ------------------------------------------------------------------ labels and shapes


def _numbered_together(
    labels: Mapping[str, Array], classes: tuple[str, ...]
) -> tuple[dict[str, NDArray[np.int64]], tuple[str, ...]]:
    """Return labels as numbers from 0 by split, and names; a class may be in one split alone."""
    flat = [_one_each(np.asarray(own)) for own in labels.values()]
    numbers, names = _numbered(np.concatenate(flat), classes)
    parts = np.split(numbers, np.cumsum([len(own) for own in flat])[:-1])
    return dict(zip(labels, parts, strict=True)), names


def _one_each(flat: Array) -> Array:
    """Return labels as ``[N]``."""
    if flat.ndim == 2 and flat.shape[1] == 1:
        flat = flat[:, 0]
    if (
        flat.ndim == 2
        and flat.shape[1] > 1
        and flat.dtype.kind in "iufb"
        and bool(((flat == 0) | (flat == 1)).all())
        and np.array_equal(flat.sum(axis=1), np.ones(len(flat)))
    ):
        flat = flat.argmax(axis=1)  # one-hot
    if flat.ndim != 1:
        raise RefusedFileError(
            f"The labels have the shape {list(flat.shape)[:4]}; one number a sample is needed."
        )
    return flat


def _numbered(flat: Array, classes: tuple[str, ...]) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """Return labels as numbers from 0, and the names of classes where the labels are names."""
    if flat.dtype.kind in "SU":
        try:
            flat = flat.astype(np.float64)
        except ValueError:
            names = tuple(classes) or tuple(sorted({str(name) for name in flat.tolist()}))
            places = {name: number for number, name in enumerate(names)}
            unknown = next((str(n) for n in flat.tolist() if str(n) not in places), None)
            if unknown is not None:
                raise RefusedFileError(
                    f"The label '{shortened(unknown, 40)}' is not among the names of classes in "
                    "the file."
                ) from None
            return (
                np.array([places[str(name)] for name in flat.tolist()], np.int64),
                tuple(map(shortened, names)),
            )
    if flat.dtype.kind == "f":
        if not np.isfinite(flat).all() or not np.array_equal(flat, np.floor(flat)):
            raise RefusedFileError(
                "The labels are no whole numbers. Number the classes from 0, or say that they "
                "are values to predict (regression)."
            )
    elif flat.dtype.kind not in "iub":
        raise RefusedFileError(
            f"The labels have the element type {flat.dtype}; give whole numbers."
        )
    if len(flat) and flat.max() > _MOST_LABEL:
        raise RefusedFileError(
            f"The labels hold {float(flat.max()):.4g}, which numbers no class. Number the classes "
            "from 0."
        )
    if len(flat) and flat.min() < 0:
        raise RefusedFileError(
            f"The labels hold {float(flat.min()):.4g}. Number the classes from 0."
        )
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
    elif (
        shape is not None
        and math.prod(own) == math.prod(shape)
        and (len(own) == 1 or [n for n in own if n != 1] == [n for n in shape if n != 1])
    ):
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
    if inputs.dtype.kind in "iu" and abs(inputs).max() < 2**24:  # maybe numbers of tokens
        return torch.from_numpy(np.array(inputs, np.int32))
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


def _statistics(tensors: Mapping[str, torch.Tensor]) -> tuple[float, float, float]:
    """Return scale, mean and standard deviation of the training inputs, read in blocks."""
    inputs = tensors.get("train.inputs", tensors.get("inputs"))
    if inputs is None:
        inputs = next(tensor for name, tensor in tensors.items() if name.endswith("inputs"))
    scale = 255.0 if inputs.dtype == torch.uint8 else 1.0
    flat = inputs[:_SAMPLED].reshape(-1)
    blocks = [flat[start : start + _BLOCK] for start in range(0, len(flat), _BLOCK)]

    def finite(block: torch.Tensor) -> torch.Tensor:
        values = block.double() / scale
        return values[values.isfinite()]

    count, total = 0, 0.0
    for block in blocks:
        values = finite(block)
        count, total = count + values.numel(), total + float(values.sum())
    if count < 2:
        return scale, 0.0, 1.0
    mean = total / count
    squares = sum(float((finite(block) - mean).square().sum()) for block in blocks)
    std = math.sqrt(squares / (count - 1))
    return scale, round(mean, 6), round(std, 6) if std > 1e-6 else 1.0
