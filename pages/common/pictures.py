"""Quick pictures of one layer, and the same enlarged: zoom, values under the pointer, numbers."""

import base64
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import streamlit as st

from pages.common import charts
from pages.common.components import mount_heatmap, mount_threshold

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pruning_core.figures.raster import Raster

_RUG_AT_MOST = 512


def heatmap(values: "NDArray[np.float32]", *, key: str, layer: str, value: str) -> None:
    """Draw ``[out, in]`` values on a canvas that changes in place, and a button to enlarge it."""
    from pruning_core.figures.raster import rasterise

    raster = rasterise(values, value)
    data = raster_data(raster, None, layer=layer, value=value, title=raster.title)
    mount_heatmap(key=key, data=data | {"height": 300})
    if st.button("Enlarge", key=f"{key}_enlarge", type="tertiary", icon=":material/open_in_full:"):
        enlarged_heatmap(values, None, layer, value)


def raster_data(
    raster: "Raster",
    gone: "NDArray[np.uint8] | None",
    *,
    layer: str,
    value: str,
    title: str,
    words: tuple[str, str] = ("output", "input"),
) -> dict[str, Any]:
    """Return what the component needs to draw a matrix, as plain data."""
    n_out, n_in = raster.shape
    rows, columns = words
    low, high = float(raster.cells.min()), float(raster.cells.max())
    note = " (a cell is the largest of its block)" if raster.is_pooled else ""
    return {
        "rows": raster.cells.shape[0],
        "columns": raster.cells.shape[1],
        "n_out": n_out,
        "n_in": n_in,
        "window": [*raster.window.rows, *raster.window.columns],
        "cells": encoded(raster.cells),
        "gone": None if gone is None else encoded(gone),
        "low": low,
        "high": high,
        "value": value,
        "words": list(words),
        "x_title": f"{columns}{note}",
        "y_title": rows,
        "title": title,
        "alt": f"Heatmap of {value} in layer {layer}, {n_out} by {n_in}, {rows} by {columns}. "
        f"{title}.",
        "hint": "Point at a cell to read its value.",
    }


def histogram(scores: "NDArray[np.float32]", *, key: str, unit: str, criterion: str) -> None:
    """Draw how scores are spread, and a button to enlarge it."""
    from pruning_core.figures.histogram import bin_scores, half_below

    title = half_below(scores, unit)
    mount_threshold(
        key=key,
        data=bars(scores, bin_scores(scores))
        | {
            "fixed": True,
            "units": unit,
            "criterion": criterion,
            "title": title,
            "alt": f"Histogram of {criterion} scores. {title}.",
            "log": False,
            "height": 319,
        },
    )
    if st.button("Enlarge", key=f"{key}_enlarge", type="tertiary", icon=":material/open_in_full:"):
        _enlarged_histogram(scores, unit, criterion)


def bars(scores: "NDArray[np.float32]", bins: Any) -> dict[str, Any]:
    """Return bins, and the single scores when there are few, as plain data."""
    return {
        "edges": bins.edges.tolist(),
        "counts": bins.counts.tolist(),
        "rug": scores.tolist() if scores.size <= _RUG_AT_MOST else [],
    }


@st.dialog("Heatmap", width="large")
def enlarged_heatmap(
    values: "NDArray[np.float32]", removed: "NDArray[np.bool_] | None", layer: str, value: str
) -> None:
    """Draw ``[out, in]`` values as a figure with zoom, picture file and table."""
    from pruning_core.figures.heatmap import importance_heatmap, pool_max

    pooled = pool_max(values)
    figure = importance_heatmap(
        values, charts.colours(), layer=layer, value=value, removed=removed, height=560
    )
    charts.show(
        figure.update_layout(dragmode="zoom"),
        key="enlarged",
        table={str(column): pooled[:, column] for column in range(pooled.shape[1])},
    )


@st.dialog("Histogram", width="large")
def _enlarged_histogram(scores: "NDArray[np.float32]", unit: str, criterion: str) -> None:
    from pruning_core.figures.histogram import bin_scores, score_histogram

    bins = bin_scores(scores)
    figure = score_histogram(scores, charts.colours(), unit=unit, criterion=criterion, height=460)
    charts.show(
        figure.update_layout(dragmode="zoom"),
        key="enlarged",
        table={"from": bins.edges[:-1], "to": bins.edges[1:], unit: bins.counts},
    )


def encoded(array: "NDArray[Any]") -> str:
    """Return the bytes of an array as text that JSON can hold."""
    return base64.b64encode(np.ascontiguousarray(array).tobytes()).decode("ascii")


def enlarged(picture: Mapping[str, Any], side: int) -> "NDArray[np.uint8]":
    """Return pixels ``[height, width, 3]`` large enough to be drawn without blur."""
    pixels = np.frombuffer(base64.b64decode(picture["pixels"]), np.uint8)
    grown = grow(pixels.reshape(picture["shape"]), side)
    return grown if grown.shape[2] == 3 else grown.repeat(3, axis=2)


def grow(pixels: "NDArray[np.uint8]", side: int) -> "NDArray[np.uint8]":
    """Return ``[height, width, ...]``, pixels repeated until the longer side has ``side``."""
    times = max(1, math.ceil(side / max(pixels.shape[:2])))
    return pixels.repeat(times, axis=0).repeat(times, axis=1)
