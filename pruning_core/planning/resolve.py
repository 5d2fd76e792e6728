"""Resolve a recipe against scores: every wish becomes an exact number of units a layer."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from pruning_core.errors import InvalidRecipeError, UnknownNameError
from pruning_core.granularities import GRANULARITIES, Site
from pruning_core.planning.budget import meet_budget
from pruning_core.planning.erk import erk_removed, erk_shares
from pruning_core.planning.keep import Limits, share
from pruning_core.planning.plan import Plan
from pruning_core.planning.recipe import Budget, Count, Ratio, Recipe, Threshold
from pruning_core.scoring.ranking import SiteRanking
from pruning_core.scoring.score import Scores
from pruning_core.tracing.network import Network

__all__ = ["Plan", "resolve"]

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
    match recipe.target:
        case Budget() as budget:
            counts = {name: limits.allowed(w, sites[name].n_units) for name, w in wishes.items()}
            wishes |= meet_budget(recipe, budget, network, scores, counts)
        case Ratio() | Count() as target if recipe.scope == "global":
            wishes |= _rank_together(target, list(governed), scores, limits, notes)
        case Ratio() | Count() as target if recipe.scope == "erk":
            free = [sites[name] for name in governed]
            wishes |= _by_shares(target, erk_shares(network, free), free, limits, notes)
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
    target: Ratio | Count,
    names: Sequence[str],
    scores: Scores,
    limits: Limits,
    notes: dict[str, list[str]],
) -> Counts:
    """Remove the lowest units of all layers together; units that must stay are not ranked."""
    sizes = [len(scores.ranking(name)) for name in names]
    most = [limits.most(size) for size in sizes]
    wish = _total_wish(target, sizes, most, notes)
    return dict(zip(names, scores.together(names, most).counts(wish).tolist(), strict=True))


def _by_shares(
    target: Ratio | Count,
    shares: NDArray[np.float64],
    sites: Sequence[Site],
    limits: Limits,
    notes: dict[str, list[str]],
) -> Counts:
    """Remove the target's number of units in all, spread so that densities follow ``shares``."""
    sizes = [site.n_units for site in sites]
    most = [limits.most(size) for size in sizes]
    wish = _total_wish(target, sizes, most, notes)
    removed = erk_removed(shares, np.array(sizes, np.int64), np.array(most, np.int64), wish)
    return {site.name: count for site, count in zip(sites, removed.tolist(), strict=True)}


def _total_wish(
    target: Ratio | Count, sizes: Sequence[int], most: Sequence[int], notes: dict[str, list[str]]
) -> int:
    """Return how many units of all sites together are asked for."""
    total, allowed = sum(sizes), sum(most)
    wish = share(target.value, total) if isinstance(target, Ratio) else target.value
    if wish > allowed:
        notes.setdefault("", []).append(
            f"{wish:,} units were asked for, {allowed:,} of {total:,} may go: the rest are the "
            "minimum kept in each layer."
        )
    return wish


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
