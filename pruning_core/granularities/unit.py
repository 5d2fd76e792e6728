"""Units: channels, neurons, heads, hidden units; they leave with everything coupled to them."""

from collections.abc import Iterator
from typing import NamedTuple
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor

from pruning_core.granularities.granularity import (
    GRANULARITIES,
    Combine,
    Elements,
    Granularity,
    Site,
)
from pruning_core.tracing.analysis import NO_UNIT
from pruning_core.tracing.network import Group, Network


def sites(network: Network) -> tuple[Site, ...]:
    """Return one site for each group of units that can leave."""
    return tuple(
        Site(group.name, group.kind, group.n_units, group.layers[0], group.layers)
        for group in network.groups
    )


class Slice(NamedTuple):
    """Where a unit's slices of one parameter lie.

    Attributes:
        parameter: Full name.
        axis: The axis that the slices are taken along.
        indices: ``[K]`` indices on the axis that belong to units of the group.
        units: ``[K]`` the unit, within the group, of each of them.
        in_order: True when unit ``u`` is index ``u``, and there are no others.
    """

    parameter: str
    axis: int
    indices: Tensor
    units: Tensor
    in_order: bool


_KNOWN: WeakKeyDictionary[Network, dict[str, tuple[Slice, ...]]] = WeakKeyDictionary()


def slices(network: Network, group: Group) -> tuple[Slice, ...]:
    """Return every slice of the parameters that leaves with a unit, first what makes the units.

    Running statistics are no weights and do not occur. An element on two such axes (the recurrent
    matrix of an RNN) is in two slices.
    """
    if network not in _KNOWN:
        _KNOWN[network] = {each.name: tuple(_slices(network, each)) for each in network.groups}
    return _KNOWN[network][group.name]


def _slices(network: Network, group: Group) -> Iterator[Slice]:
    start, parameters = network.first_unit(group), set(network.cost.parameters)
    for member in sorted(group.members, key=lambda member: member.parameter != group.maker):
        if member.parameter not in parameters:
            continue
        along = network.analysis.units_along(member.parameter, member.axis).astype(np.int64)
        inside = (along != NO_UNIT) & (along >= start) & (along < start + group.n_units)
        indices = np.flatnonzero(inside)
        yield Slice(
            member.parameter,
            member.axis,
            torch.from_numpy(indices),
            torch.from_numpy(along[indices] - start),
            np.array_equal(along, np.arange(start, start + group.n_units)),
        )


def gather(network: Network, site: Site, values: Elements, combine: Combine) -> Iterator[Tensor]:
    """Combine over each slice that leaves with the unit."""
    for parameter, axis, indices, units, in_order in slices(network, network.group(site.name)):
        along = values.along(parameter, axis, combine)
        yield along if in_order else combine.by_unit(along[indices], units, site.n_units)


KEY = "unit"

GRANULARITIES.add(
    KEY,
    Granularity(
        key=KEY,
        title="Units",
        description="Removes whole channels, neurons, heads or hidden units together with every "
        "coupled slice. The network really gets smaller: fewer parameters, MACs and bytes.",
        coarseness=10_000,
        removes=True,
        sites=sites,
        gather=gather,
        coupled=True,
    ),
)
