"""Uploads, kept by the digest of their bytes as plain safetensors files; written once.

<state folder>/uploads/<id>.safetensors     the weights, ``id`` = 16 hex digits of SHA-256
<state folder>/uploads/<id>.1.safetensors   a second state dict of the same file, e.g. averaged
<state folder>/uploads/<id>.json            what was found in it
<state folder>/uploads/data-<id>.safetensors  inputs and labels of a file of data
<state folder>/uploads/card-<id>.json       how they are read, see own_data.py
"""

import hashlib
import json
import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pruning_core.errors import DataError
from pruning_core.folders import state_folder
from pruning_core.loading.intake.contents import shortened
from pruning_core.loading.intake.sandbox import SANDBOX

REFERENCE: Final = re.compile(r"[0-9a-f]{16}(\.[1-3])?")
MOST_BYTES: Final = 500 * 2**20
"""Of one upload from a page."""
MOST_KEPT: Final = 8 * 2**30
"""Of all uploads together; the ones not opened for longest go first."""
IN_USE: Final[list[Callable[[], str]]] = []
"""Each returns texts that name what has to stay; while nobody can tell, nothing is removed."""
_KEPT: Final = re.compile(r"(data-|card-|)([0-9a-f]{16})(?=\.)")
_NAMED: Final = re.compile(r"(?:weights|upload):([0-9a-f]{16})")
_READER: Final = 2
"""Raised when files are read in another way: what was kept before is read again."""


@dataclass(frozen=True, slots=True)
class Group:
    """One state dict of an upload.

    Attributes:
        reference: What the provider ``weights`` calls it.
        name: The entry of the file it was in; empty for the file itself.
        n_tensors: Tensors.
        n_values: Their elements.
        n_bytes: Bytes of the file kept.
        warnings: What is not as in trained weights, one sentence each.
    """

    reference: str
    name: str
    n_tensors: int
    n_values: int
    n_bytes: int
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Upload:
    """What was found in one upload.

    Attributes:
        title: The name its file had.
        kind: Its format in a word.
        groups: Its state dicts, the one to open first.
        notes: What a reader should know.
        details: What else was found out; for ONNX files operators, inputs and outputs.
    """

    title: str
    kind: str
    groups: tuple[Group, ...]
    notes: tuple[str, ...]
    details: Mapping[str, Any]


def folder() -> Path:
    """Return the folder of uploads, made private to the user.

    Raises:
        DataError: If it cannot be made.
    """
    place = state_folder() / "uploads"
    try:
        for path in (place.parent, place):
            path.mkdir(parents=True, exist_ok=True, mode=0o700)
            if path.stat().st_mode & 0o077:
                path.chmod(0o700)
    except OSError as error:
        raise DataError(
            f"The folder for uploads, '{place}', cannot be made: {error.strerror}. Set "
            "PRUNING_STUDIO_STATE to a folder that can be written to."
        ) from None
    return place


def take_in(files: Mapping[str, Path], *, most_bytes: int | None = None) -> Upload:
    """Screen files of one model and keep what they hold; the same bytes are read once.

    Args:
        files: Where each file lies, by the name it was given.
        most_bytes: More than that is refused; None takes files of any size.

    Raises:
        DataError: If they are not opened; the sentence names the cause.
    """
    check_size(
        files, most_bytes, " Offer larger ones when starting the server: --model weights:FILE"
    )
    place = folder()
    identifier = _digest(files)
    known = _known(place, identifier)
    if known is not None:
        return known
    with tempfile.TemporaryDirectory(dir=place, prefix=".new-") as room:
        target = Path(room) / f"{identifier}.safetensors"
        found = SANDBOX.ask("weights", files, target)
        found["reader"] = _READER
        found["title"] = shortened(" + ".join(sorted(files)), 80)
        for group in found["groups"]:
            publish(Path(room) / group["file"], place / group["file"])
        written = Path(room) / "summary"
        written.write_text(json.dumps(found), encoding="utf-8")
        publish(written, place / f"{identifier}.json")
    make_room(place, identifier)
    return _read(found)


def find(reference: str) -> tuple[Path, Upload]:
    """Return the weights file and the summary of an earlier upload.

    Raises:
        DataError: If there is none.
    """
    place = folder()
    identifier = reference.partition(".")[0]
    path = place / f"{reference}.safetensors"
    found = _known(place, identifier) if REFERENCE.fullmatch(reference) else None
    if found is None or not path.is_file():
        raise DataError(
            f"No uploaded weights are called '{shortened(reference, 40)}' on this machine. Upload "
            "the file again, or write weights:FILE on the command line."
        )
    return path, found


def _known(place: Path, identifier: str) -> Upload | None:
    path = place / f"{identifier}.json"
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        upload = _read(found)
        if found["reader"] != _READER:
            return None
    except (OSError, ValueError, KeyError, TypeError):
        return None
    if not all((place / f"{group.reference}.safetensors").is_file() for group in upload.groups):
        return None
    with suppress(OSError):
        os.utime(path, (time.time(), time.time()))
    return upload


def _read(found: Mapping[str, Any]) -> Upload:
    groups = tuple(
        Group(
            reference=str(group["file"]).removesuffix(".safetensors"),
            name=group["name"],
            n_tensors=group["n_tensors"],
            n_values=group["n_values"],
            n_bytes=group["n_bytes"],
            warnings=tuple(group["warnings"]),
        )
        for group in found["groups"]
    )
    return Upload(found["title"], found["kind"], groups, tuple(found["notes"]), found["details"])


def _digest(files: Mapping[str, Path]) -> str:
    """Return 16 hex digits for the bytes and kinds of all files."""
    total = hashlib.sha256()
    for name in sorted(files):
        with files[name].open("rb") as stream:
            own = hashlib.file_digest(stream, "sha256")
        total.update(Path(name).suffix.lower().encode() + own.digest())
    return total.hexdigest()[:16]


def publish(written: Path, path: Path) -> None:
    """Make ``path`` what was written beside it, whole even after a power cut."""
    with written.open("rb") as stream:
        os.fsync(stream.fileno())
    written.replace(path)
    folder_descriptor = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder_descriptor)
    finally:
        os.close(folder_descriptor)


def check_size(files: Mapping[str, Path], most_bytes: int | None, advice: str = "") -> None:
    """Refuse files of more than ``most_bytes`` together.

    Raises:
        DataError: With both sizes.
    """
    size = sum(path.stat().st_size for path in files.values())
    if most_bytes is not None and size > most_bytes:
        raise DataError(
            f"The files have {size / 2**20:,.0f} MB; a page takes {most_bytes / 2**20:,.0f} MB."
            f"{advice}"
        )


def make_room(place: Path, latest: str) -> None:
    """Remove what was not opened for longest until the rest is small enough.

    Weights go with their summary, values of data with the cards that say how they are read; what
    a waiting or working run names stays.

    Args:
        place: The folder of uploads.
        latest: What was just taken in, ``<id>`` or ``data-<id>``; it stays.
    """
    kept: dict[str, list[Path]] = {}
    cards: dict[str, str] = {}
    for file in place.iterdir():
        found = _KEPT.match(file.name)
        if found is None:
            continue
        key = found[0]
        if found[1] == "card-":
            key = cards[found[2]] = _values_of(file)
        kept.setdefault(key, []).append(file)
    sizes = {key: sum(map(_n_bytes, files)) for key, files in kept.items()}
    total = sum(sizes.values())
    if total > MOST_KEPT and IN_USE:
        named = set(_NAMED.findall(" ".join(ask() for ask in IN_USE)))
        named |= {cards[name] for name in named if name in cards} | {latest}
        for key in sorted(kept.keys() - named, key=lambda key: max(map(_opened, kept[key]))):
            if total <= MOST_KEPT:
                break
            for file in kept[key]:
                file.unlink(missing_ok=True)
            total -= sizes[key]
    for stray in place.glob(".new-*"):
        with suppress(OSError):
            if time.time() - stray.stat().st_mtime > 3600:
                shutil.rmtree(stray, ignore_errors=True)


def _values_of(card: Path) -> str:
    """Return what a card of data is about, ``data-<id>``; its own name if it cannot be read."""
    try:
        return Path(str(json.loads(card.read_text(encoding="utf-8"))["values"])).stem
    except (OSError, ValueError, KeyError, TypeError):
        return card.stem


def _n_bytes(file: Path) -> int:
    with suppress(FileNotFoundError):
        return file.stat().st_size
    return 0


def _opened(file: Path) -> float:
    with suppress(FileNotFoundError):
        return file.stat().st_mtime
    return 0.0
