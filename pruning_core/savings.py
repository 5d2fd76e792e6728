"""Where the savings of a plan come from: layer by layer, or in the order of what leaves.

Both ways add up exactly to the difference of the totals; what belongs to no entry is kept apart.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from pruning_core.granularities import GRANULARITIES, depth
from pruning_core.planning.mixed import Structure
from pruning_core.planning.plan import Plan
from pruning_core.preview import Preview, Totals
from pruning_core.tracing.cost import CostModel
from pruning_core.tracing.network import Network


@dataclass(frozen=True, slots=True)
class Savings:
    """The difference between the dense totals and those of a plan, in parts.

    Attributes:
        names: What saves: layers, groups, or branches.
        saved: What each of them saves.
        rest: What is saved besides: of a file its header and its buffers; in the order of leaving
            also what the other parts of a mixed recipe take.
    """

    names: tuple[str, ...]
    saved: tuple[Totals, ...]
    rest: Totals


def by_layer(counted: Preview) -> Savings:
    """Return what each layer of the network saves."""
    saved = tuple(_minus(layer.before, layer.after) for layer in counted.layers)
    return _savings([layer.name for layer in counted.layers], saved, counted)


def in_turn(network: Network, plan: Plan, counted: Preview) -> Savings | None:
    """Return what each group or branch saves when they leave one after the other.

    A weight between two groups leaves with the first of them, in execution order. So the parts add
    up, and each is exact, but what one group saves alone may be more.

    Returns:
        None for granularities that set weights to zero: there layers save by themselves.
    """
    granularity = GRANULARITIES[plan.recipe.granularity]
    if granularity.coupled:
        names = [group.name for group in network.groups]
        totals = _after_groups(network, plan)
    elif granularity.removes:
        names = [branch.name for branch in plan.cut(network)]
        totals = _after_branches(network, plan)
    else:
        return None
    saved = tuple(_minus(*pair) for pair in pairwise(totals))
    return _savings(names, saved, counted)


def _after_groups(network: Network, plan: Plan) -> list[Totals]:
    """Return the totals of the dense network, and after each group has lost its units."""
    wanted = Structure.of(network, [plan]).keep
    ends = np.cumsum([0, *(group.n_units for group in network.groups)])
    rows = np.where(np.arange(wanted.size) < ends[:, None], wanted, True)
    return _totals(network.cost, rows)


def _after_branches(network: Network, plan: Plan) -> list[Totals]:
    """Return the totals of the dense network, and after each branch that goes."""
    cut = plan.part(depth.KEY)[depth.SITE] if plan.part(depth.KEY) else np.ones(0, np.bool_)
    gone = [network.branches[number] for number in np.flatnonzero(~cut)]
    whole = Structure.whole(network).keep[None]
    return [_totals(network.cost_without(gone[:count]), whole)[0] for count in range(len(gone) + 1)]


def _totals(cost: CostModel, keep: NDArray[np.bool_]) -> list[Totals]:
    """Return the totals for each row of ``keep`` ``[P, n_units]``."""
    costs = cost.query(keep)
    params = costs.params.sum(axis=1)
    nonzero = params - cost.zeros(keep).sum(axis=1)
    columns = (params, nonzero, costs.macs.sum(axis=1), costs.n_bytes)
    return [Totals(*row) for row in zip(*(column.tolist() for column in columns), strict=True)]


def _savings(names: Iterable[str], saved: tuple[Totals, ...], counted: Preview) -> Savings:
    whole = _minus(counted.before, counted.after)
    parts = Totals(
        sum(part.params for part in saved),
        sum(part.nonzero for part in saved),
        sum(part.macs for part in saved),
        sum(part.n_bytes for part in saved),
    )
    return Savings(tuple(names), saved, _minus(whole, parts))


def _minus(one: Totals, other: Totals) -> Totals:
    return Totals(
        one.params - other.params,
        one.nonzero - other.nonzero,
        one.macs - other.macs,
        one.n_bytes - other.n_bytes,
    )
