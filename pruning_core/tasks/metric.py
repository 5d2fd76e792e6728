"""A number that says how well a task is done: its name, its unit, and which way is better."""

import math
from dataclasses import dataclass
from typing import Final, Literal

CLASSES: Final = "classification"
"""The key of the task of data that name none."""
_PERCENT: Final = "percent"


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric of a task.

    Attributes:
        key: Its name in reports.
        title: On the screen, at the beginning of a line.
        name: In running text.
        higher_is_better: False for errors and for perplexity.
        unit: ``percent`` is for shares of one, written times 100; ``""`` for plain numbers.
        digits: Behind the point; of plain numbers that are no index, significant digits.
        least: No value is lower.
        most: No value is higher.
        relative: True where a change is told in percent of the value before, since the metric has
            no scale of its own.
        interval: How its 95 % interval is found.
    """

    key: str
    title: str
    name: str
    higher_is_better: bool = True
    unit: Literal["percent", ""] = _PERCENT
    digits: int = 2
    least: float = -math.inf
    most: float = math.inf
    relative: bool = False
    interval: str = "basic bootstrap over samples, 1,000 resamples, seed 0"

    @property
    def axis(self) -> str:
        """Name and unit for the axis of a figure, e.g. ``accuracy (%)``."""
        return f"{self.name} (%)" if self.unit == _PERCENT else self.name

    @property
    def loss_unit(self) -> str:
        """What :meth:`lost` counts, e.g. ``points``."""
        if self.relative:
            return "%"
        return "points" if self.unit == _PERCENT else "hundredths"

    def scaled(self, value: float) -> float:
        """Return ``value`` as the axis of a figure counts it."""
        return 100 * value if self.unit == _PERCENT else value

    @property
    def one_lost(self) -> str:
        """What one of ``loss_unit`` is, e.g. ``point``."""
        return {"%": "percent", "points": "point"}.get(self.loss_unit, "hundredth")

    @property
    def hover(self) -> str:
        """How Plotly writes a value on such an axis, e.g. ``%{y:.2f} %``."""
        return "%{y:.2f} %" if self.unit == _PERCENT else "%{y:.4g}"

    @property
    def capital(self) -> str:
        """Its name at the beginning of a line."""
        return self.name[:1].upper() + self.name[1:]

    def text(self, value: float | None, digits: int | None = None) -> str:
        """Return a value as people read it, e.g. ``92.80 %``; None and NaN are not measured."""
        if value is None or math.isnan(value):
            return "not measured"
        digits = self.digits if digits is None else digits
        if self.unit == _PERCENT:
            return f"{100 * value:.{digits}f} %"
        return f"{value:.{digits}f}" if self.most <= 1 else _significant(value)

    def between(self, low: float, high: float, digits: int | None = None) -> str:
        """Return an interval as people read it, e.g. ``92.10 to 93.40``; its unit is left out."""
        return " to ".join(self.text(end, digits).removesuffix(" %") for end in (low, high))

    def change(self, before: float, after: float, digits: int = 1) -> str:
        """Return the way from one value to another with its sign, e.g. ``-0.4 points``."""
        if self.unit == _PERCENT:
            return f"{100 * (after - before):+.{digits}f} points"
        if self.relative:
            return f"{100 * (after / before - 1):+.{digits}f} %" if before else "not measured"
        if self.most <= 1:
            return f"{after - before:+.{self.digits}f}"
        return f"{'-' if after < before else '+'}{_significant(abs(after - before))}"

    def lost(self, before: float, after: float) -> float:
        """Return how much was lost, in units of ``loss_unit``; negative where something was won.

        Percentage points of a share, percent of the value before where a metric is relative, and
        hundredths otherwise.
        """
        if self.relative:
            ratio = after / before if before else math.inf
            return 100 * ((1 - ratio) if self.higher_is_better else (ratio - 1))
        return 100 * ((before - after) if self.higher_is_better else (after - before))

    def is_better(self, one: float, other: float) -> bool:
        """Tell whether the value ``one`` is better than ``other``."""
        return one > other if self.higher_is_better else one < other

    def merit(self, value: float) -> float:
        """Return ``value`` such that more is better."""
        return value if self.higher_is_better else -value


def _significant(value: float) -> str:
    """Return a plain number with four significant digits and thousands separators."""
    if not math.isfinite(value):
        return "not finite"
    return f"{value:,.0f}" if abs(value) >= 1_000 else f"{value:.4g}"


ACCURACY: Final = Metric("accuracy", "Accuracy", "accuracy", least=0.0, most=1.0, interval="Wilson")
"""What classification is judged by."""
