"""In which order the units of each layer go, by score and by hand, and how many of them may."""

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from pruning_core.errors import InvalidRecipeError, UnknownNameError
from pruning_core.granularities import GRANULARITIES, Site
from pruning_core.planning.keep import Limits
from pruning_core.planning.recipe import Picks, Recipe
from pruning_core.scoring.ranking import GlobalRanking, SiteRanking
from pruning_core.scoring.score import Scores
from pruning_core.tracing.network import Network

Counts = NDArray[np.int64]
_NOTHING = Picks()


class PickedRanking(SiteRanking):
    """Units in the order they go: those picked to go, the free ones by score, those to stay."""

    def __init__(self, values: NDArray[np.float32], picks: Picks) -> None:
        """Rank ``[U]`` scores; picked units are ranked by score among themselves."""
        super().__init__(values)
        place = np.ones(len(values), np.int8)
        place[list(picks.prune)] = 0
        place[list(picks.keep)] = 2
        self._units = [np.flatnonzero(place == number) for number in range(3)]
        self._rankings = [SiteRanking(values[units]) for units in self._units]

    def place(self, unit: int) -> int:
        """Return how many units go before ``unit``."""
        before = 0
        for units, ranking in zip(self._units, self._rankings, strict=True):
            inside = np.flatnonzero(units == unit)
            if len(inside):
                return before + ranking.place(int(inside[0]))
            before += len(units)
        raise IndexError(unit)

    @property
    def competing(self) -> SiteRanking:
        """The units that nobody picked."""
        return self._rankings[1]

    @cached_property
    def ascending(self) -> NDArray[np.float32]:
        """``[U]`` the threshold after which so many go: the lowest score of a free unit left."""
        go, free, stay = self._rankings
        lowest, highest = (
            (self.values.min(), self.values.max())
            if not len(free)
            else (
                free.ascending[0],
                np.nextafter(free.ascending[-1], np.float32(np.inf)),
            )
        )
        return np.concatenate(
            [
                np.full(len(go), lowest, np.float32),
                free.ascending,
                np.full(len(stay), highest, np.float32),
            ]
        )

    @cached_property
    def order(self) -> NDArray[np.int64]:
        """``[U]`` units in the order they go."""
        pairs = zip(self._units, self._rankings, strict=True)
        return np.concatenate([units[ranking.order] for units, ranking in pairs])

    def count_below(self, threshold: float) -> int:
        """Return how many go below ``threshold``: free units that score less, and picked ones."""
        return len(self._units[0]) + self.competing.count_below(threshold)

    def among_first(self, flags: NDArray[np.bool_], counts: Counts) -> Counts:
        """Return ``[P]`` how many of the units with a flag are among the first ``counts`` to go."""
        return np.append(0, np.cumsum(flags[self.order]))[counts]

    def threshold(self, count: int) -> float:
        """Return the lowest score of a free unit that stays when ``count`` units go."""
        return float(self.ascending[count])

    def lowest(self, count: int) -> NDArray[np.bool_]:
        """Return ``[U]`` True for the first ``count`` units to go."""
        goes = np.zeros(len(self), np.bool_)
        for units, ranking in zip(self._units, self._rankings, strict=True):
            goes[units] = ranking.lowest(min(count, len(units)))
            count -= min(count, len(units))
        return goes


def limits_of(recipe: Recipe) -> Limits:
    """Return how many units of each layer must stay."""
    granularity = GRANULARITIES[recipe.granularity]
    if granularity.removes:
        return Limits(recipe.min_kept, recipe.round_to)
    return Limits(1, 1, granularity.pattern)


def ranking_of(recipe: Recipe, scores: Scores, site: str) -> SiteRanking:
    """Return the units of ``site`` in the order they go."""
    if site not in recipe.picks:
        return scores.ranking(site)
    return PickedRanking(scores.by_site[site], recipe.picks[site])


def reachable(recipe: Recipe, site: Site, counts: Counts) -> NDArray[np.bool_]:
    """Return ``[P]`` for which ``counts`` exactly that many units of ``site`` can go."""
    picks = recipe.picks.get(site.name, _NOTHING)
    inside = (counts >= len(picks.prune)) & (counts <= site.n_units - len(picks.keep))
    return inside & limits_of(recipe).allows(counts, site.n_units)


class Together:
    """Units of several sites in one order; those picked to go come first."""

    def __init__(self, ranking: GlobalRanking, forced: Counts) -> None:
        """Rank the free units by ``ranking``, after ``forced`` (``[S]``) picked ones."""
        self._ranking = ranking
        self._forced = forced

    def __len__(self) -> int:
        return len(self._ranking) + int(self._forced.sum())

    def counts(self, n_removed: int) -> Counts:
        """Return ``[S]`` how many units of each site are among the first ``n_removed``."""
        free = max(0, n_removed - int(self._forced.sum()))
        return self._forced + self._ranking.counts(free)


class Order:
    """The order of all sites of one recipe that is not mixed.

    Attributes:
        sites: What is pruned, by name, in execution order.
        limits: How many units of each must stay.
    """

    def __init__(self, recipe: Recipe, network: Network, scores: Scores) -> None:
        """Read scores and picks.

        Raises:
            InvalidRecipeError: If the recipe names layers or units that there are not.
        """
        self.sites = {site.name: site for site in GRANULARITIES[recipe.granularity].sites(network)}
        self.limits = limits_of(recipe)
        self._recipe, self._scores = recipe, scores
        _check_names(recipe, self.sites)
        self._rankings = {name: ranking_of(recipe, scores, name) for name in self.sites}

    def ranking(self, site: str) -> SiteRanking:
        """Return the units of ``site`` in the order they go."""
        return self._rankings[site]

    def picks(self, site: str) -> Picks:
        """Return what was picked by hand."""
        return self._recipe.picks.get(site, _NOTHING)

    def clipped(self, site: str, wish: int) -> int:
        """Return ``wish``, at least what was picked to go and at most what was not to stay."""
        picks = self.picks(site)
        most = self.sites[site].n_units - len(picks.keep)
        return min(max(wish, len(picks.prune)), most)

    def allowed(self, site: str, wish: int) -> int:
        """Return how many units go when ``wish`` should."""
        return self.limits.allowed(self.clipped(site, wish), self.sites[site].n_units)

    def allowing(self, sites: Sequence[str]) -> Callable[[Counts], Counts]:
        """Return the function from ``[S]`` wishes to how many units of each of ``sites`` go."""
        sizes = [self.sites[site].n_units for site in sites]
        least = np.array([len(self.picks(site).prune) for site in sites], np.int64)
        most = np.array(sizes, np.int64) - [len(self.picks(site).keep) for site in sites]
        allowed = self.limits.allowed

        def each(wishes: Counts) -> Counts:
            clipped = np.minimum(np.maximum(wishes, least), most).tolist()
            return np.array([allowed(w, n) for w, n in zip(clipped, sizes, strict=True)], np.int64)

        return each

    def most(self, site: str) -> int:
        """Return how many units may go at most."""
        return self.allowed(site, self.sites[site].n_units)

    def least(self, site: str) -> int:
        """Return how many units go in any case."""
        return min(len(self.picks(site).prune), self.most(site))

    def together(self, sites: Sequence[str]) -> Together:
        """Return the units of ``sites`` in one order; those that must stay are not ranked."""
        forced = [self.least(site) for site in sites]
        most = [self.most(site) - least for site, least in zip(sites, forced, strict=True)]
        ranking = (
            GlobalRanking([self.ranking(site) for site in sites], most)
            if self._recipe.picks
            else self._scores.together(sites, most)
        )
        return Together(ranking, np.array(forced, np.int64))


def _check_names(recipe: Recipe, sites: Mapping[str, Site]) -> None:
    named = (*recipe.layers, *recipe.pins, *recipe.picks)
    unknown = [name for name in dict.fromkeys(named) if name not in sites]
    problems = [str(UnknownNameError("prunable layer", name, sites)) for name in unknown[:5]]
    if not problems and recipe.picks and GRANULARITIES[recipe.granularity].pattern is not None:
        problems.append(
            f"Units cannot be picked by hand where a layer follows the pattern "
            f"{recipe.granularity}. Choose another granularity, or drop the picks."
        )
    for name, picks in recipe.picks.items():
        if name in sites:
            problems += _beyond(name, picks, sites[name])
    if problems:
        raise InvalidRecipeError(" ".join(problems[:5]))


def _beyond(name: str, picks: Picks, site: Site) -> list[str]:
    highest = max((*picks.keep, *picks.prune), default=-1)
    if highest < site.n_units:
        return []
    return [
        f"Layer '{name}' has no {site.kind} {highest:,}: they are numbered 0 to "
        f"{site.n_units - 1:,}."
    ]
