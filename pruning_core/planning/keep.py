"""How many units go: exact counts, ties in a fixed order, and never the last unit of a layer."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pruning_core.granularities import Pattern


def share(ratio: float, n_units: int) -> int:
    """Return ``ratio`` of ``n_units``, to the nearest whole unit (halves round up)."""
    return int(np.floor(ratio * n_units + 0.5))


@dataclass(frozen=True, slots=True)
class Limits:
    """How many units must stay in a layer.

    Attributes:
        min_kept: At least this many stay (all, in a smaller layer).
        round_to: The number that stays is rounded up to a multiple of this.
        pattern: Either all that the pattern can take goes, or nothing: what is nearer to the wish.
    """

    min_kept: int
    round_to: int
    pattern: Pattern | None = None

    def most(self, n_units: int) -> int:
        """Return how many of ``n_units`` may go at most."""
        return self.allowed(n_units, n_units)

    def allowed(self, wish: int, n_units: int) -> int:
        """Return how many units go when ``wish`` should; more than wished only under a pattern."""
        if self.pattern is not None:
            full = self.pattern.most(n_units)
            return full if 2 * wish >= full else 0
        kept = max(n_units - wish, min(self.min_kept, n_units))
        rounded = -(-kept // self.round_to) * self.round_to
        return n_units - min(rounded, n_units)


@dataclass(frozen=True, slots=True, eq=False)
class Ranking:
    """All units that may go, in one order over several sites: lowest score first.

    Equal scores go by site, then by their order within the site. The highest units of each site,
    which must stay, are not ranked.
    """

    candidates: tuple[NDArray[np.float32], ...]  # ascending, one array a site

    @classmethod
    def of(cls, ascending: Mapping[str, NDArray[np.float32]], limits: Limits) -> "Ranking":
        """Rank together the units of sites whose scores are given in ascending order."""
        return cls(tuple(values[: limits.most(len(values))] for values in ascending.values()))

    def __len__(self) -> int:
        return sum(len(values) for values in self.candidates)

    def counts(self, n_removed: int) -> list[int]:
        """Return how many units of each site are among the first ``n_removed``, at most all."""
        if n_removed >= len(self):
            return [len(values) for values in self.candidates]
        last = np.partition(np.concatenate(self.candidates), n_removed)[n_removed]
        below = [int(np.searchsorted(values, last, side="left")) for values in self.candidates]
        ties = n_removed - sum(below)
        for site, values in enumerate(self.candidates):
            equal = int(np.searchsorted(values, last, side="right")) - below[site]
            below[site] += min(equal, ties)
            ties -= min(equal, ties)
        return below
