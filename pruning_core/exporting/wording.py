"""Numbers as people read them: thousands separators, units, ratios; used by reports and tables."""

from collections.abc import Sequence


def count(number: int) -> str:
    """Return ``266610`` as ``266,610``."""
    return f"{number:,}"


def percent(share: float | None) -> str:
    """Return ``0.8812`` as ``88.12 %``; None as ``not measured``."""
    return "not measured" if share is None else f"{100 * share:.2f} %"


def ratio(before: float, after: float) -> str:
    """Return how many times smaller ``after`` is, e.g. ``2.63x``; ``-`` when nothing is left."""
    return f"{before / after:.2f}x" if after else "-"


def size(n_bytes: int) -> str:
    """Return ``1066440`` as ``1.07 MB`` (1 MB = 1,000,000 bytes)."""
    for unit, factor in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if n_bytes >= factor:
            return f"{n_bytes / factor:.3g} {unit}"
    return f"{n_bytes} bytes"


def duration(seconds: float) -> str:
    """Return ``75.2`` as ``1 min 15 s`` and ``0.034`` as ``0.03 s``."""
    if seconds >= 60:
        return f"{int(seconds) // 60} min {int(seconds) % 60} s"
    return f"{seconds:.2f} s" if seconds < 10 else f"{seconds:.0f} s"


def table(header: Sequence[str], rows: Sequence[Sequence[str]], *, left: int = 1) -> str:
    """Return an aligned text table; the first ``left`` columns are flush left, the others right."""
    widths = [max(len(row[column]) for row in (header, *rows)) for column in range(len(header))]
    lines = [header, tuple("-" * width for width in widths), *rows]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if column < left else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )
