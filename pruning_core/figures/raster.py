"""A matrix as a small raster for quick pictures: the numbers of a heatmap without its drawing."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pruning_core.figures import numbers
from pruning_core.figures.heatmap import CELLS, finding, pool_max, pool_mean, pool_share, starts_of

CELLS_ENLARGED: Final = 256
_SMALLEST: Final = 4
Span = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Window:
    """The part of an arranged matrix that is looked at.

    Attributes:
        rows: First row and the one after the last.
        columns: First column and the one after the last.
    """

    rows: Span
    columns: Span

    @classmethod
    def within(cls, shape: tuple[int, int], rows: Span, columns: Span) -> "Window":
        """Return the window nearest to what was asked for that lies in a matrix of ``shape``."""
        return cls(_inside(rows, shape[0]), _inside(columns, shape[1]))

    @classmethod
    def whole(cls, shape: tuple[int, int]) -> "Window":
        """Return the window that shows everything."""
        return cls((0, shape[0]), (0, shape[1]))


@dataclass(frozen=True, slots=True, eq=False)
class Raster:
    """What a picture of a matrix ``[out, in]`` shows, before anything leaves.

    Attributes:
        cells: ``[R, C]``; each is the exact value of largest magnitude in its block.
        row_sums: ``[R]`` mean over the block of the sums of magnitudes of whole rows.
        column_sums: ``[C]`` the same of columns.
        shape: ``(out, in)`` of the whole matrix.
        window: What is shown of it.
        title: Where the largest value is, in a sentence.
    """

    cells: NDArray[np.float32]
    row_sums: NDArray[np.float32]
    column_sums: NDArray[np.float32]
    shape: tuple[int, int]
    window: Window
    title: str

    @property
    def is_pooled(self) -> bool:
        """True when a cell stands for several values."""
        (top, bottom), (left, right) = self.window.rows, self.window.columns
        return self.cells.shape != (bottom - top, right - left)


@dataclass(frozen=True, slots=True, eq=False)
class Arrangement:
    """In which order rows and columns are drawn; None leaves them as they are."""

    rows: NDArray[np.int64] | None = None
    columns: NDArray[np.int64] | None = None

    def cut(self, matrix: NDArray[np.generic], window: Window) -> NDArray[np.generic]:
        """Return the part of ``matrix`` that a window shows."""
        rows, columns = slice(*window.rows), slice(*window.columns)
        some = matrix[rows] if self.rows is None else matrix[self.rows[rows]]
        return some[:, columns] if self.columns is None else some[:, self.columns[columns]]


_AS_STORED: Final = Arrangement()


def rasterise(
    matrix: NDArray[np.float32],
    value: str,
    arrangement: Arrangement = _AS_STORED,
    window: Window | None = None,
) -> Raster:
    """Return the raster of ``matrix``.

    Args:
        matrix: ``[out, in]``.
        value: What a cell is, e.g. ``|w|``.
        arrangement: Order of rows and columns.
        window: What to show; None shows everything, at most 128 cells a side, else at most 256.
    """
    shape = (matrix.shape[0], matrix.shape[1])
    seen = window or Window.whole(shape)
    cells = _n_cells(seen, shape)
    part = arrangement.cut(matrix, seen).astype(np.float32, copy=False)
    pooled, sizes = pool_max(part, cells), matrix
    if matrix.min() < 0:
        lowest, sizes = -pool_max(-part, cells), np.abs(matrix)
        pooled = np.where(-lowest > np.abs(pooled), lowest, pooled)
    row_sums, column_sums = (sizes.sum(axis=axis, dtype=np.float64) for axis in (1, 0))
    return Raster(
        pooled,
        pool_mean(_some(row_sums, arrangement.rows, seen.rows), cells),
        pool_mean(_some(column_sums, arrangement.columns, seen.columns), cells),
        shape,
        seen,
        finding(sizes, None, value),
    )


def rasterise_pieces(
    parts: Iterable[tuple[int, int, NDArray[np.float32]]],
    shape: tuple[int, int],
    cells: int = CELLS_ENLARGED,
) -> Raster:
    """Return the raster of the magnitudes of a matrix that comes in parts and is never held whole.

    Values that are no number count as zero.

    Args:
        parts: ``(row, column, values)`` of parts that together cover the matrix once.
        shape: ``(out, in)`` of the matrix.
        cells: At most so many a side.
    """
    rows, columns = (starts_of(length, cells) for length in shape)
    pooled = np.zeros((len(rows), len(columns)), np.float32)
    sums = np.zeros(len(rows)), np.zeros(len(columns))
    largest, where = -1.0, (0, 0)
    for row, column, values in parts:
        sizes = np.nan_to_num(np.abs(values), nan=0.0, posinf=0.0)
        top, left = (
            int(np.searchsorted(x, at, "right")) - 1 for x, at in ((rows, row), (columns, column))
        )
        inner_rows = _inner(rows, top, row, sizes.shape[0])
        inner_columns = _inner(columns, left, column, sizes.shape[1])
        bottom, right = top + len(inner_rows), left + len(inner_columns)
        by_columns = np.maximum.reduceat(sizes, inner_columns, axis=1)
        part = pooled[top:bottom, left:right]
        np.maximum(part, np.maximum.reduceat(by_columns, inner_rows, axis=0), out=part)
        total_columns = np.add.reduceat(sizes, inner_columns, axis=1, dtype=np.float64)
        sums[0][top:bottom] += np.add.reduceat(total_columns.sum(axis=1), inner_rows)
        sums[1][left:right] += total_columns.sum(axis=0)
        place = int(sizes.argmax())
        if sizes.flat[place] > largest:
            largest = float(sizes.flat[place])
            where = row + place // sizes.shape[1], column + place % sizes.shape[1]
    heights, widths = (
        np.diff(np.append(starts, length))
        for starts, length in zip((rows, columns), shape, strict=True)
    )
    return Raster(
        pooled,
        (sums[0] / heights).astype(np.float32),
        (sums[1] / widths).astype(np.float32),
        shape,
        Window.whole(shape),
        f"Largest |w| is {numbers.significant(largest, 3)}, at output {where[0]}, input {where[1]}",
    )


def _inner(starts: NDArray[np.intp], first: int, at: int, length: int) -> NDArray[np.intp]:
    """Return where blocks begin within a part that lies from ``at`` on, in the block ``first``."""
    last = int(np.searchsorted(starts, at + length, "left"))
    inner: NDArray[np.intp] = np.maximum(starts[first:last] - at, 0)
    return inner


def covered(
    removed: NDArray[np.bool_],
    arrangement: Arrangement = _AS_STORED,
    window: Window | None = None,
) -> NDArray[np.uint8] | None:
    """Return ``[R, C]``, 0 (all of a block stays) to 255 (all of it leaves); None if nothing does.

    Args:
        removed: ``[out, in]``, True where the value leaves.
        arrangement: As for :func:`rasterise`.
        window: As for :func:`rasterise`.
    """
    if not removed.any():
        return None
    shape = (removed.shape[0], removed.shape[1])
    seen = window or Window.whole(shape)
    part = arrangement.cut(removed, seen).astype(np.bool_, copy=False)
    share = pool_share(part, _n_cells(seen, shape))
    return np.where(share == 1, 255, np.minimum(np.ceil(254 * share), 254)).astype(np.uint8)


def _some(
    sums: NDArray[np.float64], order: NDArray[np.int64] | None, span: Span
) -> NDArray[np.float64]:
    return sums[slice(*span)] if order is None else sums[order[slice(*span)]]


def _n_cells(window: Window, shape: tuple[int, int]) -> int:
    return CELLS if window == Window.whole(shape) else CELLS_ENLARGED


def _inside(span: Span, size: int) -> Span:
    length = min(max(span[1] - span[0], _SMALLEST), size)
    start = min(max(span[0], 0), size - length)
    return start, start + length
