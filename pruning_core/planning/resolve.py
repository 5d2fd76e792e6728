"""Resolve a recipe against scores: every wish becomes an exact number of units a layer."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from pruning_core.errors import InvalidRecipeError, UnknownNameError
from pruning_core.granularities import GRANULARITIES, Site
from pruning_core.planning.keep import Limits, Ranking, share
from pruning_core.planning.plan import Plan
from pruning_core.planning.recipe import Budget, Count, Ratio, Recipe, Threshold
from pruning_core.scoring.ranking import SiteRanking
from pruning_core.scoring.score import Scores
from pruning_core.tracing.network import Network

__all__ = ["Plan", "resolve"]

Rankings = Mapping[str, SiteRanking]
Counts = dict[str, int]
LayerWish = Ratio | Count | Threshold


def resolve(recipe: Recipe, network: Network, scores: Scores) -> Plan:
    """Decide exactly which units go.

    Asked for k, k go, unless the minimum kept, the rounding or the number of units stands in the
    way, which the plan's notes say. A layer with a target of its own, or pinned, is left alone by
    the global target.

    Raises:
        InvalidRecipeError: If the recipe names unknown layers or a budget that cannot be reached.
    """
    sites = {site.name: site for site in GRANULARITIES[recipe.granularity].sites(network)}
    _check_names(recipe, sites)
    limits = limits_of(recipe)
    own = [name for name in sites if name in recipe.layers or name in recipe.pins]
    wishes = {
        name: _wish(recipe.layers[name], scores.ranking(name)) if name in recipe.layers else 0
        for name in own
    } | dict.fromkeys(scores.unrated, 0)
    governed = {name: scores.ranking(name) for name in sites if name not in wishes}
    notes = {name: [_unrated_note(scores)] for name in sites if name in scores.unrated}
    counts = {name: limits.allowed(wish, sites[name].n_units) for name, wish in wishes.items()}
    match recipe.target:
        case Budget() as budget:
            cost = _cost_function(network, budget, scores)
            wishes |= _meet_budget(recipe, budget, cost, governed, counts, limits)
        case Ratio() | Count() as target if recipe.scope == "global":
            wishes |= _rank_together(target, governed, limits, notes)
        case target:
            wishes |= {name: _wish(target, ranking) for name, ranking in governed.items()}
    return _plan(recipe, sites, scores, wishes, limits, notes)


def limits_of(recipe: Recipe) -> Limits:
    """Return how many units of each layer must stay."""
    granularity = GRANULARITIES[recipe.granularity]
    if granularity.removes:
        return Limits(recipe.min_kept, recipe.round_to)
    return Limits(1, 1, granularity.pattern)


def _check_names(recipe: Recipe, sites: Mapping[str, Site]) -> None:
    unknown = [name for name in (*recipe.layers, *recipe.pins) if name not in sites]
    problems = [str(UnknownNameError("prunable layer", name, sites)) for name in unknown[:5]]
    if problems:
        raise InvalidRecipeError(" ".join(problems))


def _wish(target: LayerWish, ranking: SiteRanking) -> int:
    """Return how many units of one site the target asks to remove."""
    match target:
        case Ratio(value=ratio):
            return share(ratio, len(ranking))
        case Count(value=count):
            return min(count, len(ranking))
        case Threshold(value=threshold):
            return ranking.count_below(threshold)


def _rank_together(
    target: Ratio | Count, rankings: Rankings, limits: Limits, notes: dict[str, list[str]]
) -> Counts:
    """Remove the lowest units of all layers together; units that must stay are not ranked."""
    total = sum(len(ranking) for ranking in rankings.values())
    wish = share(target.value, total) if isinstance(target, Ratio) else target.value
    ranking = Ranking.of({name: one.ascending for name, one in rankings.items()}, limits)
    if wish > len(ranking):
        notes.setdefault("", []).append(
            f"{wish:,} units were asked for, {len(ranking):,} of {total:,} may go: the rest "
            "are the minimum kept in each layer."
        )
    return dict(zip(rankings, ranking.counts(wish), strict=True))


def _meet_budget(
    recipe: Recipe,
    budget: Budget,
    cost: Callable[[Counts], float],
    rankings: Rankings,
    fixed: Counts,
    limits: Limits,
) -> Counts:
    """Return the fewest removals that bring the network under the budget, found by bisection."""
    if not GRANULARITIES[recipe.granularity].removes:
        raise InvalidRecipeError(
            f"A budget in {budget.kind} cannot be met by setting weights to zero: shapes, MACs and "
            "the dense file stay as they are. Choose granularity 'unit', or a ratio."
        )
    limit = budget.value * cost(dict.fromkeys((*rankings, *fixed), 0))
    steps = _together(rankings, limits) if recipe.scope == "global" else _alike(rankings, limits)
    n_steps, counts_at = steps

    def fits(step: int) -> bool:
        return cost({**counts_at(step), **fixed}) <= limit

    if not fits(n_steps):
        reached = cost({**counts_at(n_steps), **fixed}) / limit * budget.value
        raise InvalidRecipeError(
            f"A budget of {budget.value:.1%} of the {budget.kind} cannot be reached: {reached:.1%} "
            "remain when every layer that may shrink is at its minimum (at least "
            f"{limits.min_kept:,} units stay, in multiples of {limits.round_to:,}). Allow a larger "
            "budget, lower the minimum, or unpin layers."
        )
    low, high = 0, n_steps
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if fits(middle) else (middle + 1, high)
    return counts_at(low)


def _cost_function(network: Network, budget: Budget, scores: Scores) -> Callable[[Counts], float]:
    """Return the function from units removed in each group to the budgeted cost that remains."""
    starts = {group.name: network.first_unit(group) for group in network.groups}

    def cost(counts: Counts) -> float:
        keep = np.ones(network.cost.n_units, np.bool_)
        for name, count in counts.items():
            keep[starts[name] + scores.order(name)[:count]] = False
        costs = network.cost.query(keep)
        by_kind = {
            "macs": costs.macs.sum(),
            "params": costs.params.sum(),
            "bytes": costs.n_bytes[0],
        }
        return float(by_kind[budget.kind])

    return cost


Steps = tuple[int, Callable[[int], Counts]]


def _together(rankings: Rankings, limits: Limits) -> Steps:
    """Return the choices of a global ranking: the first k units, for every k."""
    ranking = Ranking.of({name: one.ascending for name, one in rankings.items()}, limits)

    def counts(step: int) -> Counts:
        wished = zip(rankings, ranking.counts(step), strict=True)
        return {name: limits.allowed(wish, len(rankings[name])) for name, wish in wished}

    return len(ranking), counts


def _alike(rankings: Rankings, limits: Limits) -> Steps:
    """Return the choices of one common ratio: every one at which some layer loses a unit more."""
    sizes = {name: len(ranking) for name, ranking in rankings.items()}
    turns = np.unique([(j - 0.5) / n for n in set(sizes.values()) for j in range(1, n + 1)])

    def counts(step: int) -> Counts:
        ratio = 0.0 if step == 0 else float(turns[step - 1])
        return {
            name: limits.allowed(int(np.floor(ratio * n + 0.5 + 1e-9)), n)
            for name, n in sizes.items()
        }

    return len(turns), counts


def _plan(
    recipe: Recipe,
    sites: Mapping[str, Site],
    scores: Scores,
    wishes: Counts,
    limits: Limits,
    notes: dict[str, list[str]],
) -> Plan:
    keep, thresholds = {}, {}
    for name, site in sites.items():
        allowed = limits.allowed(wishes[name], site.n_units)
        if allowed != wishes[name]:
            notes.setdefault(name, []).append(_limit_note(wishes[name], allowed, site, limits))
        ranking = scores.ranking(name)
        keep[name] = ~ranking.lowest(allowed)
        thresholds[name] = ranking.threshold(allowed)
    return Plan(recipe, keep, thresholds, {name: tuple(text) for name, text in notes.items()})


def _unrated_note(scores: Scores) -> str:
    return f"The criterion '{scores.criterion}' has nothing to say about these units; all stay."


def _limit_note(wish: int, allowed: int, site: Site, limits: Limits) -> str:
    if limits.pattern is not None:
        n, m = limits.pattern.n, limits.pattern.m
        return (
            f"{wish:,} of {site.n_units:,} were asked for, {allowed:,} go: a layer follows the "
            f"pattern {n}:{m} everywhere or nowhere, and the nearer of the two is taken."
        )
    kept_wish = site.n_units - wish
    rules: Sequence[str] = [
        f"at least {min(limits.min_kept, site.n_units)} must stay"
        if kept_wish < limits.min_kept
        else "",
        f"the number that stays is rounded up to a multiple of {limits.round_to}"
        if limits.round_to > 1
        else "",
    ]
    because = " and ".join(rule for rule in rules if rule)
    return f"{wish:,} of {site.n_units:,} were asked for, {allowed:,} go: {because}."
