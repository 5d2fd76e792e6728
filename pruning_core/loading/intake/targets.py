"""Targets of strangers that are no classes: values to predict, and a class for every pixel.

Runs in the limited child.
"""

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from pruning_core.loading.intake.contents import RefusedFileError, shortened
from pruning_core.tasks import CLASSES
from pruning_core.tasks.registry import TASKS
from pruning_core.tasks.task import IGNORED

_MOST_TARGETS: Final = 1_000
_MOST_CLASSES: Final = 1_000
_VOID: Final = 255

Array = NDArray[Any]


def kind_of(targets: Mapping[str, Array]) -> str:
    """Return the task that targets are of, by split; where several are possible, classification.

    Masks have an axis for height and one for width; values to predict are no whole numbers.
    """
    first = next(iter(targets.values()))
    if first.ndim == 3 and first.dtype.kind in "iub":
        return "segmentation"
    if any(_has_fractions(own) for own in targets.values()):
        return "regression"
    return CLASSES


def as_targets(targets: Mapping[str, Array], task: str) -> tuple[dict[str, Array], list[str]]:
    """Return targets as they are stored, by split, and what a reader should know.

    Args:
        targets: As they were read.
        task: Key of any task but classification.

    Raises:
        RefusedFileError: If they are not of that task.
    """
    if TASKS[task].moves_with_pixels:
        return _masks(targets)
    if TASKS[task].reads_tokens:
        return {split: _tokens(own) for split, own in targets.items()}, []
    return {split: _values(own) for split, own in targets.items()}, []


def _has_fractions(targets: Array) -> bool:
    if targets.dtype.kind in "SU" and targets.ndim == 1:
        try:
            targets = targets.astype(np.float64)
        except ValueError:
            return False
    if targets.dtype.kind != "f" or targets.ndim not in (1, 2):
        return False
    if targets.ndim == 2 and np.allclose(targets.sum(axis=1), 1):
        return False  # shares of classes, of which there is no loss here
    finite = targets[np.isfinite(targets)]
    return bool((finite != np.floor(finite)).any())


def _values(targets: Array) -> Array:
    """Return values to predict as float32 ``[N, k]``."""
    if targets.dtype.kind in "SU":
        try:
            targets = targets.astype(np.float64)
        except ValueError:
            wrong = next(str(x) for x in targets.ravel().tolist() if not _is_number(str(x)))
            raise RefusedFileError(
                f"The target '{shortened(wrong, 40)}' is no number; regression predicts numbers."
            ) from None
    if targets.dtype.kind not in "iufb" or targets.ndim not in (1, 2) or not targets.size:
        raise RefusedFileError(
            f"The targets have the shape {list(targets.shape)[:4]} and type {targets.dtype}; "
            "regression needs one number a sample, or several."
        )
    values = np.asarray(targets, np.float32).reshape(len(targets), -1)
    if values.shape[1] > _MOST_TARGETS:
        raise RefusedFileError(
            f"Each sample has {values.shape[1]:,} targets; at most {_MOST_TARGETS:,} are read."
        )
    wrong_rows = ~np.isfinite(values).all(axis=1)
    if wrong_rows.any():
        raise RefusedFileError(
            f"{int(wrong_rows.sum()):,} targets are NaN, infinite or too large, the first is "
            f"number {int(wrong_rows.argmax())}. Take these samples out."
        )
    return values


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _masks(targets: Mapping[str, Array]) -> tuple[dict[str, Array], list[str]]:
    """Return masks as int16 ``[N, H, W]``; 255 and negative numbers mark what counts for nothing.

    Masks of nothing but 0 and 255 are black and white: two classes.
    """
    for own in targets.values():
        if own.dtype.kind not in "iub" or own.ndim not in (3, 4):
            raise RefusedFileError(
                f"The masks have the shape {list(own.shape)[:4]} and type {own.dtype}; each needs "
                "whole numbers (height, width)."
            )
        if own.ndim == 4 and own.shape[1] != 1:
            raise RefusedFileError(
                f"The masks have the shape {list(own.shape)}; each needs one number for a pixel, "
                "its class."
            )
    flat = {split: own[:, 0] if own.ndim == 4 else own for split, own in targets.items()}
    known = np.unique(np.concatenate([np.unique(own) for own in flat.values()]).astype(np.int64))
    notes = []
    black_and_white = known.tolist() == [0, _VOID]
    voids = known[(known < 0) | (known == _VOID)]
    if black_and_white:
        notes.append("The masks are black and white: 255 is read as class 1.")
    elif voids.size:
        notes.append(f"Pixels of {', '.join(map(str, voids[:3].tolist()))} count for nothing.")
    classes = known[(known >= 0) & (known != _VOID)]
    if not classes.size or int(classes.max()) > _MOST_CLASSES:
        raise RefusedFileError(
            f"The masks hold the class {int(known.max()):,}; classes are numbered from 0 to at "
            f"most {_MOST_CLASSES:,}."
        )
    found = {}
    for split, own in flat.items():
        numbers = own.astype(np.int16)
        if black_and_white:
            numbers = (numbers > 0).astype(np.int16)
        else:
            numbers[(own < 0) | (own == _VOID)] = IGNORED
        found[split] = numbers
    return found, notes


def _tokens(targets: Array) -> Array:
    """Return the tokens that follow as int64 ``[N, T]``."""
    if targets.dtype.kind not in "iu" or targets.ndim != 2:
        raise RefusedFileError(
            f"The targets have the shape {list(targets.shape)[:4]} and type {targets.dtype}; "
            "language modelling needs the next token at every place."
        )
    return targets.astype(np.int64)
