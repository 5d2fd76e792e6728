"""Small SVG drawings without a plotting library, so that a report stays one light file.

Colours are CSS classes (``kept``, ``removed``, ``first``, ``second``) which the page defines for
light and dark.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise
from typing import Final

from pruning_core.figures.numbers import nice_ticks

_WIDTH: Final = 520
_LEFT: Final = 52
_RIGHT: Final = 92
_TOP: Final = 14
_HEIGHT: Final = 230
_BOTTOM: Final = 36
_ROW: Final = 24
_WIDE: Final = 980
_NAME: Final = 180
_NUMBER: Final = 200


@dataclass(frozen=True, slots=True)
class Line:
    """One curve.

    Attributes:
        label: Written at its right end.
        style: CSS class, ``first`` or ``second``.
        values: One number for each epoch; None leaves a gap.
    """

    label: str
    style: str
    values: Sequence[float | None]


@dataclass(frozen=True, slots=True)
class Bar:
    """One row of a before-and-after chart.

    Attributes:
        label: Name in front of the row.
        before: Length of the outline.
        after: Length of the filled part.
        note: Text behind the row.
    """

    label: str
    before: int
    after: int
    note: str


@dataclass(frozen=True, slots=True)
class _Axes:
    """Maps an epoch's position and a value to the drawing."""

    n_values: int
    low: float
    high: float

    right: int = _WIDTH - _RIGHT
    floor: int = _HEIGHT - _BOTTOM

    def x(self, index: int) -> float:
        share = index / (self.n_values - 1) if self.n_values > 1 else 0.5
        return _LEFT + (self.right - _LEFT) * share

    def y(self, value: float) -> float:
        return self.floor - (self.floor - _TOP) * (value - self.low) / (self.high - self.low)


def line_chart(lines: Sequence[Line], *, alt: str, start: int = 1) -> str:
    """Return an SVG of curves over epochs, the first of which is number ``start``.

    Args:
        lines: Curves of equal length; at least one finite number among them.
        alt: The sentence a screen reader speaks.
        start: Epoch of the first value.
    """
    known = [value for line in lines for value in line.values if value is not None]
    ticks = nice_ticks(min(known), max(known))
    axes = _Axes(max(len(line.values) for line in lines), ticks[0], ticks[-1])
    ends = _apart([axes.y(_last(line.values, ticks[0])) for line in lines], 14)
    curves = (_curve(axes, line, end) for line, end in zip(lines, ends, strict=True))
    return _svg(_grid(axes, ticks, start) + "".join(curves), _HEIGHT, alt)


def _grid(axes: _Axes, ticks: Sequence[float], start: int) -> str:
    levels = (
        f'<line class="grid" x1="{_LEFT}" x2="{axes.right}" y1="{axes.y(tick):.1f}" '
        f'y2="{axes.y(tick):.1f}"/>' + _tick(_LEFT - 6, axes.y(tick) + 4, f"{tick:g}", "end")
        for tick in ticks
    )
    epochs = (
        _tick(axes.x(index), axes.floor + 16, str(start + index)) for index in _few(axes.n_values)
    )
    name = _tick((_LEFT + axes.right) / 2, _HEIGHT - 4, "epoch")
    return "".join((*levels, *epochs, name))


def _tick(x: float, y: float, text: str, anchor: str = "middle") -> str:
    return f'<text class="tick" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{text}</text>'


def _curve(axes: _Axes, line: Line, label_y: float) -> str:
    points = [
        f"{axes.x(index):.1f},{axes.y(value):.1f}"
        for index, value in enumerate(line.values)
        if value is not None
    ]
    dots = "".join('<circle cx="{}" cy="{}" r="2.5"/>'.format(*p.split(",")) for p in points)
    return (
        f'<g class="{line.style}"><polyline points="{" ".join(points)}"/>{dots}'
        f'<text x="{axes.right + 8}" y="{label_y + 4:.1f}">{escape(line.label)}</text></g>'
    )


def bar_chart(bars: Sequence[Bar], *, alt: str) -> str:
    """Return an SVG with one row for each bar: outline = before, filled = after."""
    longest = max([bar.before for bar in bars] + [1])
    span = _WIDE - _NAME - _NUMBER
    parts = []
    for row, bar in enumerate(bars):
        top = row * _ROW + 4
        before, after = (span * value / longest for value in (bar.before, bar.after))
        parts.append(
            f'<text x="{_NAME - 8}" y="{top + 12}" text-anchor="end">{escape(_short(bar.label))}'
            f"<title>{escape(bar.label)}</title></text>"
            f'<rect class="removed" x="{_NAME}" y="{top}" width="{before:.1f}" height="16"/>'
            f'<rect class="kept" x="{_NAME}" y="{top}" width="{after:.1f}" height="16"/>'
            f'<text class="tick" x="{_NAME + span + 8}" y="{top + 12}">{escape(bar.note)}</text>'
        )
    return _svg("".join(parts), len(bars) * _ROW + 8, alt, width=_WIDE)


def _last(values: Sequence[float | None], default: float) -> float:
    return next((value for value in reversed(values) if value is not None), default)


def _few(n: int, most: int = 8) -> list[int]:
    """Return at most ``most`` evenly spaced positions of ``n``."""
    step = max(1, math.ceil(n / most))
    return list(range(0, n, step))


def _apart(positions: Sequence[float], gap: float) -> list[float]:
    """Return ``positions`` moved so that no two labels are closer than ``gap``."""
    order = sorted(range(len(positions)), key=lambda index: positions[index])
    moved = list(positions)
    for upper, lower in pairwise(order):
        moved[lower] = max(moved[lower], moved[upper] + gap)
    return moved


def _short(name: str, most: int = 24) -> str:
    return name if len(name) <= most else "..." + name[3 - most :]


def _svg(body: str, height: int, alt: str, *, width: int = _WIDTH) -> str:
    text = escape(alt)
    return (
        f'<svg width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
        f'role="img" aria-label="{text}">'
        f"<title>{text}</title>{body}</svg>"
    )
