"""Units: channels, neurons, heads, hidden units; they leave with everything coupled to them."""

from collections.abc import Iterator

import torch
from torch import Tensor

from pruning_core.granularities.granularity import (
    GRANULARITIES,
    Combine,
    ElementValues,
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


Slice = tuple[str, int, Tensor, Tensor]
"""Parameter, axis, indices on it ``[K]`` and the unit, within the group, of each ``[K]``."""


def slices(network: Network, group: Group) -> Iterator[Slice]:
    """Yield every slice of the parameters that leaves with a unit, first what makes the units.

    Running statistics are no weights and do not occur. An element on two such axes (the recurrent
    matrix of an RNN) is in two slices.
    """
    start = network.first_unit(group)
    for member in sorted(group.members, key=lambda member: member.parameter != group.maker):
        if member.parameter not in network.cost.parameters:
            continue
        units = torch.from_numpy(
            network.analysis.units_along(member.parameter, member.axis).astype("int64")
        )
        inside = (units != NO_UNIT) & (units >= start) & (units < start + group.n_units)
        indices = torch.nonzero(inside).squeeze(1)
        yield member.parameter, member.axis, indices, units[indices] - start


def gather(network: Network, site: Site, values: ElementValues, combine: Combine) -> Tensor:
    """Combine over each slice that leaves with the unit."""
    rows = []
    for parameter, axis, indices, units in slices(network, network.group(site.name)):
        elements = values(parameter)
        others = [other for other in range(elements.ndim) if other != axis]
        along = combine.over(elements, others)[indices].double()
        rows.append(combine.by_unit(along, units, site.n_units))
    return torch.stack(rows)


GRANULARITIES.add(
    "unit",
    Granularity(
        key="unit",
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
