"""How numbers and foreign names are written, in figures, pages and reports alike."""

import html
import math
from typing import Final

_COUNT_UNITS: Final = ("", "k", "M", "G", "T")
_SIZE_UNITS: Final = ("B", "kB", "MB", "GB", "TB")


def count(value: float) -> str:
    """Write a count with three significant digits: ``935``, ``61.7 k``, ``1.21 M``."""
    scaled, step = _scale(value, len(_COUNT_UNITS))
    return f"{scaled} {_COUNT_UNITS[step]}".strip()


def size(n_bytes: float) -> str:
    """Write bytes with three significant digits and decimal units: ``812 B``, ``23.5 MB``."""
    scaled, step = _scale(n_bytes, len(_SIZE_UNITS))
    return f"{scaled} {_SIZE_UNITS[step]}"


def percent(share: float, digits: int = 1) -> str:
    """Write a share of one as a percentage: ``0.905`` is ``90.5 %``."""
    return f"{100 * share:.{digits}f} %"


def reduction(before: float, after: float) -> str:
    """Write how many times smaller ``after`` is: ``2.6x``; ``1.0x`` means unchanged."""
    if after <= 0:
        return "all removed" if before > 0 else "1.0x"
    ratio = before / after
    return f"{ratio:.2f}x" if ratio < 10 else f"{ratio:.1f}x" if ratio < 100 else f"{ratio:.0f}x"


def significant(value: float, digits: int = 4) -> str:
    """Write a score with ``digits`` significant digits: ``0.01234``, ``12.34``, ``1.2e-07``."""
    return f"{value:.{digits}g}"


def duration(seconds: float) -> str:
    """Write a time: ``0.4 s``, ``12 s``, ``3 min 05 s``, ``2 h 10 min``."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def nice_ticks(low: float, high: float, n_wanted: int = 5) -> list[float]:
    """Return at least two round numbers, evenly spaced, that enclose ``low`` and ``high``."""
    if high - low <= 1e-9 * max(1.0, abs(low), abs(high)):  # flat, but for rounding
        pad = abs(low) * 0.05 or 0.5
        low, high = low - pad, high + pad
    rough = (high - low) / n_wanted
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= rough)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(index * step, 12) for index in range(first, last + 1)]


def plotly_text(name: str, longest: int = 60) -> str:
    """Return a name that Plotly shows as it is: markup escaped, at most ``longest`` characters."""
    shown = name if len(name) <= longest else name[: longest - 1] + "…"
    return html.escape(shown, quote=False)


def path_text(path: str, longest: int = 32) -> str:
    """Return a module path that Plotly shows as it is; of a long one the end, which tells more."""
    shown = path or "(model)"
    return html.escape(shown if len(shown) <= longest else "…" + shown[1 - longest :], quote=False)


def _scale(value: float, n_units: int) -> tuple[str, int]:
    """Return the digits and the power of 1000 for three significant digits."""
    magnitude = abs(value)
    step = 0
    while step < n_units - 1 and float(f"{magnitude:.3g}") >= 1000:
        magnitude /= 1000
        step += 1
    if step == 0:
        text = (
            f"{magnitude:.0f}"
            if magnitude >= 100 or magnitude == int(magnitude)
            else f"{magnitude:.3g}"
        )
    else:
        digits = 2 - max(0, math.floor(math.log10(float(f"{magnitude:.3g}"))))
        text = f"{magnitude:.{max(0, digits)}f}"
    return ("-" if value < 0 else "") + text, step
