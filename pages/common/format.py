"""How the pages write numbers and foreign names."""

import re
from typing import TYPE_CHECKING, Final

from pruning_core.figures.numbers import count, duration, percent, reduction, significant, size

if TYPE_CHECKING:
    from pruning_core.tasks import Metric

__all__ = [
    "count",
    "duration",
    "judged",
    "markdown",
    "milliseconds",
    "percent",
    "plural",
    "prose",
    "reduction",
    "significant",
    "size",
]

_MARKUP: Final = re.compile(r"([\\`*_{}\[\]()<>#+\-.!|~$:^=&@\"'])")
_LONGEST: Final = 300


def markdown(text: str) -> str:
    """Return ``text`` so that Streamlit's markdown shows it letter for letter, on one line.

    Names come from files and are not trusted: without this, ``__init__`` turns bold, and an image
    in a name makes the browser call a foreign host.
    """
    shown = " ".join(text.split())
    shown = shown if len(shown) <= _LONGEST else shown[: _LONGEST - 1] + "…"
    return _MARKUP.sub(r"\\\1", shown)


def prose(text: str) -> str:
    """Return ``text`` of our own, however long, letter for letter; see :func:`markdown`."""
    return _MARKUP.sub(r"\\\1", " ".join(text.split()))


def judged(metric: "Metric", value: float | None, digits: int = 1) -> str:
    """Write a value of a task's metric: shares with ``digits`` behind the point."""
    return metric.text(value, digits if metric.unit == "percent" else None)


def milliseconds(value: float) -> str:
    """Write a time of one pass: ``0.042 ms``, ``3.14 ms``, ``128 ms``."""
    return f"{value:.0f} ms" if value >= 100 else f"{value:.3g} ms"


def plural(word: str, n: int = 2) -> str:
    """Return the word for ``n`` of them: ``head``, ``heads``."""
    return word if n == 1 else f"{word}es" if word.endswith("ch") else f"{word}s"
