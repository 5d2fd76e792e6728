"""How far criteria agree: in which order they put the same units, and which ones each prunes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pruning_core.scoring.score import Scores

MOST_RANKED: Final = 1 << 20
"""So many units are ranked all; of more, a sample is."""
SAMPLE: Final = 1 << 18
Matrix = NDArray[np.float64]
Counts = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Ranked:
    """The same units, put in order by ``C`` criteria.

    Attributes:
        criteria: Their keys.
        sites: The layers whose units were ranked.
        skipped: Layers about which one of the criteria says nothing; they are left out.
        n_units: Units of ``sites``.
        site: ``[N]`` which of ``sites`` a ranked unit belongs to.
        unit: ``[N]`` its number there.
        places: ``[C, N]`` its place, from 0 (goes first) to 1; equal scores share their mean place.
        correlation: ``[C, C]`` Spearman's rank correlation; NaN where a criterion rates all alike.
    """

    criteria: tuple[str, ...]
    sites: tuple[str, ...]
    skipped: tuple[str, ...]
    n_units: int
    site: NDArray[np.int32]
    unit: Counts
    places: NDArray[np.float32]
    correlation: Matrix

    @property
    def is_sample(self) -> bool:
        """True when only some of the units were ranked, drawn at random with a fixed seed."""
        return self.unit.size < self.n_units

    def furthest(self, one: int, other: int, most: int) -> NDArray[np.intp]:
        """Return the units whose places by two criteria differ most, the largest gap first."""
        gaps = np.abs(self.places[one] - self.places[other])
        count = min(most, gaps.size)
        limit = np.partition(gaps, gaps.size - count)[gaps.size - count] if count else 0.0
        candidates = np.flatnonzero(gaps >= limit)
        return candidates[np.argsort(-gaps[candidates], kind="stable")][:count]


@dataclass(frozen=True, slots=True)
class Disagreement:
    """A unit that two criteria see differently.

    Attributes:
        site: Its layer or group.
        unit: Its number there.
        places: Its place by either criterion, from 0 (goes first) to 1.
        pruned: Whether it goes by either criterion, when as many go as in the plan.
    """

    site: str
    unit: int
    places: tuple[float, float]
    pruned: tuple[bool, bool]

    @property
    def gap(self) -> float:
        """How far apart the places are."""
        return abs(self.places[0] - self.places[1])


def mean_ranks(values: NDArray[np.floating]) -> Matrix:
    """Return the ranks ``[N]`` of ``[N]`` values, from 1; equal values share their mean rank."""
    order = np.argsort(values, kind="stable")
    ordered = values[order]
    starts = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]]))
    ends = np.append(starts[1:], values.size)
    ranks = np.empty(values.size, np.float64)
    ranks[order] = np.repeat((starts + ends + 1) / 2, ends - starts)
    return ranks


def correlation(ranks: NDArray[np.floating]) -> Matrix:
    """Return the linear correlation ``[C, C]`` of rows ``[C, N]``; of ranks it is Spearman's.

    NaN where a row is constant.
    """
    centred = ranks - ranks.mean(axis=1, keepdims=True, dtype=np.float64)
    products = centred @ centred.T
    spread = np.sqrt(np.diag(products))
    both = np.outer(spread, spread)
    found = np.full(both.shape, np.nan)
    np.divide(products, both, out=found, where=both > 0)
    return np.asarray(np.clip(found, -1, 1))


def jaccard(shared: Counts) -> Matrix:
    """Return what sets have in common, as a share of what is in either of them.

    Args:
        shared: ``[C, C]`` sizes of the intersections, those of the sets on the diagonal.

    Returns:
        ``[C, C]``, 0..1; NaN where both sets are empty.
    """
    sizes = np.diag(shared)
    either = sizes[:, None] + sizes - shared
    found = np.full(shared.shape, np.nan)
    np.divide(shared, either, out=found, where=either > 0)
    return found


def rank(
    scores: Mapping[str, Scores], *, together: bool, sites: Sequence[str] | None = None
) -> Ranked:
    """Rank the units of all layers by each criterion.

    Args:
        scores: Criterion -> scores of the same granularity.
        together: True ranks all units in one order, as a global target does; False each layer by
            itself.
        sites: Only these layers; None takes all.
    """
    found = list(scores.values())
    wanted = list(found[0].by_site) if sites is None else list(sites)
    rated = [name for name in wanted if not any(name in each.unrated for each in found)]
    sizes = np.array([found[0].by_site[name].size for name in rated], np.int64)
    chosen = _chosen(sizes)
    places = np.stack([_places(each, rated, chosen, together=together) for each in found])
    return Ranked(
        criteria=tuple(scores),
        sites=tuple(rated),
        skipped=tuple(name for name in wanted if name not in rated),
        n_units=int(sizes.sum()),
        site=np.repeat(np.arange(len(rated), dtype=np.int32), [units.size for units in chosen]),
        unit=np.concatenate([np.zeros(0, np.int64), *chosen]),
        places=places,
        correlation=correlation(places) if places.shape[1] else np.full((len(found),) * 2, np.nan),
    )


def shared(scores: Mapping[str, Scores], removed: Mapping[str, int]) -> Counts:
    """Return how many units any two criteria both prune, ``[C, C]``.

    Args:
        scores: Criterion -> scores of the same granularity.
        removed: How many units of each layer go, the lowest scores first.
    """
    found = list(scores.values())
    total = np.zeros((len(found),) * 2, np.int64)
    for name, count in removed.items():
        goes = [each.ranking(name).lowest(count) for each in found]
        for one in range(len(found)):
            for other in range(one, len(found)):
                both = int(np.count_nonzero(goes[one] & goes[other]))
                total[one, other] = total[other, one] = total[one, other] + both
    return total


def disagreements(
    ranked: Ranked,
    scores: Mapping[str, Scores],
    pair: tuple[str, str],
    removed: Mapping[str, int],
    most: int = 30,
) -> tuple[Disagreement, ...]:
    """Return the units on which two criteria disagree most, the largest gap first."""
    one, other = (ranked.criteria.index(key) for key in pair)
    rows = []
    for number in ranked.furthest(one, other, most).tolist():
        name, unit = ranked.sites[ranked.site[number]], int(ranked.unit[number])
        goes = [scores[key].ranking(name).place(unit) < removed[name] for key in pair]
        at = [float(ranked.places[row, number]) for row in (one, other)]
        rows.append(Disagreement(name, unit, (at[0], at[1]), (goes[0], goes[1])))
    return tuple(rows)


def _chosen(sizes: Counts) -> list[Counts]:
    """Return the units of each layer that are ranked."""
    total = int(sizes.sum())
    if total <= MOST_RANKED:
        return [np.arange(size) for size in sizes.tolist()]
    drawn = np.sort(np.random.default_rng(0).choice(total, SAMPLE, replace=False, shuffle=False))
    starts = np.cumsum(sizes) - sizes
    edges = np.searchsorted(drawn, np.append(starts, total))
    parts = zip(edges, edges[1:], starts, strict=False)
    return [drawn[first:last] - start for first, last, start in parts]


def _places(
    scores: Scores, sites: Sequence[str], chosen: Sequence[Counts], *, together: bool
) -> NDArray[np.float32]:
    """Return ``[N]`` the places of the chosen units of all layers."""
    parts = [scores.by_site[name][units] for name, units in zip(sites, chosen, strict=True)]
    if together:
        parts = [np.concatenate([np.zeros(0, np.float32), *parts])]
    shares = [(mean_ranks(part) - 1) / max(1, part.size - 1) for part in parts if part.size]
    return np.concatenate([np.zeros(0), *shares]).astype(np.float32)
