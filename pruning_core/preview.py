"""What a plan saves, exactly and at once: the model is not touched."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pruning_core.granularities import GRANULARITIES, Combine, Elements
from pruning_core.planning.plan import Plan
from pruning_core.scoring.score import Scores
from pruning_core.tracing.cost import CostModel, Costs
from pruning_core.tracing.cost import Totals as CostTotals
from pruning_core.tracing.network import Group, Network

Counts = NDArray[np.int64]
MAX_TRACK_POSITIONS = 513


@dataclass(frozen=True, slots=True)
class Totals:
    """Four exact numbers about a network or a layer.

    Attributes:
        params: Elements of all parameters.
        nonzero: Parameters that are not zero.
        macs: Multiply-accumulates of matrix products and convolutions, for one sample.
        n_bytes: Bytes of the dense safetensors file (of a layer: of its parameters).
    """

    params: int
    nonzero: int
    macs: int
    n_bytes: int


@dataclass(frozen=True, slots=True)
class LayerCost:
    """What one layer costs before and after."""

    name: str
    kind: str
    before: Totals
    after: Totals


@dataclass(frozen=True, slots=True)
class Preview:
    """What the whole network costs before and after, and layer by layer."""

    before: Totals
    after: Totals
    layers: tuple[LayerCost, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Track:
    """Exact totals of the whole network for ``P`` positions of one site's threshold.

    Attributes:
        site: Name of the site that moves; all others stay as planned.
        n_units: Units of the site.
        n_removed: ``[P]`` units of the site that go, ascending.
        threshold: ``[P]`` score of the lowest unit that stays.
        params: ``[P]`` parameters of the network.
        nonzero: ``[P]`` parameters that are not zero.
        macs: ``[P]`` multiply-accumulates for one sample.
        n_bytes: ``[P]`` bytes of the dense safetensors file.
    """

    site: str
    n_units: int
    n_removed: Counts
    threshold: NDArray[np.float32]
    params: Counts
    nonzero: Counts
    macs: Counts
    n_bytes: Counts


def preview(network: Network, plan: Plan) -> Preview:
    """Return what ``network`` costs now and when ``plan`` is carried out."""
    everything = np.ones(network.cost.n_units, np.bool_)
    masked = _masked_nonzeros(network, plan)
    before, layers_before = _cost(network, network.cost, everything, {})
    cost = network.cost_without(plan.cut(network))
    after, layers_after = _cost(network, cost, plan.unit_keep(network), masked)
    layers = tuple(
        LayerCost(layer.name, layer.kind, *totals)
        for layer, *totals in zip(network.layers, layers_before, layers_after, strict=True)
    )
    return Preview(before, after, layers)


def tracks(network: Network, plan: Plan, scores: Scores, site: str) -> Track:
    """Return the exact totals for 513 even positions of the threshold of ``site``, or all.

    The present position is always among them.

    Every number is what :func:`preview` would say if the site lost that many units. Position 0
    keeps everything, the last one keeps one unit. Under a pattern there are these two only: nothing
    and the whole pattern.
    """
    of_site = scores.by_site[site]
    order = scores.order(site)
    positions = _positions(plan, site, len(order))
    granularity = GRANULARITIES[plan.recipe.granularity]
    if granularity.coupled:
        group = network.group(site)
        first = network.first_unit(group)
        keep = plan.unit_keep(network)
        keep[first : first + group.n_units] = True
        costs = network.cost.sweep(keep, first + order, positions)
        zeros = network.cost.zeros_along(keep, first + order, positions)
        nonzero = costs.params.sum(axis=1) - zeros.sum(axis=1)
    elif granularity.removes:
        costs, nonzero = _cut_track(network, plan, order, positions)
    else:
        costs, nonzero = _masked_track(network, plan, site, order, positions)
    return Track(
        site=site,
        n_units=len(order),
        n_removed=positions,
        threshold=of_site[order[positions]],
        params=costs.params.sum(axis=1),
        nonzero=nonzero,
        macs=costs.macs.sum(axis=1),
        n_bytes=costs.n_bytes,
    )


@dataclass(frozen=True, slots=True, eq=False)
class Slider:
    """Exact totals for every position of one site: entry ``i`` is with ``i`` units removed.

    Numbers are as narrow as they can be, so that all sliders can be sent to the browser at once.

    Attributes:
        site: Name of the site that moves; all others stay as planned.
        params: ``[U]`` parameters of the network.
        macs: ``[U]`` multiply-accumulates for one sample.
        n_bytes: ``[U]`` bytes of the dense safetensors file.
    """

    site: str
    params: NDArray[np.unsignedinteger]
    macs: NDArray[np.unsignedinteger]
    n_bytes: NDArray[np.unsignedinteger]


def sliders(network: Network, plan: Plan, scores: Scores) -> tuple[Slider, ...]:
    """Return the exact totals for every position of every site whose units can leave."""
    keep = plan.unit_keep(network)
    found = []
    for group, totals in zip(network.groups, network.cost.slides(keep), strict=True):
        known = totals or _swept(network, keep, group, scores)
        falling = (known.params, known.macs, known.n_bytes)
        found.append(Slider(group.name, *(_narrow(values[:-1]) for values in falling)))
    return tuple(found)


def _swept(network: Network, keep: NDArray[np.bool_], group: Group, scores: Scores) -> CostTotals:
    """Return totals ``[U + 1]`` for a group whose units differ, in the order of their scores."""
    first = network.first_unit(group)
    start = keep.copy()
    start[first : first + group.n_units] = True
    positions = np.arange(group.n_units + 1)
    costs = network.cost.sweep(start, first + scores.order(group.name), positions)
    return CostTotals(costs.params.sum(axis=1), costs.macs.sum(axis=1), costs.n_bytes)


def _narrow(falling: Counts) -> NDArray[np.unsignedinteger]:
    return falling.astype(np.uint32 if falling[0] < 2**32 else np.uint64)


def _positions(plan: Plan, site: str, n_units: int) -> Counts:
    """Return the numbers of units that a track looks at, the present one among them, ascending."""
    pattern = GRANULARITIES[plan.recipe.granularity].pattern
    wanted = np.linspace(0, n_units - 1, min(n_units, MAX_TRACK_POSITIONS))
    if pattern is not None:
        wanted = np.array([0, pattern.most(n_units)])
    return np.unique(np.append(np.rint(wanted), plan.n_removed(site))).astype(np.int64)


def _cut_track(
    network: Network, plan: Plan, order: Counts, positions: Counts
) -> tuple[Costs, Counts]:
    """Return costs ``[P, ...]`` and non-zeros ``[P]`` when branches are cut one after the other."""
    keep = plan.unit_keep(network)
    found, nonzero = [], []
    for position in positions.tolist():
        cost = network.cost_without([network.branches[unit] for unit in order[:position]])
        found.append(cost.query(keep))
        nonzero.append(int(found[-1].params.sum() - cost.zeros(keep).sum()))
    columns = zip(*((c.params, c.macs, c.n_bytes) for c in found), strict=True)
    return Costs(*(np.concatenate(column) for column in columns)), np.array(nonzero, np.int64)


def _masked_track(
    network: Network, plan: Plan, site: str, order: Counts, positions: Counts
) -> tuple[Costs, Counts]:
    """Return costs ``[P, ...]`` (shapes stay, so all alike) and non-zeros ``[P]`` under masks."""
    keep = np.ones((1, network.cost.n_units), np.bool_)
    one = network.cost.query(keep)
    repeat = len(positions)
    costs = Costs(
        np.repeat(one.params, repeat, 0),
        np.repeat(one.macs, repeat, 0),
        np.repeat(one.n_bytes, repeat),
    )
    granularity = GRANULARITIES[plan.recipe.granularity]
    moving = next(s for s in granularity.sites(network) if s.name == site)
    nonzero = Elements(lambda name: (network.tensor(name) != 0).cpu())
    (live,) = granularity.gather(network, moving, nonzero, Combine.SUM)
    gone = np.concatenate([[0], np.cumsum(live.numpy()[order])]).astype(np.int64)
    masked = _masked_nonzeros(network, plan)
    others = {name: count for name, count in masked.items() if name != moving.parameter}
    start = int(one.params.sum() - network.cost.zeros(keep).sum()) - sum(others.values())
    return costs, start - gone[positions]


def _masked_nonzeros(network: Network, plan: Plan) -> dict[str, int]:
    """Return, for each masked parameter, how many of its non-zero weights become zero."""
    granularity = GRANULARITIES[plan.recipe.granularity]
    if granularity.mask is None:
        return {}
    lost = {}
    for site in granularity.sites(network):
        keep = plan.keep[site.name]
        if not keep.all():
            live = (network.tensor(site.parameter) != 0).cpu().numpy()
            mask = granularity.mask(network, site, keep)
            lost[site.parameter] = int(np.count_nonzero(live & ~mask))
    return lost


def _cost(
    network: Network, cost: CostModel, keep: NDArray[np.bool_], masked: dict[str, int]
) -> tuple[Totals, list[Totals]]:
    """Return the cost of the whole and of each layer, ``masked`` weights being set to zero."""
    costs, names = cost.query(keep), cost.parameters
    params, macs = costs.params[0], costs.macs[0]
    nonzero = params - cost.zeros(keep)[0] - [masked.get(name, 0) for name in names]
    n_bytes = params * [network.tensor(name).element_size() for name in names]
    columns = [
        _by_layer(network.parameter_layer, values, len(network.layers))
        for values in (params, nonzero)
    ]
    columns.append(_by_layer(network.product_layer, macs, len(network.layers)))
    columns.append(_by_layer(network.parameter_layer, n_bytes, len(network.layers)))
    whole = Totals(int(params.sum()), int(nonzero.sum()), int(macs.sum()), int(costs.n_bytes[0]))
    return whole, [Totals(*row) for row in zip(*columns, strict=True)]


def _by_layer(layer: NDArray[np.int64], values: Counts, n_layers: int) -> list[int]:
    total = np.zeros(n_layers, np.int64)
    np.add.at(total, layer, values)
    return total.tolist()
