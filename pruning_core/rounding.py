"""How many a share of some is, the same everywhere."""

import math


def share(ratio: float, n: int) -> int:
    """Return ``ratio`` of ``n``, to the nearest whole number (halves round up)."""
    return math.floor(ratio * n + 0.5)
