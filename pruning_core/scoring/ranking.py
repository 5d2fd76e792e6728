"""The units of one site in the order in which they go: lowest score first, equal scores by index.

One rule serves counting and removing: scores are compared in float32, as they are stored; -0 equals
0, and NaN comes after infinity. It is the order of a stable ``argsort``, but values are sorted,
which is many times faster than sorting positions; a mask needs two comparisons of the scores.
"""

from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from pruning_core.granularities import Pattern

Scores32 = NDArray[np.float32]


class SiteRanking:
    """The ``[U]`` scores of one site, ranked; sorted when first asked for."""

    def __init__(self, values: Scores32) -> None:
        """Rank ``[U]`` scores; they are neither copied nor changed."""
        self.values = values

    def __len__(self) -> int:
        return len(self.values)

    @cached_property
    def ascending(self) -> Scores32:
        """``[U]`` scores from the lowest to the highest."""
        return np.sort(self.values)

    @cached_property
    def order(self) -> NDArray[np.int64]:
        """``[U]`` units in the order they go; slow for single weights, and eight bytes each."""
        return np.argsort(self.values, kind="stable")

    def count_below(self, threshold: float) -> int:
        """Return how many scores lie below ``threshold``, compared in float32."""
        limits = np.finfo(np.float32)
        key = np.float32(min(max(threshold, float(limits.min)), float(limits.max)))
        return int(np.searchsorted(self.ascending, key, side="left"))

    def threshold(self, count: int) -> float:
        """Return the lowest score that stays when ``count`` units go, ``0 <= count < U``."""
        return float(self.ascending[count])

    def lowest(self, count: int) -> NDArray[np.bool_]:
        """Return ``[U]`` True for the first ``count`` units to go, ``0 <= count <= U``."""
        if count >= len(self):
            return np.ones(len(self), np.bool_)
        limit = self.ascending[count]
        below = int(np.searchsorted(self.ascending, limit, side="left"))
        is_last = bool(np.isnan(limit))
        goes = ~np.isnan(self.values) if is_last else self.values < limit
        if count > below:
            tied = np.isnan(self.values) if is_last else self.values == limit
            goes[np.flatnonzero(tied)[: count - below]] = True
        return goes


class PatternRanking(SiteRanking):
    """The units of a site under a pattern: first all that it can take, then those that stay.

    In each group of ``m`` units the ``m - n`` lowest scores can go; equal scores go by index.
    """

    def __init__(self, values: Scores32, pattern: Pattern) -> None:
        """Rank ``[U]`` scores, ``U`` a multiple of ``m``, numbered group by group."""
        super().__init__(values)
        lowest = np.argsort(values.reshape(-1, pattern.m), axis=1, kind="stable")
        free = np.zeros(lowest.shape, np.bool_)
        np.put_along_axis(free, lowest[:, : pattern.m - pattern.n], True, axis=1)
        self._free = free.reshape(-1)
        self._first, self._last = SiteRanking(values[self._free]), SiteRanking(values[~self._free])

    @cached_property
    def ascending(self) -> Scores32:
        """``[U]`` scores in the order the units go: ascending among those that can, then again."""
        return np.concatenate([self._first.ascending, self._last.ascending])

    @cached_property
    def order(self) -> NDArray[np.int64]:
        """``[U]`` units in the order they go."""
        first, last = np.flatnonzero(self._free), np.flatnonzero(~self._free)
        return np.concatenate([first[self._first.order], last[self._last.order]])

    def count_below(self, threshold: float) -> int:
        """Return how many of the units that can go score below ``threshold``."""
        return self._first.count_below(threshold)

    def lowest(self, count: int) -> NDArray[np.bool_]:
        """Return ``[U]`` True for the first ``count`` units to go."""
        goes = np.zeros(len(self), np.bool_)
        goes[self._free] = self._first.lowest(count)
        goes[~self._free] = self._last.lowest(max(0, count - len(self._first)))
        return goes


def ranked(values: Scores32, pattern: Pattern | None) -> SiteRanking:
    """Return ``[U]`` scores ranked, by the rule of ``pattern`` where there is one."""
    return SiteRanking(values) if pattern is None else PatternRanking(values, pattern)
