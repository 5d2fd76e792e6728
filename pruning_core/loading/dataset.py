"""Data sets by name."""

import os
from functools import lru_cache
from pathlib import Path

from pruning_core.errors import DataError
from pruning_core.loading.datasets import DATASETS
from pruning_core.loading.own_data import is_own, is_text, load_own, own_task
from pruning_core.loading.split import Dataset, DatasetEntry, Source, Split
from pruning_core.tasks.registry import CLASSIFICATION, TASKS, Task

__all__ = [
    "DATASETS",
    "DATA_FOLDER_VARIABLE",
    "Dataset",
    "DatasetEntry",
    "Split",
    "load_dataset",
    "task_of",
]

DATA_FOLDER_VARIABLE = "PRUNING_STUDIO_DATA"


def load_dataset(
    key: str,
    *,
    folder: Path | None = None,
    source: Source = "auto",
    input_shape: tuple[int, ...] | None = None,
) -> Dataset:
    """Return the data set ``key``: the full set where there is one, otherwise the bundled subset.

    A set is read once and then shared; treat its tensors as read-only.

    Args:
        key: A name in ``DATASETS``; ``upload:...`` of a page, ``python:package.module:function``,
            or a file (.npz, .zip, .csv, .txt), which may have a task before it, e.g.
            ``regression:prices.csv``.
        folder: Where the files of the full set lie; None means the folder named by the
            environment variable ``PRUNING_STUDIO_DATA``, then the place of the system's package.
        source: ``bundled`` reads the bundled subset even where the full set is installed.
        input_shape: Of the model they are for: a text is cut into pieces of that many tokens.

    Raises:
        UnknownNameError: If there is no such data set.
        DataError: If the folder does not exist or a file in it is damaged.
    """
    if is_own(key):
        return _load_own(key, input_shape if is_text(key) else None)
    entry = DATASETS[key]
    if source == "bundled":
        return _load(entry.key, None, source)
    named = os.environ.get(DATA_FOLDER_VARIABLE)
    if folder is None and named:
        folder = Path(named)
    if folder is not None and not folder.is_dir():
        raise DataError(
            f"The data folder '{folder}' does not exist. Name an existing folder, or none to use "
            "the bundled subset."
        )
    return _load(entry.key, folder.resolve() if folder else None, source)


def task_of(key: str | None) -> Task:
    """Return the task of the data set ``key`` without its parameters; of none classification.

    Raises:
        UnknownNameError: If there is no such data set.
        DataError: If it cannot be read.
    """
    if key is None:
        return CLASSIFICATION
    if not is_own(key):
        return TASKS[DATASETS[key].task]
    known = own_task(key)
    return load_dataset(key).task if known is None else TASKS[known]


@lru_cache(maxsize=4)
def _load_own(key: str, input_shape: tuple[int, ...] | None) -> Dataset:
    return load_own(key, input_shape)


@lru_cache(maxsize=4)
def _load(key: str, folder: Path | None, source: Source) -> Dataset:
    return DATASETS[key].load(folder, source)
