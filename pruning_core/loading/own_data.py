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
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pruning_core.errors import DataError, PruningError
from pruning_core.loading.intake.contents import shortened
from pruning_core.loading.intake.safetensors_files import read_header
from pruning_core.loading.intake.sandbox import SANDBOX
from pruning_core.loading.intake.store import check_size, folder, make_room, publish
from pruning_core.loading.partition import divide
from pruning_core.loading.permitted import may_run
from pruning_core.loading.split import CALIBRATION_SAMPLES, Dataset, Split
from pruning_core.tasks import CLASSES
from pruning_core.tasks.registry import TASKS, Task

UPLOADED: Final = "upload:"
PYTHON: Final = "python:"
LANGUAGE: Final = "language_modelling"
_KEY: Final = re.compile(r"upload:[0-9a-f]{16}")
_SEED: Final = 2026
_SUFFIXES: Final = (".npz", ".zip", ".csv", ".gz", ".idx", ".npy", "ubyte", ".txt", ".md")
_TEXTS: Final = (".txt", ".md")


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
        task: Key of what is to be done with them.
        beginnings: Of the first pieces of a text in words; empty where its tokens are bytes.
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
    task: str = CLASSES
    beginnings: tuple[str, ...] = ()


def is_own(key: str) -> bool:
    """Tell whether an upload, a function or a file names a data set, and no built-in name."""
    named = key.lower().endswith(_SUFFIXES) or is_text(key)
    return key.startswith((UPLOADED, PYTHON)) or named


def is_text(key: str) -> bool:
    """Tell whether ``key`` names a file of text, with a tokeniser after an ``@`` or without."""
    own = not key.startswith((UPLOADED, PYTHON))
    return own and any(name.lower().endswith(_TEXTS) for name in (key, key.rpartition("@")[0]))


def own_task(key: str) -> str | None:
    """Return the task of one's own data where that is known without reading them."""
    if key.startswith(UPLOADED):
        return _card(key).task
    return LANGUAGE if is_text(key) else _named_task(key)[0]


def _named_task(key: str) -> tuple[str | None, str]:
    """Divide ``regression:prices.csv`` into the task, None where none is named, and the file."""
    task, colon, rest = key.partition(":")
    return (task, rest) if colon and task in TASKS else (None, key)


def take_in_data(
    files: Mapping[str, Path],
    shape: tuple[int, ...] | None = None,
    *,
    task: str | None = None,
    most_bytes: int | None = None,
) -> DataCard:
    """Read files of data in a limited process and return how they are going to be used.

    Args:
        files: Where each file lies, by the name it was given.
        shape: Shape of one input of the model they are for.
        task: Key of what is to be done with them; None finds out: masks are for segmentation, texts
            for language modelling, targets that are no whole numbers for regression.
        most_bytes: More than that is refused; None takes files of any size.

    Raises:
        DataError: If they are not opened; the sentence names the cause.
    """
    check_size(files, most_bytes)
    place = folder()
    total = hashlib.sha256(repr((shape, task) if task else shape).encode())
    for name in sorted(files):
        with files[name].open("rb") as stream:
            total.update(name.encode() + hashlib.file_digest(stream, "sha256").digest())
    values = f"data-{total.hexdigest()[:16]}.safetensors"
    with tempfile.TemporaryDirectory(dir=place, prefix=".new-") as room:
        target = Path(room) / values
        found = SANDBOX.ask("data", files, target, {"shape": shape, "task": task})
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
        task=found["task"],
        beginnings=tuple(found["beginnings"]),
    )


def keep_card(card: DataCard) -> str:
    """Keep how a file is read, and return the name of the data set: ``upload:<digest>``."""
    values = {name: getattr(card, name) for name in card.__slots__}
    if card.task == CLASSES:  # the names of older data stay what they are
        del values["task"]
    if not card.beginnings:
        del values["beginnings"]
    text = json.dumps(values, sort_keys=True, ensure_ascii=False)
    identifier = hashlib.sha256(text.encode()).hexdigest()[:16]
    place = folder()
    with tempfile.TemporaryDirectory(dir=place, prefix=".new-") as room:
        written = Path(room) / "card"
        written.write_text(text, encoding="utf-8")
        publish(written, place / f"card-{identifier}.json")
    return f"{UPLOADED}{identifier}"


def load_own(key: str, shape: tuple[int, ...] | None = None) -> Dataset:
    """Return the data set of an upload, a function ``python:package.module:name``, or a file.

    A file may have its task before it: ``regression:prices.csv``. ``shape`` is that of one input
    of the model, where the file shall be cut for it.

    Raises:
        DataError: If there is none, it cannot be read, or it would run code that may not run.
    """
    if key.startswith(UPLOADED):
        return _dataset(key, _card(key))
    if key.startswith(PYTHON):
        return _of_function(key)
    task, name = _named_task(key)
    return _dataset(key, take_in_data(_named_files(name), shape, task=task))


def _named_files(name: str) -> dict[str, Path]:
    """Return where the data lie: a file, or ``book.txt@tokenizer.json`` (or its folder)."""
    text, _, tokeniser = name.rpartition("@")
    if Path(name).is_file() or not is_text(text):
        paths = [Path(name)]
    else:
        paths = [Path(text), Path(tokeniser)]
        if paths[1].is_dir():
            paths[1] /= "tokenizer.json"
    for path in paths:
        if not path.is_file():
            raise DataError(f"There is no data file '{shortened(str(path), 100)}'.")
    return {path.name: path for path in paths}


def _card(key: str) -> DataCard:
    path = folder() / f"card-{key.removeprefix(UPLOADED)}.json"
    try:
        path = path if _KEY.fullmatch(key) else Path()
        found = json.loads(path.read_text(encoding="utf-8"))
        names = ("shape", "classes", "shares", "notes", "beginnings")
        lists = {name: tuple(found[name]) for name in names if name in found}
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
    parts = _parts(splits, card.shares, TASKS[card.task])
    task = TASKS[card.task].fitted(parts["train"][1])
    made = {
        name: Split(inputs, labels, card.scale, card.mean, card.std, task, tokens=task.reads_tokens)
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


def _parts(splits: Mapping[str, Pair], shares: Sequence[float], task: Task) -> dict[str, Pair]:
    """Return train, validation and test, divided by the file or balanced over the classes.

    Pieces of a text stay in their order, so that what is measured is not between what is learnt.
    """
    own = {part: pair for part, pair in splits.items() if part != "test."} or splits
    if not own:
        raise DataError("The data have no training samples.")
    inputs, labels = next(iter(own.values()))
    test = None if own is splits else splits.get("test.")
    held = _held(len(labels), shares, has_test=test is not None)
    # What is measured on is taken first, so that it is balanced; training gets the rest.
    places = _places(labels, (*held, len(labels) - sum(held)), task)
    *others, train = ((inputs[place], labels[place]) for place in map(torch.from_numpy, places))
    if test is not None:
        others.append(test)
    return dict(zip(("train", "validation", "test"), (train, *others), strict=True))


def _places(labels: Tensor, sizes: Sequence[int], task: Task) -> list[NDArray[np.int64]]:
    """Return which samples each part gets; the last part is for training."""
    n = len(labels)
    if task.counts_classes:
        return [*divide(labels.numpy(), sizes, _SEED)]
    if not task.reads_tokens:
        return [*divide(np.zeros(n, np.int64), sizes, _SEED)]
    n_train = sizes[-1]
    ends = np.cumsum([n_train, *sizes[:-1]])
    return [*(np.arange(*pair) for pair in pairwise(ends)), np.arange(n_train)]


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


def _task_of_arrays(key: str, inputs: Tensor, labels: Tensor, named: str | None) -> Task:
    """Return the task that is named, or else the one that the shape of the targets tells.

    Raises:
        UnknownNameError: If there is no task of that name.
        DataError: If inputs and targets are of no task.
    """
    whole = not labels.is_floating_point()
    tokens = not inputs.is_floating_point() and inputs.ndim == 2
    if named is None:
        named = CLASSES if whole else "regression"
        if whole and labels.ndim == 3:
            named = "segmentation"
        elif whole and tokens and labels.shape == inputs.shape:
            named = LANGUAGE
    task = TASKS[named]
    fits = {
        CLASSES: labels.ndim == 1 and whole,
        "regression": labels.ndim in (1, 2),
        "segmentation": labels.ndim == 3 and whole and labels.shape[1:] == inputs.shape[-2:],
        LANGUAGE: tokens and whole and labels.shape == inputs.shape,
    }
    if len(inputs) != len(labels) or not fits.get(named, True):
        raise DataError(
            f"'{shortened(key)}' returned inputs {list(inputs.shape)} and targets "
            f"{list(labels.shape)} ({labels.dtype}), which are not those of {task.title.lower()}: "
            f"{task.targets}"
        )
    return task


def _of_arrays(key: str, made: object) -> Dataset:
    if not isinstance(made, tuple) or len(made) not in {2, 3}:
        raise DataError(
            f"'{shortened(key)}' returned a {type(made).__name__}; it must return a Dataset, or "
            "inputs, targets and (if you like) names of classes or the name of a task."
        )
    inputs = torch.as_tensor(np.asarray(made[0]) if not isinstance(made[0], Tensor) else made[0])
    labels = torch.as_tensor(np.asarray(made[1]) if not isinstance(made[1], Tensor) else made[1])
    named = made[2] if len(made) == 3 and isinstance(made[2], str) else None
    task = _task_of_arrays(key, inputs, labels, named)
    names = tuple(map(str, made[2])) if len(made) == 3 and named is None else ()
    labels = labels.long() if task.has_classes else labels.float().reshape(len(labels), -1)
    parts = _parts({"": (inputs, labels)}, (0.7, 0.15, 0.15), task)
    task = task.fitted(parts["train"][1])
    splits = {
        name: Split(x, y, 1.0, 0.0, 1.0, task, task.reads_tokens) for name, (x, y) in parts.items()
    }
    if not names and task.has_classes and not task.reads_tokens:
        names = tuple(str(number) for number in range(int(labels.max()) + 1))
    return Dataset(
        key=key,
        title=key.removeprefix(PYTHON),
        classes=names,
        source="own function",
        licence="your own",
        train=splits["train"],
        validation=splits["validation"],
        test=splits["test"],
        calibration=splits["train"].first(CALIBRATION_SAMPLES),
        input_shape=tuple(inputs.shape[1:]),
    )
