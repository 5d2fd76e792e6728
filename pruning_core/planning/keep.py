"""How many units go: exact counts, and never the last unit of a layer."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pruning_core.granularities import Pattern


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

    def allows(self, counts: NDArray[np.int64], n_units: int) -> NDArray[np.bool_]:
        """Return ``[P]`` for which ``counts`` :meth:`allowed` lets go exactly as many."""
        if self.pattern is not None:
            return np.isin(counts, [0, self.pattern.most(n_units)])
        kept = n_units - counts
        exact: NDArray[np.bool_] = (kept % self.round_to == 0) | (kept == n_units)
        exact &= kept >= min(self.min_kept, n_units)
        return exact
