"""Data sets that are not built in: files kept by digest, and functions of the user's own."""

import hashlib
import importlib
import json
import os
import re
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import reduce
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from pruning_core.errors import DataError, PruningError
from pruning_core.loading.intake.contents import shortened
from pruning_core.loading.intake.safetensors_files import read_header
from pruning_core.loading.intake.sandbox import SANDBOX
from pruning_core.loading.intake.store import check_size, folder, make_room, publish
from pruning_core.loading.partition import divide
from pruning_core.loading.permitted import may_run
from pruning_core.loading.split import CALIBRATION_SAMPLES, Dataset, Split

UPLOADED: Final = "upload:"
PYTHON: Final = "python:"
_KEY: Final = re.compile(r"upload:[0-9a-f]{16}")
_SEED: Final = 2026
_SUFFIXES: Final = (".npz", ".zip", ".csv", ".gz", ".idx", ".npy", "ubyte")


@dataclass(frozen=True, slots=True)
class DataCard:
    """How a file of data is read; its digest is the name of the data set.

    Attributes:
        title: Name of the file.
        values: Name of the file kept with inputs and labels.
        shape: Of one sample.
        classes: Names of the classes.
        scale: What stored values are divided by.
        mean: Mean of the scaled values.
        std: Their standard deviation.
        shares: Of training, validation and test; those the file divides itself are kept.
        sizes: Samples by split of the file.
        notes: What a reader should know.
    """

    title: str
    values: str
    shape: tuple[int, ...]
    classes: tuple[str, ...]
    scale: float
    mean: float
    std: float
    shares: tuple[float, float, float] = (0.7, 0.15, 0.15)
    sizes: Mapping[str, int] | None = None
    notes: tuple[str, ...] = ()


def is_own(key: str) -> bool:
    """Tell whether an upload, a function or a file names a data set, and no built-in name."""
    return key.startswith((UPLOADED, PYTHON)) or key.lower().endswith(_SUFFIXES)


def take_in_data(
    files: Mapping[str, Path],
    shape: tuple[int, ...] | None = None,
    *,
    most_bytes: int | None = None,
) -> DataCard:
    """Read files of data in a limited process and return how they are going to be used.

    Args:
        files: Where each file lies, by the name it was given.
        shape: Shape of one input of the model they are for.
        most_bytes: More than that is refused; None takes files of any size.

    Raises:
        DataError: If they are not opened; the sentence names the cause.
    """
    check_size(files, most_bytes)
    place = folder()
    total = hashlib.sha256(repr(shape).encode())
    for name in sorted(files):
        with files[name].open("rb") as stream:
            total.update(name.encode() + hashlib.file_digest(stream, "sha256").digest())
    values = f"data-{total.hexdigest()[:16]}.safetensors"
    with tempfile.TemporaryDirectory(dir=place, prefix=".new-") as room:
        target = Path(room) / values
        found = SANDBOX.ask("data", files, target, {"shape": shape})
        publish(target, place / values)
    make_room(place, Path(values).stem)
    return DataCard(
        title=shortened(" + ".join(sorted(files)), 80),
        values=values,
        shape=tuple(found["shape"]),
        classes=tuple(found["classes"]),
        scale=found["scale"],
        mean=found["mean"],
        std=found["std"],
        sizes=found["sizes"],
        notes=(*found["warnings"], *found["notes"]),
    )


def keep_card(card: DataCard) -> str:
    """Keep how a file is read, and return the name of the data set: ``upload:<digest>``."""
    text = json.dumps(
        {name: getattr(card, name) for name in card.__slots__}, sort_keys=True, ensure_ascii=False
    )
    identifier = hashlib.sha256(text.encode()).hexdigest()[:16]
    place = folder()
    with tempfile.TemporaryDirectory(dir=place, prefix=".new-") as room:
        written = Path(room) / "card"
        written.write_text(text, encoding="utf-8")
        publish(written, place / f"card-{identifier}.json")
    return f"{UPLOADED}{identifier}"


def load_own(key: str) -> Dataset:
    """Return the data set of an upload, a function ``python:package.module:name``, or a file.

    Raises:
        DataError: If there is none, it cannot be read, or it would run code that may not run.
    """
    if key.startswith(UPLOADED):
        return _dataset(key, _card(key))
    if key.startswith(PYTHON):
        return _of_function(key)
    path = Path(key)
    if not path.is_file():
        raise DataError(f"There is no data file '{shortened(key, 100)}'.")
    return _dataset(key, take_in_data({path.name: path}))


def _card(key: str) -> DataCard:
    path = folder() / f"card-{key.removeprefix(UPLOADED)}.json"
    try:
        path = path if _KEY.fullmatch(key) else Path()
        found = json.loads(path.read_text(encoding="utf-8"))
        lists = {name: tuple(found[name]) for name in ("shape", "classes", "shares", "notes")}
        return DataCard(**found | lists)
    except (OSError, ValueError, TypeError, KeyError):
        raise DataError(
            f"No uploaded data are called '{shortened(key, 60)}' on this machine. Upload them "
            "again."
        ) from None


def _tensors(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise DataError("The values of these data are not there any more. Upload the file again.")
    with suppress(OSError):
        os.utime(path)  # used just now: it goes last
    return {name: stored.read() for name, stored in read_header(path)[0].items()}


def _dataset(key: str, card: DataCard) -> Dataset:
    tensors = _tensors(folder() / card.values)
    splits = {
        part: (tensors[f"{part}inputs"], tensors[f"{part}labels"])
        for part in ("", "train.", "test.")
        if f"{part}inputs" in tensors
    }
    parts = _parts(splits, card.shares)
    made = {
        name: Split(inputs, labels, card.scale, card.mean, card.std)
        for name, (inputs, labels) in parts.items()
    }
    return Dataset(
        key=key,
        title=card.title,
        classes=card.classes,
        source="own file",
        licence="your own",
        train=made["train"],
        validation=made["validation"],
        test=made["test"],
        calibration=made["train"].first(CALIBRATION_SAMPLES),
        input_shape=card.shape,
    )


Pair = tuple[Tensor, Tensor]


def _parts(splits: Mapping[str, Pair], shares: Sequence[float]) -> dict[str, Pair]:
    """Return train, validation and test, divided by the file or balanced over the classes."""
    own = {part: pair for part, pair in splits.items() if part != "test."} or splits
    if not own:
        raise DataError("The data have no training samples.")
    inputs, labels = next(iter(own.values()))
    test = None if own is splits else splits.get("test.")
    held = _held(len(labels), shares, has_test=test is not None)
    # What is measured on is taken first, so that it is balanced; training gets the rest.
    places = divide(labels.numpy(), (*held, len(labels) - sum(held)), _SEED)
    *others, train = ((inputs[place], labels[place]) for place in map(torch.from_numpy, places))
    if test is not None:
        others.append(test)
    return dict(zip(("train", "validation", "test"), (train, *others), strict=True))


def split_sizes(card: DataCard) -> tuple[int, int, int]:
    """Return how many samples training, validation and test will have."""
    sizes = card.sizes or {}
    own = [n for part, n in sizes.items() if part != "test."] or list(sizes.values())
    has_test = "test." in sizes and len(sizes) > 1
    held = _held(own[0], card.shares, has_test=has_test)
    test = sizes["test."] if has_test else held[-1]
    return own[0] - sum(held), held[0], test


def _held(n: int, shares: Sequence[float], *, has_test: bool) -> list[int]:
    """Return how many of ``n`` are for validation, and for test unless the file has some."""
    wanted = [shares[1] / (shares[0] + shares[1])] if has_test else shares[1:]
    held = [max(1, int(share * n)) for share in wanted]
    if n <= sum(held):
        raise DataError(f"There are {n} samples; training, validation and test need one each.")
    return held


def _of_function(key: str) -> Dataset:
    """Return what ``python:package.module:name`` makes: a Dataset, or inputs and labels."""
    if not may_run(key):
        raise DataError(
            f"The data '{shortened(key)}' run code when they are loaded: only whoever starts the "
            "server can offer them (--data)."
        )
    module_name, _, attribute = key.removeprefix(PYTHON).partition(":")
    try:
        function: Any = reduce(getattr, attribute.split("."), importlib.import_module(module_name))
        made = function() if callable(function) else function
    except PruningError:
        raise
    except (Exception, SystemExit) as error:
        reason = " ".join(str(error).split())[:160]
        raise DataError(
            f"The data '{shortened(key)}' cannot be made: {type(error).__name__}: {reason}. Name "
            "a function without arguments, and its folder in PYTHONPATH."
        ) from error
    if isinstance(made, Dataset):
        return replace(made, key=key)
    return _of_arrays(key, made)


def _of_arrays(key: str, made: object) -> Dataset:
    if not isinstance(made, tuple) or len(made) not in {2, 3}:
        raise DataError(
            f"'{shortened(key)}' returned a {type(made).__name__}; it must return a Dataset, or "
            "inputs, labels and (if you like) names of classes."
        )
    inputs = torch.as_tensor(np.asarray(made[0]) if not isinstance(made[0], Tensor) else made[0])
    labels = torch.as_tensor(np.asarray(made[1]) if not isinstance(made[1], Tensor) else made[1])
    if len(inputs) != len(labels) or labels.ndim != 1 or labels.is_floating_point():
        raise DataError(
            f"'{shortened(key)}' returned inputs {list(inputs.shape)} and labels "
            f"{list(labels.shape)} ({labels.dtype}); each input needs one whole number."
        )
    names = tuple(map(str, made[2])) if len(made) == 3 else ()
    parts = _parts({"": (inputs, labels.long())}, (0.7, 0.15, 0.15))
    splits = {name: Split(x, y, 1.0, 0.0, 1.0) for name, (x, y) in parts.items()}
    return Dataset(
        key=key,
        title=key.removeprefix(PYTHON),
        classes=names or tuple(str(number) for number in range(int(labels.max()) + 1)),
        source="own function",
        licence="your own",
        train=splits["train"],
        validation=splits["validation"],
        test=splits["test"],
        calibration=splits["train"].first(CALIBRATION_SAMPLES),
        input_shape=tuple(inputs.shape[1:]),
    )
