"""The units that go first: lowest score first, then by site, then by index.

One rule serves counting and removing: scores are compared in float32, as they are stored; -0 equals
0, and NaN comes after infinity. It is the order of a stable ``argsort``, but positions are never
sorted, which takes long: a mask needs two comparisons of the scores with the lowest that stays.
That one is found by sorting few values, and by a histogram of their keys where they are many.
"""

from collections.abc import Sequence
from functools import cached_property
from itertools import combinations
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pruning_core.granularities import Pattern
from pruning_core.scoring import keys
from pruning_core.scoring.keys import Scores32

Counts = NDArray[np.int64]
_FEW = 1 << 14
"""So many scores of a site are sorted at once."""
_FEW_TOGETHER = 1 << 17
"""So many units of all sites are put in order at once."""


class Cut(NamedTuple):
    """Where a ranking is cut.

    Attributes:
        limit: The lowest score that stays.
        n_below: Units that score less.
    """

    limit: np.float32
    n_below: int


class SiteRanking:
    """The ``[U]`` scores of one site, ranked when first asked for."""

    def __init__(self, values: Scores32) -> None:
        """Rank ``[U]`` scores; they are neither copied nor changed."""
        self.values = values
        self._last_cut: tuple[int, Cut] | None = None
        self._last_kept: tuple[int, NDArray[np.bool_]] | None = None

    def __len__(self) -> int:
        return len(self.values)

    @cached_property
    def ascending(self) -> Scores32:
        """``[U]`` scores from the lowest to the highest; as large as the scores themselves."""
        return np.sort(self.values)

    @cached_property
    def order(self) -> NDArray[np.int64]:
        """``[U]`` units in the order they go; slow for single weights, and eight bytes each."""
        return np.argsort(self.values, kind="stable")

    @cached_property
    def histogram(self) -> tuple[NDArray[np.int32], Counts]:
        """Bins that hold scores, and how many each holds; see :mod:`pruning_core.scoring.keys`."""
        return keys.histogram(self.values)

    def place(self, unit: int) -> int:
        """Return how many units go before ``unit``."""
        score = self.values[unit]
        lower = int(np.count_nonzero(self.values < score))
        return lower + int(np.count_nonzero(_tied(self.values[:unit], score)))

    @property
    def competing(self) -> "SiteRanking":
        """The units that a global target may take: all of them."""
        return self

    @property
    def is_sorted(self) -> bool:
        """True when :attr:`ascending` is there, or made in no time."""
        return "ascending" in self.__dict__ or len(self) <= _FEW

    def count_below(self, threshold: float) -> int:
        """Return how many scores lie below ``threshold``, compared in float32."""
        limit = keys.as_stored(threshold)
        if self.is_sorted:
            return int(self.ascending.searchsorted(limit))
        return keys.count_below(self.values, limit)

    def cut(self, count: int) -> Cut:
        """Return where to cut for ``count`` units to go, ``0 <= count < U``."""
        if self._last_cut is None or self._last_cut[0] != count:
            self._last_cut = count, self._cut(count)
        return self._last_cut[1]

    def _cut(self, count: int) -> Cut:
        if count == 0:
            return Cut(_lowest(self.values), 0)
        if self.is_sorted:
            limit = self.ascending[count]
            return Cut(limit, int(np.searchsorted(self.ascending, limit, side="left")))
        bins, counts = self.histogram
        ends = np.cumsum(counts)
        place = int(np.searchsorted(ends, count, side="right"))
        before = int(ends[place] - counts[place])
        inside = keys.inside(self.values, int(bins[place]))
        limit = keys.kth(inside, int(bins[place]), count - before)
        return Cut(limit, before + int(np.count_nonzero(inside < limit)))

    def threshold(self, count: int) -> float:
        """Return the lowest score that stays when ``count`` units go, ``0 <= count < U``."""
        return float(self.cut(count).limit)

    def kept(self, count: int) -> NDArray[np.bool_]:
        """Return ``[U]`` True for the units that stay when ``count`` go; shared, not to be changed.

        While one layer of a plan moves, all others ask for the same again.
        """
        if self._last_kept is None or self._last_kept[0] != count:
            self._last_kept = count, ~self.lowest(count)
        return self._last_kept[1]

    def lowest(self, count: int) -> NDArray[np.bool_]:
        """Return ``[U]`` True for the first ``count`` units to go, ``0 <= count <= U``."""
        if count >= len(self):
            return np.ones(len(self), np.bool_)
        limit, n_below = self.cut(count)
        goes = ~np.isnan(self.values) if np.isnan(limit) else self.values < limit
        if count > n_below:
            goes[np.flatnonzero(_tied(self.values, limit))[: count - n_below]] = True
        return goes

    def among_first(self, flags: NDArray[np.bool_], counts: Counts) -> Counts:
        """Return ``[P]`` how many of the units with a flag are among the first ``counts`` to go.

        Args:
            flags: ``[U]``.
            counts: ``[P]``, each in ``0..U - 1``.
        """
        if len(self) <= _FEW:
            return np.append(0, np.cumsum(flags[self.order]))[counts]
        if 2 * int(np.count_nonzero(flags)) > len(self):
            return counts - self.among_first(~flags, counts)
        flagged, limits = np.sort(self.values[flags]), self.ascending[counts]
        found = np.searchsorted(flagged, limits, side="left")
        n_tied = counts - np.searchsorted(self.ascending, limits, side="left")
        is_flagged = np.searchsorted(flagged, limits, side="right") > found
        for limit in np.unique(limits[is_flagged & (n_tied > 0)]):
            at = np.flatnonzero(_tied(limits, limit) & (n_tied > 0))
            tied = flags[np.flatnonzero(_tied(self.values, limit))]
            found[at] += np.cumsum(tied)[n_tied[at] - 1]
        return found


def _lowest(values: Scores32) -> np.float32:
    lowest = values.min()
    return np.float32(np.fmin.reduce(values) if np.isnan(lowest) else lowest)


def _tied(values: Scores32, limit: np.float32) -> NDArray[np.bool_]:
    return np.isnan(values) if np.isnan(limit) else values == limit


class PatternRanking(SiteRanking):
    """The units of a site under a pattern: first all that it can take, then those that stay.

    In each group of ``m`` units the ``m - n`` lowest scores can go; equal scores go by index.
    """

    def __init__(self, values: Scores32, pattern: Pattern) -> None:
        """Rank ``[U]`` scores, ``U`` a multiple of ``m``, numbered group by group."""
        super().__init__(values)
        self._pattern = pattern
        self._n_first = len(values) // pattern.m * (pattern.m - pattern.n)

    @cached_property
    def _free(self) -> NDArray[np.bool_]:
        """``[U]`` True where a unit can go: so many others of its group go before it."""
        m = self._pattern.m
        free = np.empty(len(self), np.bool_)
        step = keys.CHUNK // m * m or m
        for start in range(0, len(self), step):
            chunk = self.values[start : start + step]
            numbers = keys.keys(chunk) if np.isnan(chunk.min()) else chunk
            column = np.ascontiguousarray(numbers.reshape(-1, m).T)
            before = np.empty(column.shape, np.uint8)
            before[:] = np.arange(m, dtype=np.uint8)[:, None]  # equal ones go by index
            for i, j in combinations(range(m), 2):
                overtakes = (column[j] < column[i]).view(np.uint8)
                before[i] += overtakes
                before[j] -= overtakes
            free[start : start + step] = (before < m - self._pattern.n).T.reshape(-1)
        return free

    @cached_property
    def _first(self) -> SiteRanking:
        return SiteRanking(self.values[self._free])

    @cached_property
    def _last(self) -> SiteRanking:
        return SiteRanking(self.values[~self._free])

    @cached_property
    def ascending(self) -> Scores32:
        """``[U]`` scores in the order the units go: ascending among those that can, then again."""
        return np.concatenate([self._first.ascending, self._last.ascending])

    @cached_property
    def order(self) -> NDArray[np.int64]:
        """``[U]`` units in the order they go."""
        first, last = np.flatnonzero(self._free), np.flatnonzero(~self._free)
        return np.concatenate([first[self._first.order], last[self._last.order]])

    def place(self, unit: int) -> int:
        """Return how many units go before ``unit``."""
        inside = int(np.count_nonzero(self._free[:unit]))
        if self._free[unit]:
            return self._first.place(inside)
        return self._n_first + self._last.place(unit - inside)

    @property
    def competing(self) -> SiteRanking:
        """The units that can go."""
        return self._first

    def count_below(self, threshold: float) -> int:
        """Return how many of the units that can go score below ``threshold``."""
        return self._first.count_below(threshold)

    def threshold(self, count: int) -> float:
        """Return the lowest score that stays among those that compete with the next to go."""
        later = count - self._n_first
        if later == 0:
            return self._lowest_of_last
        return self._last.threshold(later) if later > 0 else self._first.threshold(count)

    @cached_property
    def _lowest_of_last(self) -> float:
        starts = range(0, len(self), keys.CHUNK)
        parts = [slice(start, start + keys.CHUNK) for start in starts]
        others = (
            np.where(self._free[part], np.float32(np.nan), self.values[part]) for part in parts
        )
        return float(np.fmin.reduce([np.fmin.reduce(chunk) for chunk in others]))

    def lowest(self, count: int) -> NDArray[np.bool_]:
        """Return ``[U]`` True for the first ``count`` units to go."""
        if count == self._n_first:
            return self._free.copy()
        goes = np.zeros(len(self), np.bool_)
        if count:
            goes[self._free] = self._first.lowest(count)
        if count > self._n_first:
            goes[~self._free] = self._last.lowest(count - self._n_first)
        return goes

    def among_first(self, flags: NDArray[np.bool_], counts: Counts) -> Counts:
        """Return ``[P]`` how many of the units with a flag are among the first ``counts`` to go."""
        found = [np.count_nonzero(flags & self.lowest(count)) for count in counts.tolist()]
        return np.array(found, np.int64)


def ranked(values: Scores32, pattern: Pattern | None) -> SiteRanking:
    """Return ``[U]`` scores ranked, by the rule of ``pattern`` where there is one."""
    return SiteRanking(values) if pattern is None else PatternRanking(values, pattern)


class KeyTable:
    """How many units of each of ``S`` sites lie below each of ``R`` bins.

    Attributes:
        bins: ``[R]`` bins that hold scores of some site, ascending.
        below: ``[R + 1, S]`` units in lower bins; the last row counts all.
    """

    def __init__(self, rankings: Sequence[SiteRanking]) -> None:
        """Read the scores of every site once, or not at all where that was done before."""
        filled = [ranking.histogram for ranking in rankings]
        self.bins = np.unique(np.concatenate([bins for bins, _ in filled]))
        self.below = np.zeros((len(self.bins) + 1, len(rankings)), np.int64)
        for site, (bins, counts) in enumerate(filled):
            self.below[1 + np.searchsorted(self.bins, bins), site] = counts
        np.cumsum(self.below, axis=0, out=self.below)

    def counts_below(self, threshold: float) -> Counts:
        """Return ``[S]`` how many units of each site lie below the ``snapped`` threshold."""
        row = int(np.searchsorted(self.bins, keys.key(threshold) >> keys.BITS))
        return np.asarray(self.below[row], np.int64)


class GlobalRanking:
    """Units of several sites in one order: lowest score first, then by site, then by index.

    The highest units of each site, which must stay, take no part.
    """

    def __init__(self, rankings: Sequence[SiteRanking], most: Sequence[int]) -> None:
        """Rank together at most ``most[s]`` units of the site ``s``."""
        self.most = np.array(most, np.int64)
        self._rankings = tuple(ranking.competing for ranking in rankings)

    def __len__(self) -> int:
        return int(self.most.sum())

    @cached_property
    def _table(self) -> KeyTable:
        return KeyTable(self._rankings)

    @cached_property
    def sites(self) -> NDArray[np.int64]:
        """``[N]`` the site of each unit in the order they go; for few units."""
        pairs = zip(self._rankings, self.most.tolist(), strict=True)
        candidates = np.concatenate([ranking.ascending[:most] for ranking, most in pairs])
        return np.repeat(np.arange(len(self.most)), self.most)[
            np.argsort(candidates, kind="stable")
        ]

    def counts(self, n_removed: int) -> Counts:
        """Return ``[S]`` how many units of each site are among the first ``n_removed``."""
        if n_removed >= len(self):
            return self.most
        if sum(len(ranking) for ranking in self._rankings) <= _FEW_TOGETHER:
            return np.bincount(self.sites[:n_removed], minlength=len(self.most))
        table, row = self._table, self._row(n_removed)
        number = int(table.bins[row])
        before = np.minimum(table.below[row], self.most)
        share = np.minimum(table.below[row + 1], self.most) - before
        held = np.flatnonzero(share)
        parts = [
            self._part(site, number, int(before[site]), int(share[site])) for site in held.tolist()
        ]
        among = self._among(parts, held, number, n_removed - int(before.sum()))
        return np.asarray(before + among, np.int64)

    def _row(self, n_removed: int) -> int:
        """Return the bin in which the ranking is cut."""
        low, high = 0, len(self._table.bins)
        while high - low > 1:
            middle = (low + high) // 2
            fits = int(np.minimum(self._table.below[middle], self.most).sum()) <= n_removed
            low, high = (middle, high) if fits else (low, middle)
        return low

    def _part(self, site: int, number: int, start: int, count: int) -> Scores32:
        """Return the lowest ``count`` scores of a site's bin, the bin starting at ``start``."""
        ranking = self._rankings[site]
        if ranking.is_sorted:
            return ranking.ascending[start : start + count]
        scores = keys.inside(ranking.values, number)
        return scores if len(scores) == count else np.sort(scores)[:count]

    def _among(
        self, parts: list[Scores32], held: NDArray[np.int64], number: int, n_removed: int
    ) -> Counts:
        """Return ``[S]`` how many of the scores of one bin are among its first ``n_removed``."""
        scores = np.concatenate(parts)
        limit = keys.kth(scores, number, n_removed)
        starts = np.cumsum([0, *(len(part) for part in parts)])[:-1]
        found = np.zeros(len(self.most), np.int64)
        found[held] = np.add.reduceat(scores < limit, starts, dtype=np.int64)
        tied = np.add.reduceat(_tied(scores, limit), starts, dtype=np.int64)
        earlier = np.cumsum(tied) - tied
        found[held] += np.clip(n_removed - int(found.sum()) - earlier, 0, tied)
        return found
