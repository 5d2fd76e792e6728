"""Figures as SVG for paper: bars, lines and cells, drawn without a browser or a plotting library.

Only what the figures of lessons are made of; :func:`svg` says so when a figure has more.
"""

import base64
import html
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import plotly.graph_objects as go
from plotly.colors import sample_colorscale

from pruning_core.figures.numbers import count, nice_ticks

_WIDTH: Final = 680
_BELOW: Final = 46
_LEGEND_ROW: Final = 18
_TITLE_ROW: Final = 20
_TICK: Final = 6
_FONT: Final = 12
_WIDE_FROM: Final = 0x2E80  # Chinese signs are as wide as they are high
_DASHES: Final[Mapping[str, str]] = {
    "dash": "7 4",
    "dot": "2 3",
    "dashdot": "7 3 2 3",
    "longdash": "12 4",
}
_HATCHES: Final[Mapping[str, str]] = {
    "/": '<path d="M-2 8L8-2M4 10L10 4M-2 2L2-2"/>',
    ".": '<circle cx="4" cy="4" r="1"/>',
    "x": '<path d="M0 0L8 8M8 0L0 8"/>',
    "-": '<path d="M0 4H8"/>',
}
_MARKUP: Final = re.compile(r"<[^>]*>")


@dataclass(frozen=True, slots=True)
class _Axis:
    """Maps values to pixels."""

    start: float
    end: float
    low: float
    high: float
    is_log: bool

    def __call__(self, value: float) -> float:
        return self.raw(math.log10(value) if self.is_log else value)

    def raw(self, value: float) -> float:
        """Map a value that counts powers of ten already where the axis does."""
        return self.start + (self.end - self.start) * (value - self.low) / (self.high - self.low)


@dataclass(frozen=True, slots=True)
class _Sheet:
    """The area inside the axes, in pixels, and the colours of what is no data."""

    left: float
    top: float
    right: float
    bottom: float
    text: str
    grid: str


def svg(figure: go.Figure, *, name: str) -> str | None:
    """Return ``figure`` as an SVG that needs nothing else; None when it has other kinds of marks.

    Args:
        figure: Bars, lines with markers, and heatmaps; one or more pairs of axes.
        name: Begins the names of its patterns, unique in the page it is put into.
    """
    content = _decoded(figure.to_plotly_json())
    traces, layout = content["data"], content["layout"]
    if any(trace["type"] not in {"bar", "scatter", "heatmap"} for trace in traces):
        return None
    keys = [trace for trace in traces if layout.get("showlegend") and trace.get("name")]
    height = int(layout["height"])
    sheet = _sheet(layout, traces, keys, height)
    parts = [_patterns(traces, name)]
    for suffix in sorted({str(trace.get("xaxis", "x"))[1:] for trace in traces}):
        own = [trace for trace in traces if str(trace.get("xaxis", "x"))[1:] == suffix]
        x, y = _axes(layout, own, suffix, sheet)
        parts += [_grid(layout, suffix, x, y, sheet), *_marks(own, layout, x, y, name)]
        parts += _lines_across(layout, suffix, x, y, sheet)
    parts += _notes(layout, sheet, _axes(layout, traces, "", sheet)[0])
    parts.append(_legend(keys, name, sheet))
    alt = _safe(str(layout["meta"]["alt"]))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" '
        f'width="{_WIDTH}" height="{height}" role="img" aria-label="{alt}" '
        f'font-family="system-ui,sans-serif" font-size="{_FONT}" fill="{sheet.text}">'
        f"{''.join(parts)}</svg>"
    )


def _decoded(content: Any) -> Any:
    """Return a figure's data with its packed arrays as arrays again."""
    if isinstance(content, Mapping):
        if "bdata" not in content:
            return {name: _decoded(value) for name, value in content.items()}
        flat = np.frombuffer(base64.b64decode(content["bdata"]), np.dtype(content["dtype"]))
        shape = str(content.get("shape", flat.size)).split(",")
        return flat.reshape([int(size) for size in shape])
    if isinstance(content, list | tuple):
        return [_decoded(value) for value in content]
    return content


def _sheet(
    layout: Mapping[str, Any],
    traces: Sequence[Mapping[str, Any]],
    keys: Sequence[Mapping[str, Any]],
    height: int,
) -> _Sheet:
    """Leave room for the names beside the axes, and for the legend above."""
    labels = [str(text) for text in layout["yaxis"].get("ticktext") or ["10,000"]]
    beside = max(_width(_plain(text)) for text in labels) + _TICK + 6
    beside += _LEGEND_ROW if _title(layout["yaxis"]) else 0
    lying = any(trace.get("orientation") == "h" for trace in traces)
    rows = len(list(_rows(keys, _WIDTH - beside)))
    titles = _TITLE_ROW if any(note.get("xref") == "paper" for note in _all(layout)) else 0
    return _Sheet(
        left=min(beside, _WIDTH / 2),
        top=8 + _LEGEND_ROW * rows + titles,
        right=_WIDTH - (64 if lying else 16),
        bottom=height - (_BELOW if _title(layout["xaxis"]) else _BELOW // 2),
        text=layout["font"]["color"],
        grid=layout["xaxis"]["gridcolor"],
    )


def _axes(
    layout: Mapping[str, Any], traces: Sequence[Mapping[str, Any]], suffix: str, sheet: _Sheet
) -> tuple[_Axis, _Axis]:
    """Return the axes with a number, as ``2`` in ``x2``, over the marks that are drawn on them."""
    found = []
    for which, (first, last) in (
        ("x", (sheet.left, sheet.right)),
        ("y", (sheet.bottom, sheet.top)),
    ):
        options = layout[f"{which}axis{suffix}"]
        start, end = options.get("domain") or (0.0, 1.0)
        is_log = options.get("type") == "log"
        low, high = _range(options, traces, which)
        if options.get("autorange") == "reversed":
            low, high = high, low
        span = last - first
        found.append(_Axis(first + span * start, first + span * end, low, high, is_log))
    return found[0], found[1]


def _range(
    options: Mapping[str, Any], traces: Sequence[Mapping[str, Any]], which: str
) -> tuple[float, float]:
    if options.get("range") is not None:
        low, high = options["range"]
        return float(low), float(high)
    values: list[float] = []
    for trace in traces:
        if trace["type"] == "heatmap":
            size = np.asarray(trace["z"]).shape[1 if which == "x" else 0]
            return -0.5, size - 0.5
        own = np.asarray(trace[which], np.float64)
        values += list(own[~np.isnan(own)])
        values += [0.0] if trace["type"] == "bar" else []
    if options.get("type") == "log":
        values = [math.log10(value) for value in values]
    low, high = min(values), max(values)
    pad = 0.04 * (high - low) or 0.5
    return low - pad, high + pad


def _grid(layout: Mapping[str, Any], suffix: str, x: _Axis, y: _Axis, sheet: _Sheet) -> str:
    """Draw the lines of the grid, the numbers at the axes, and their titles."""
    parts = []
    across, down = layout[f"xaxis{suffix}"], layout[f"yaxis{suffix}"]
    floor = y.start
    for place, text in _ticks(across, x):
        at = x(place)
        if across.get("showgrid") is not False:
            parts.append(_line((at, y.start), (at, y.end), sheet.grid))
        parts.append(_text(at, floor + 16, text, "middle"))
    for place, text in _ticks(down, y):
        at = y(place)
        if down.get("showgrid") is not False:
            parts.append(_line((x.start, at), (x.end, at), sheet.grid))
        parts.append(_text(x.start - _TICK, at + 4, text, "end"))
    parts.append(_text((x.start + x.end) / 2, floor + 36, _title(across), "middle"))
    if _title(down) and not suffix:
        middle = (y.start + y.end) / 2
        parts.append(
            f'<text transform="translate(14 {middle:.1f}) rotate(-90)" text-anchor="middle">'
            f"{_safe(_title(down))}</text>"
        )
    return "".join(parts)


def _ticks(options: Mapping[str, Any], axis: _Axis) -> list[tuple[float, str]]:
    if options.get("tickvals") is not None:
        texts = options.get("ticktext")
        texts = [f"{value:g}" for value in options["tickvals"]] if texts is None else texts
        return [(float(a), _plain(str(b))) for a, b in zip(options["tickvals"], texts, strict=True)]
    low, high = sorted((axis.low, axis.high))
    if axis.is_log:
        powers = range(math.ceil(low), math.floor(high) + 1)
        return [(10.0**power, f"{10.0**power:g}") for power in powers]
    wide = abs(axis.end - axis.start) > 260
    inside = [one for one in nice_ticks(low, high, 6 if wide else 4) if low <= one <= high]
    return [(one, count(one) if abs(one) >= 10_000 else f"{one:g}") for one in inside]


def _marks(
    traces: Sequence[Mapping[str, Any]],
    layout: Mapping[str, Any],
    x: _Axis,
    y: _Axis,
    name: str,
) -> Iterator[str]:
    """Draw what the figure is about."""
    bars = [trace for trace in traces if trace["type"] == "bar"]
    below: dict[float, float] = {}
    for trace in traces:
        match trace["type"]:
            case "heatmap":
                yield _cells(trace, x, y)
            case "bar" if trace.get("orientation") == "h":
                share = (1 - layout["bargap"]) / len(bars)
                yield _lying(trace, x, y, (bars.index(trace) - (len(bars) - 1) / 2, share), name)
            case "bar":
                yield _standing(trace, x, y, below, name)
            case _:
                yield _curve(trace, x, y)


def _lying(
    trace: Mapping[str, Any], x: _Axis, y: _Axis, place: tuple[float, float], name: str
) -> str:
    """Draw bars that begin at the left, with their numbers at the end."""
    offset, share = place
    parts = []
    for number, (at, value, text) in enumerate(
        zip(trace["y"], trace["x"], trace["text"], strict=True)
    ):
        if np.isnan(value):
            continue
        ends = sorted((x(0.0), x(float(value))))
        middle = y(float(at) + offset * share)
        thick = abs(y(share) - y(0.0)) * 0.94
        parts.append(
            _box(ends[0], middle - thick / 2, ends[1] - ends[0], thick, _fill(trace, name))
        )
        at_end = _whiskers(trace, "error_x", number, x) if trace.get("error_x") else None
        if at_end is not None:
            parts.append(_line((at_end[0], middle), (at_end[1], middle), trace["error_x"]["color"]))
        right = ends[1] if at_end is None else max(ends[1], at_end[1])
        parts.append(_text(right + 5, middle + 4, str(text), "start"))
    return "".join(parts)


def _whiskers(
    trace: Mapping[str, Any], which: str, number: int, axis: _Axis
) -> tuple[float, float]:
    """Return both ends of the spread of a value, in pixels."""
    value = float(trace[which[-1]][number])
    error = trace[which]
    low, high = value - float(error["arrayminus"][number]), value + float(error["array"][number])
    return axis(low), axis(high)


def _standing(
    trace: Mapping[str, Any], x: _Axis, y: _Axis, below: dict[float, float], name: str
) -> str:
    """Draw bars on top of those that stand there already."""
    parts = []
    width = float(trace.get("width") or 0.8)
    for at, value in zip(trace["x"], trace["y"], strict=True):
        base = below.get(float(at), 0.0)
        below[float(at)] = base + float(value)
        if value:
            left, right = x(float(at) - width / 2), x(float(at) + width / 2)
            top, bottom = y(base + float(value)), y(base)
            parts.append(_box(left, top, right - left, bottom - top, _fill(trace, name)))
    return "".join(parts)


def _cells(trace: Mapping[str, Any], x: _Axis, y: _Axis) -> str:
    """Draw a matrix; what is not a number stays blank."""
    values = np.asarray(trace["z"], np.float64)
    low = float(trace["zmin"]) if trace.get("zmin") is not None else float(np.nanmin(values))
    high = float(trace["zmax"]) if trace.get("zmax") is not None else float(np.nanmax(values))
    shares = np.clip((values - low) / ((high - low) or 1.0), 0, 1)
    scale = trace["colorscale"]
    scale = [list(step) for step in scale] if not isinstance(scale, str) else scale
    parts = []
    for row, column in zip(*np.nonzero(~np.isnan(values)), strict=True):
        colour = sample_colorscale(scale, [float(shares[row, column])])[0]
        left, right = x(column - 0.5), x(column + 0.5)
        top, bottom = sorted((y(row - 0.5), y(row + 0.5)))
        parts.append(_box(left, top, right - left, bottom - top, f'fill="{colour}"'))
    frame = (x.start, min(y.start, y.end), x.end - x.start, abs(y.end - y.start))
    return "".join(parts) + _box(*frame, 'fill="none" stroke="#6B7682"')


def _curve(trace: Mapping[str, Any], x: _Axis, y: _Axis) -> str:
    """Draw lines between points, and a mark at each, as the trace says."""
    points = [
        None if np.isnan(b) else (x(float(a)), y(float(b)))
        for a, b in zip(trace["x"], np.asarray(trace["y"], np.float64), strict=True)
    ]
    parts, line = [], trace.get("line") or {}
    if "lines" in trace["mode"]:
        dash = _DASHES.get(line.get("dash", ""), "")
        path, is_down = "", False
        for point in points:
            if point is not None:
                path += f"{'L' if is_down else 'M'}{point[0]:.1f} {point[1]:.1f}"
            is_down = point is not None
        parts.append(
            f'<path d="{path}" fill="none" stroke="{line["color"]}" '
            f'stroke-width="{line.get("width", 2)}" stroke-dasharray="{dash}"/>'
        )
    there = [(number, point) for number, point in enumerate(points) if point is not None]
    parts += _spreads(trace, there, y)
    if "markers" in trace["mode"]:
        parts += [_mark(trace, *point) for _, point in there]
    if "text" in trace["mode"]:
        parts += _labels(trace, there)
    return "".join(parts)


def _spreads(
    trace: Mapping[str, Any], points: Sequence[tuple[int, tuple[float, float]]], y: _Axis
) -> Iterator[str]:
    """Draw the spread of each value that has one."""
    for number, (across, _) in points if trace.get("error_y") else ():
        low, high = _whiskers(trace, "error_y", number, y)
        yield _line((across, low), (across, high), trace["error_y"]["color"])


def _labels(
    trace: Mapping[str, Any], points: Sequence[tuple[int, tuple[float, float]]]
) -> Iterator[str]:
    """Write the label of each point beside it."""
    for number, (across, down) in points:
        is_left = "left" in trace["textposition"][number]
        away, anchor = (-8, "end") if is_left else (8, "start")
        yield _text(across + away, down + 4, _plain(str(trace["text"][number])), anchor)


def _mark(trace: Mapping[str, Any], x: float, y: float) -> str:
    """Draw one mark in the shape of its trace."""
    marker = trace.get("marker") or {}
    line = marker.get("line") or {}
    colour = marker.get("color") or (trace.get("line") or {}).get("color") or line.get("color")
    r = float(marker.get("size") or 7) / 2
    style = f'fill="{colour}" stroke="{line.get("color") or colour}"'
    match marker.get("symbol", "circle"):
        case "square":
            return _box(x - r, y - r, 2 * r, 2 * r, style)
        case "triangle-up":
            return f'<path d="M{x:.1f} {y - r:.1f}l{r:.1f} {2 * r:.1f}h{-2 * r:.1f}z" {style}/>'
        case "x" | "x-thin":
            d = 0.7 * r
            return (
                f'<path d="M{x - d:.1f} {y - d:.1f}l{2 * d:.1f} {2 * d:.1f}m{-2 * d:.1f} 0'
                f'l{2 * d:.1f} {-2 * d:.1f}" {style} stroke-width="1.5"/>'
            )
        case "diamond" | "star-diamond":
            return (
                f'<path d="M{x:.1f} {y - r:.1f}l{r:.1f} {r:.1f}l{-r:.1f} {r:.1f}'
                f'l{-r:.1f} {-r:.1f}z" {style} stroke-width="{line.get("width", 1)}"/>'
            )
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{r:.1f}" {style}/>'


def _lines_across(
    layout: Mapping[str, Any], suffix: str, x: _Axis, y: _Axis, sheet: _Sheet
) -> list[str]:
    """Draw the upright lines that mark a place."""
    own = [shape for shape in layout.get("shapes", ()) if shape.get("xref") == f"x{suffix}"]
    return [
        _line((x(shape["x0"]), y.start), (x(shape["x0"]), y.end), sheet.text, dash="2 3")
        for shape in own
    ]


def _notes(layout: Mapping[str, Any], sheet: _Sheet, x: _Axis) -> list[str]:
    """Draw the titles of panels, and the words beside upright lines."""
    parts = []
    for note in _all(layout):
        share = float(note["y"])
        at = sheet.bottom + (sheet.top - sheet.bottom) * share
        if note.get("xref") == "paper":
            where = sheet.left + (sheet.right - sheet.left) * float(note["x"])
            parts.append(_text(where, at - 5, _plain(note["text"]), "middle"))
        else:
            parts.append(_text(x.raw(float(note["x"])) + 4, at + 12, _plain(note["text"]), "start"))
    return parts


def _all(layout: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    return layout.get("annotations") or ()


def _legend(keys: Sequence[Mapping[str, Any]], name: str, sheet: _Sheet) -> str:
    """Draw what marks mean, above the figure."""
    parts = []
    for row, entries in enumerate(_rows(keys, _WIDTH - sheet.left)):
        y, x = 14 + _LEGEND_ROW * row, sheet.left
        for trace, width in entries:
            if trace["type"] == "bar":
                parts.append(_box(x, y - 9, 14, 11, _fill(trace, name)))
            else:
                own = dict(trace) | {"x": [0.0, 1.0, 2.0], "y": [0.0, 0.0, 0.0]}
                own |= {} if "lines" in trace["mode"] else {"x": [1.0], "y": [0.0]}
                across, flat = _Axis(x - 2, x + 18, 0, 2, False), _Axis(y - 4, y - 5, 0, 1, False)
                only_middle = dict(own) | {"mode": "markers", "x": [1.0], "y": [0.0]}
                if "lines" in trace["mode"]:
                    parts.append(_curve(own | {"mode": "lines"}, across, flat))
                if "markers" in trace["mode"]:
                    parts.append(_curve(only_middle, across, flat))
            parts.append(_text(x + 22, y, _plain(str(trace["name"])), "start"))
            x += width
    return "".join(parts)


def _rows(
    keys: Sequence[Mapping[str, Any]], room: float
) -> Iterator[list[tuple[Mapping[str, Any], float]]]:
    """Break the entries of the legend into rows, each entry with its width."""
    row: list[tuple[Mapping[str, Any], float]] = []
    for trace in keys:
        width = 22 + _width(_plain(str(trace["name"]))) + 18
        if row and sum(one for _, one in row) + width > room:
            yield row
            row = []
        row.append((trace, width))
    if row:
        yield row


def _patterns(traces: Sequence[Mapping[str, Any]], name: str) -> str:
    """Define the hatches of bars: paper is often grey."""
    found = {}
    for trace in traces:
        shape = _hatch(trace)
        if shape:
            found[_pattern_id(trace, name)] = (trace["marker"]["color"], _HATCHES[shape])
    return "".join(
        f'<pattern id="{key}" width="8" height="8" patternUnits="userSpaceOnUse">'
        f'<rect width="8" height="8" fill="{colour}"/>'
        f'<g stroke="#fff" stroke-width="1.4" fill="#fff">{drawn}</g></pattern>'
        for key, (colour, drawn) in found.items()
    )


def _fill(trace: Mapping[str, Any], name: str) -> str:
    if _hatch(trace):
        return f'fill="url(#{_pattern_id(trace, name)})"'
    return f'fill="{trace["marker"]["color"]}"'


def _hatch(trace: Mapping[str, Any]) -> str:
    if trace["type"] != "bar":
        return ""
    shape = str((trace["marker"].get("pattern") or {}).get("shape", ""))
    return shape if shape in _HATCHES else ""


def _pattern_id(trace: Mapping[str, Any], name: str) -> str:
    place = list(_HATCHES).index(_hatch(trace))
    return f"{name}-{trace['marker']['color'].lstrip('#')}-{place}"


def _line(start: tuple[float, float], end: tuple[float, float], colour: str, dash: str = "") -> str:
    return (
        f'<line x1="{start[0]:.1f}" y1="{start[1]:.1f}" x2="{end[0]:.1f}" y2="{end[1]:.1f}" '
        f'stroke="{colour}" stroke-dasharray="{dash}"/>'
    )


def _box(x: float, y: float, width: float, height: float, style: str) -> str:
    return (
        f'<rect x="{x:.1f}" y="{y:.1f}" width="{max(0.0, width):.1f}" '
        f'height="{max(0.0, height):.1f}" {style}/>'
    )


def _text(x: float, y: float, text: str, anchor: str) -> str:
    if not text:
        return ""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{_safe(text)}</text>'


def _title(options: Mapping[str, Any]) -> str:
    return _plain(str((options.get("title") or {}).get("text") or ""))


def _width(text: str) -> float:
    return sum(float(_FONT) if ord(sign) >= _WIDE_FROM else 0.56 * _FONT for sign in text)


def _plain(text: str) -> str:
    """Return what Plotly would show of a text with its markup."""
    return html.unescape(_MARKUP.sub("", text)).strip()


def _safe(text: str) -> str:
    return html.escape(text, quote=True)
