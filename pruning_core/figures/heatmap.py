"""Where in a layer the important values are, as a picture of at most 256 x 256 cells."""

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from pruning_core.figures import numbers
from pruning_core.figures.canvas import Caption, finish
from pruning_core.figures.palette import SEQUENTIAL, Palette

CELLS = 128


def pool_max(matrix: NDArray[np.float32], cells: int = CELLS) -> NDArray[np.float32]:
    """Shrink ``[R, C]`` to at most ``cells`` a side; a cell is the exact maximum of its block."""
    rows, columns = (starts_of(length, cells) for length in matrix.shape)
    ends = np.append(rows[1:], len(matrix))
    pooled = np.empty((len(rows), matrix.shape[1]), np.float32)
    for row, start, end in zip(pooled, rows, ends, strict=True):
        matrix[start:end].max(axis=0, out=row)  # many times faster than reduceat along axis 0
    result: NDArray[np.float32] = np.maximum.reduceat(pooled, columns, axis=1)
    return result


def pool_share(removed: NDArray[np.bool_], cells: int = CELLS) -> NDArray[np.float32]:
    """Return the True share of each block of ``[R, C]``, on the grid of :func:`pool_max`."""
    rows, columns = (starts_of(length, cells) for length in removed.shape)
    ends = np.append(rows[1:], len(removed))
    sums = np.empty((len(rows), removed.shape[1]), np.int64)
    for row, start, end in zip(sums, rows, ends, strict=True):
        removed[start:end].sum(axis=0, out=row)
    heights = ends - rows
    widths = np.diff(np.append(columns, removed.shape[1]))
    blocks = np.add.reduceat(sums, columns, axis=1)
    shares: NDArray[np.float32] = (blocks / (heights[:, None] * widths)).astype(np.float32)
    return shares


def pool_mean(values: NDArray[np.float64], cells: int = CELLS) -> NDArray[np.float32]:
    """Return the mean of each block of ``[L]``, on the grid of :func:`pool_max`."""
    starts = starts_of(len(values), cells)
    widths = np.diff(np.append(starts, len(values)))
    means: NDArray[np.float32] = (np.add.reduceat(values, starts) / widths).astype(np.float32)
    return means


def importance_heatmap(
    matrix: NDArray[np.float32],
    colours: Palette,
    *,
    layer: str,
    value: str,
    removed: NDArray[np.bool_] | None = None,
    height: int = 340,
) -> go.Figure:
    """Draw ``[out, in]`` values; what leaves is blanked, whole rows and columns are crossed out.

    Args:
        matrix: Pooled here (block maximum) when larger than 128 a side.
        colours: Palette of the page.
        layer: Name of the layer.
        value: What a cell shows, e.g. ``|w|``.
        removed: ``[out, in]``, True where the plan takes the weight away.
        height: In pixels.
    """
    pooled = pool_max(matrix)
    y, x = (_centres(length) for length in matrix.shape)
    scale = {"title": {"text": value, "side": "right"}, "thickness": 12, "outlinewidth": 0}
    figure = go.Figure(
        go.Heatmap(
            z=pooled,
            x=x,
            y=y,
            colorscale=SEQUENTIAL,
            colorbar=scale,
            hovertemplate="output %{y:.0f}, input %{x:.0f}<br>%{z:.4g}<extra></extra>",
        )
    )
    if removed is not None and removed.any():
        _cover(figure, removed, x, y, colours)
    size = f"{matrix.shape[0]} outputs by {matrix.shape[1]} inputs"
    note = "" if pooled.shape == matrix.shape else " (a cell is the largest of its block)"
    return finish(
        figure,
        colours,
        Caption(finding(matrix, removed, value), f"Heatmap of {value} in layer {layer}, {size}"),
        height=height,
        x={"title": {"text": f"input{note}"}, "showgrid": False},
        y={"title": {"text": "output"}, "showgrid": False, "autorange": "reversed"},
    )


def _cover(
    figure: go.Figure,
    removed: NDArray[np.bool_],
    x: NDArray[np.float32],
    y: NDArray[np.float32],
    colours: Palette,
) -> None:
    """Blank what leaves, and set a cross beside every row and column that leaves whole."""
    share = pool_share(removed)
    figure.add_heatmap(
        z=share,
        x=x,
        y=y,
        showscale=False,
        zmin=0,
        zmax=1,
        colorscale=[[0, "rgba(0,0,0,0)"], [1, colours.background]],
        opacity=0.93,
        hoverinfo="skip",
    )
    rows, columns = (share == 1).all(axis=1), (share == 1).all(axis=0)
    step_x, step_y = (float(np.diff(axis).mean()) if axis.size > 1 else 1.0 for axis in (x, y))
    marker = {"symbol": "x", "size": 5, "color": colours.pruned, "line": {"width": 0}}
    for along_x, along_y in (
        (np.full(int(rows.sum()), x[0] - step_x, np.float32), y[rows]),
        (x[columns], np.full(int(columns.sum()), y[0] - step_y, np.float32)),
    ):
        if along_x.size:
            figure.add_scatter(
                x=along_x, y=along_y, mode="markers", marker=marker, hoverinfo="skip"
            )


def finding(matrix: NDArray[np.float32], removed: NDArray[np.bool_] | None, value: str) -> str:
    """Say in a sentence what leaves; without anything removed, where the largest value is."""
    if removed is not None and removed.any():
        parts = [
            f"{int(whole.sum())} of {whole.size} {word}"
            for whole, word in (
                (removed.all(axis=1), "outputs"),
                (removed.all(axis=0), "inputs"),
            )
            if whole.any()
        ]
        share = numbers.percent(np.count_nonzero(removed) / removed.size)
        return f"{share} of the weights leave" + (f": {' and '.join(parts)}" if parts else "")
    row, column = np.unravel_index(int(matrix.argmax()), matrix.shape)
    largest = numbers.significant(float(matrix[row, column]), 3)
    return f"Largest {value} is {largest}, at output {row}, input {column}"


def starts_of(length: int, cells: int) -> NDArray[np.intp]:
    """Return where each of at most ``cells`` blocks of ``length`` begins."""
    n_blocks = min(length, cells)
    return np.floor(np.arange(n_blocks) * length / n_blocks).astype(np.intp)


def _centres(length: int) -> NDArray[np.float32]:
    """Return the index in the middle of each block."""
    starts = starts_of(length, CELLS)
    ends = np.append(starts[1:], length)
    centres: NDArray[np.float32] = ((starts + ends - 1) / 2).astype(np.float32)
    return centres
