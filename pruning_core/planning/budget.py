"""Meet a budget: the fewest removals that bring a network down to a share of its cost."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from pruning_core.errors import InvalidRecipeError
from pruning_core.granularities import GRANULARITIES, depth
from pruning_core.planning.erk import erk_removed, erk_shares
from pruning_core.planning.keep import Limits
from pruning_core.planning.recipe import Budget, Recipe
from pruning_core.scoring.score import Scores
from pruning_core.tracing.cost import Costs
from pruning_core.tracing.network import Network

Counts = NDArray[np.int64]
Steps = tuple[int, Callable[[int], Counts]]


def meet_budget(
    recipe: Recipe, budget: Budget, network: Network, scores: Scores, fixed: Mapping[str, int]
) -> dict[str, int]:
    """Return how many units of each site go that has no number of its own, found by bisection.

    A global recipe removes the first units of all these sites together; a local one removes the
    same share of each; by Erdos-Renyi-Kernel, densities follow the shapes of the layers. Costs fall
    with every step, so the first step that fits is the only one to look for.

    Args:
        recipe: Scope and limits are read.
        budget: What may remain.
        network: The traced network.
        scores: Scores of its units.
        fixed: Site name -> how many units go there in any case.

    Raises:
        InvalidRecipeError: If the budget is out of reach, or the granularity removes nothing.
    """
    if not GRANULARITIES[recipe.granularity].removes:
        raise InvalidRecipeError(
            f"A budget in {budget.kind} cannot be met by setting weights to zero: shapes, MACs and "
            "the dense file stay as they are. Choose granularity 'unit', or a ratio."
        )
    limits = Limits(recipe.min_kept, recipe.round_to)
    sites = GRANULARITIES[recipe.granularity].sites(network)
    free = [site.name for site in sites if site.name not in fixed]
    is_free = np.array([site.name not in fixed for site in sites], np.bool_)
    always = np.array([fixed.get(site.name, 0) for site in sites], np.int64)
    match recipe.scope:
        case "global":
            n_steps, step_counts = _together(scores, free, limits)
        case "local":
            n_steps, step_counts = _alike(scores, free, limits)
        case "erk":
            shares = erk_shares(network, [site for site in sites if site.name in free])
            n_steps, step_counts = _by_shares(scores, free, limits, shares)

    def removed_at(step: int) -> Counts:
        removed = always.copy()
        removed[is_free] = step_counts(step)
        return removed

    is_depth = recipe.granularity == depth.KEY
    remaining = (_remaining_depth if is_depth else _remaining)(network, budget, scores)
    limit = budget.value * remaining(np.zeros_like(always))
    least = remaining(removed_at(n_steps))
    if least > limit:
        raise InvalidRecipeError(
            f"A budget of {budget.value:.1%} of the {budget.kind} cannot be reached: "
            f"{least / limit * budget.value:.1%} remain when every layer that may shrink is at its "
            f"minimum (at least {limits.min_kept:,} units stay, in multiples of "
            f"{limits.round_to:,}). Allow a larger budget, lower the minimum, or unpin layers."
        )
    low, high = 0, n_steps
    while low < high:
        middle = (low + high) // 2
        fits = remaining(removed_at(middle)) <= limit
        low, high = (low, middle) if fits else (middle + 1, high)
    return dict(zip(free, step_counts(low).tolist(), strict=True))


def _remaining(network: Network, budget: Budget, scores: Scores) -> Callable[[Counts], int]:
    """Return the function from units removed of each group to the budgeted cost that remains."""
    cost = network.cost
    sizes = np.array([group.n_units for group in network.groups], np.int64)

    def remaining(removed: Counts) -> int:
        if cost.uniform.all():
            costs = cost.query_counts(sizes - removed)
        else:
            pairs = zip(network.groups, removed.tolist(), strict=True)
            gone = [scores.ranking(group.name).lowest(count) for group, count in pairs]
            costs = cost.query(~np.concatenate(gone))
        return _amount(costs, budget)

    return remaining


def _remaining_depth(network: Network, budget: Budget, scores: Scores) -> Callable[[Counts], int]:
    """Return the function from the number of branches cut to the budgeted cost that remains."""
    everything = np.ones(network.cost.n_units, np.bool_)

    def remaining(removed: Counts) -> int:
        gone = np.flatnonzero(scores.ranking(depth.SITE).lowest(int(removed[0])))
        cost = network.cost_without([network.branches[unit] for unit in gone])
        return _amount(cost.query(everything), budget)

    return remaining


def _amount(costs: Costs, budget: Budget) -> int:
    by_kind = {"macs": costs.macs, "params": costs.params, "bytes": costs.n_bytes}
    return int(by_kind[budget.kind].sum())


def _together(scores: Scores, sites: Sequence[str], limits: Limits) -> Steps:
    """Return the choices of a global ranking: the first k units, for every k."""
    sizes = [len(scores.ranking(site)) for site in sites]
    ranking = scores.together(sites, [limits.most(size) for size in sizes])

    def counts(step: int) -> Counts:
        return limits.allowed_each(ranking.counts(step), np.array(sizes, np.int64))

    return len(ranking), counts


def _by_shares(
    scores: Scores, names: Sequence[str], limits: Limits, shares: NDArray[np.float64]
) -> Steps:
    """Return the choices of densities that follow ``shares``: k units in all, for every k."""
    sizes = np.array([len(scores.ranking(name)) for name in names], np.int64)
    most = np.array([limits.most(size) for size in sizes.tolist()], np.int64)

    def counts(step: int) -> Counts:
        removed = erk_removed(shares, sizes, most, step)
        pairs = zip(removed.tolist(), sizes.tolist(), strict=True)
        return np.array([limits.allowed(wish, size) for wish, size in pairs], np.int64)

    return int(most.sum()), counts


def _alike(scores: Scores, sites: Sequence[str], limits: Limits) -> Steps:
    """Return the choices of one common ratio: every one at which some layer loses a unit more."""
    sizes = np.array([len(scores.ranking(site)) for site in sites], np.int64)
    halves = [(np.arange(size) + 0.5) / size for size in np.unique(sizes).tolist()]
    turns = np.unique(np.concatenate([np.zeros(0), *halves]))

    def counts(step: int) -> Counts:
        ratio = 0.0 if step == 0 else float(turns[step - 1])
        return limits.allowed_each(np.floor(ratio * sizes + 0.5 + 1e-9).astype(np.int64), sizes)

    return len(turns), counts
