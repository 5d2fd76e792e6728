"""The units of one site page by page, by score or by number, however many there are."""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pruning_core.scoring.ranking import SiteRanking

UnitOrder = Literal["score", "index"]
UNITS_A_PAGE = 512


def n_pages(n_units: int, size: int = UNITS_A_PAGE) -> int:
    """Return how many pages ``n_units`` fill."""
    return -(-n_units // size)


def listed(
    scores: NDArray[np.float32], order: UnitOrder, page: int, size: int = UNITS_A_PAGE
) -> NDArray[np.int64]:
    """Return the numbers of the units on one page.

    Args:
        scores: ``[U]``, of all units of the site.
        order: By score, the lowest first and ties by number; or by number.
        page: From 0.
        size: Units on a page; the last one may hold fewer.
    """
    start, stop = page * size, min((page + 1) * size, len(scores))
    if order == "index":
        return np.arange(start, stop)
    ranking = SiteRanking(scores)
    units = np.flatnonzero(ranking.lowest(stop) & ~ranking.lowest(start))
    return units[np.argsort(scores[units], kind="stable")]


def page_with(
    scores: NDArray[np.float32], order: UnitOrder, unit: int, size: int = UNITS_A_PAGE
) -> int:
    """Return the page that holds ``unit``."""
    place = unit if order == "index" else SiteRanking(scores).place(unit)
    return place // size
