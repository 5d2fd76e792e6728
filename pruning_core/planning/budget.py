"""Meet a budget: the fewest removals that bring a network down to a share of its cost."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from pruning_core.errors import InvalidRecipeError
from pruning_core.granularities import GRANULARITIES, depth
from pruning_core.planning.erk import erk_removed
from pruning_core.planning.mixed import Structure
from pruning_core.planning.order import Order
from pruning_core.planning.recipe import Budget, Recipe
from pruning_core.tracing.cost import Costs
from pruning_core.tracing.network import Network

Counts = NDArray[np.int64]
Steps = tuple[int, Callable[[int], Counts]]


def meet_budget(
    recipe: Recipe,
    budget: Budget,
    network: Network,
    order: Order,
    fixed: Mapping[str, int],
    others: Structure,
) -> dict[str, int]:
    """Return how many units of each site go that has no number of its own, found by bisection.

    A global recipe removes the first units of all these sites together; a local one removes the
    same share of each; by Erdos-Renyi-Kernel, densities follow the shapes of the layers. Costs fall
    with every step, so the first step that fits is the only one to look for.

    Args:
        recipe: Its granularity and scope are read.
        budget: What may remain.
        network: The traced network.
        order: In which order its units go, and how many may.
        fixed: Site name -> how many units go there in any case.
        others: What the other parts of a mixed recipe leave.

    Raises:
        InvalidRecipeError: If the budget is out of reach, or the granularity removes nothing.
    """
    if not GRANULARITIES[recipe.granularity].removes:
        raise InvalidRecipeError(
            f"A budget in {budget.kind} cannot be met by setting weights to zero: shapes, MACs and "
            "the dense file stay as they are. Choose granularity 'unit', or a ratio."
        )
    free = [name for name in order.sites if name not in fixed]
    is_free = np.array([name not in fixed for name in order.sites], np.bool_)
    always = np.array([fixed.get(name, 0) for name in order.sites], np.int64)
    match recipe.scope:
        case "global":
            n_steps, step_counts = _together(order, free)
        case "local":
            n_steps, step_counts = _alike(order, free)
        case "erk":
            n_steps, step_counts = _by_erk(network, order, free)

    def removed_at(step: int) -> Counts:
        removed = always.copy()
        removed[is_free] = step_counts(step)
        return removed

    is_depth = recipe.granularity == depth.KEY
    remaining = (_after_cuts if is_depth else _after_removal)(network, budget, order, others)
    dense = _amount(network.cost.query(np.ones(network.cost.n_units, np.bool_)), budget)
    limit, least = budget.value * dense, remaining(removed_at(n_steps))
    if least > limit:
        raise InvalidRecipeError(
            f"A budget of {budget.value:.1%} of the {budget.kind} cannot be reached: "
            f"{least / dense:.1%} remain when every layer that may shrink is at its minimum (at "
            f"least {order.limits.min_kept:,} units stay, in multiples of "
            f"{order.limits.round_to:,}). Allow a larger budget, lower the minimum, or unpin "
            "layers."
        )
    low, high = 0, n_steps
    while low < high:
        middle = (low + high) // 2
        fits = remaining(removed_at(middle)) <= limit
        low, high = (low, middle) if fits else (middle + 1, high)
    return dict(zip(free, step_counts(low).tolist(), strict=True))


def _after_removal(
    network: Network, budget: Budget, order: Order, others: Structure
) -> Callable[[Counts], int]:
    """Return the function from units removed of each group to the budgeted cost that remains."""
    cost = network.cost_without(others.cut)
    sizes = np.array([group.n_units for group in network.groups], np.int64)

    def remaining(removed: Counts) -> int:
        if cost.uniform.all():
            costs = cost.query_counts(sizes - removed)
        else:
            pairs = zip(network.groups, removed.tolist(), strict=True)
            gone = [order.ranking(group.name).lowest(count) for group, count in pairs]
            costs = cost.query(~np.concatenate(gone))
        return _amount(costs, budget)

    return remaining


def _after_cuts(
    network: Network, budget: Budget, order: Order, others: Structure
) -> Callable[[Counts], int]:
    """Return the function from the number of branches cut to the budgeted cost that remains."""

    def remaining(removed: Counts) -> int:
        gone = np.flatnonzero(order.ranking(depth.SITE).lowest(int(removed[0])))
        cost = network.cost_without([network.branches[unit] for unit in gone])
        return _amount(cost.query(others.keep), budget)

    return remaining


def _amount(costs: Costs, budget: Budget) -> int:
    by_kind = {"macs": costs.macs, "params": costs.params, "bytes": costs.n_bytes}
    return int(by_kind[budget.kind].sum())


def _together(order: Order, names: Sequence[str]) -> Steps:
    """Return the choices of a global ranking: the first k units, for every k."""
    ranking, allowed = order.together(names), order.allowing(names)

    def counts(step: int) -> Counts:
        return allowed(ranking.counts(step))

    return len(ranking), counts


def _by_erk(network: Network, order: Order, names: Sequence[str]) -> Steps:
    """Return the choices of Erdos-Renyi-Kernel densities: k units in all, for every k."""
    removed, allowed = erk_removed(network, order, names), order.allowing(names)

    def counts(step: int) -> Counts:
        return allowed(removed(step))

    return sum(order.most(name) for name in names), counts


def _alike(order: Order, names: Sequence[str]) -> Steps:
    """Return the choices of one common ratio: every one at which some layer loses a unit more."""
    sizes = np.array([order.sites[name].n_units for name in names], np.int64)
    halves = [(np.arange(size) + 0.5) / size for size in np.unique(sizes).tolist()]
    turns = np.unique(np.concatenate([np.zeros(0), *halves]))
    allowed = order.allowing(names)

    def counts(step: int) -> Counts:
        ratio = 0.0 if step == 0 else float(turns[step - 1])
        return allowed(np.floor(ratio * sizes + 0.5 + 1e-9).astype(np.int64))

    return len(turns), counts
