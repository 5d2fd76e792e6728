"""What a plan saves, exactly and at once: the model is not touched."""

from collections.abc import Container, Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from pruning_core.granularities import GRANULARITIES, Combine, Elements, Granularity, unit
from pruning_core.planning.mixed import Structure
from pruning_core.planning.order import ranking_of
from pruning_core.planning.plan import Plan
from pruning_core.planning.recipe import Recipe
from pruning_core.scoring.ranking import SiteRanking
from pruning_core.scoring.score import Scores
from pruning_core.tracing.cost import Costs
from pruning_core.tracing.cost import Totals as CostTotals
from pruning_core.tracing.network import Group, Network
from pruning_core.tracing.zeros import ZeroTable

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
    whole, structure = Structure.whole(network), Structure.of(network, [plan])
    before, layers_before = _cost(network, whole, {})
    after, layers_after = _cost(network, structure, _masked_nonzeros(network, plan, structure))
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
    prefix, name = plan.recipe.locate(site)
    part = plan.recipe.parts[prefix]
    granularity = GRANULARITIES[part.granularity]
    ranking = ranking_of(part, scores.part(prefix), name)
    positions = _positions(granularity, len(ranking), plan.n_removed(site))
    if granularity.coupled:
        costs, nonzero = _removed_track(network, plan, name, ranking.order, positions)
    elif granularity.removes:
        costs, nonzero = _cut_track(network, plan, ranking.order, positions)
    else:
        costs, nonzero = _masked_track(network, plan, site, ranking, positions)
    return Track(
        site=site,
        n_units=len(ranking),
        n_removed=positions,
        threshold=_thresholds(granularity, ranking, positions),
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
    """Return the exact totals for every position of every site of units."""
    structure = Structure.of(network, [plan])
    parts = plan.recipe.parts.items()
    prefix, part = next((p, q) for p, q in parts if q.granularity == unit.KEY)
    rated = scores.part(prefix)
    found = []
    slides = network.cost_without(structure.cut).slides(structure.keep)
    for group, totals in zip(network.groups, slides, strict=True):
        order = ranking_of(part, rated, group.name)
        known = totals or _swept(network, structure, group, order.order)
        falling = (known.params, known.macs, known.n_bytes)
        found.append(Slider(group.name, *(_narrow(values[:-1]) for values in falling)))
    return tuple(found)


def _swept(
    network: Network, structure: Structure, group: Group, order: NDArray[np.int64]
) -> CostTotals:
    """Return totals ``[U + 1]`` for a group whose units differ, when they leave in ``order``."""
    first = network.first_unit(group)
    start = structure.keep.copy()
    start[first : first + group.n_units] = True
    positions = np.arange(group.n_units + 1)
    costs = network.cost_without(structure.cut).sweep(start, first + order, positions)
    return CostTotals(costs.params.sum(axis=1), costs.macs.sum(axis=1), costs.n_bytes)


def _narrow(falling: Counts) -> NDArray[np.unsignedinteger]:
    return falling.astype(np.uint32 if falling[0] < 2**32 else np.uint64)


def _positions(granularity: Granularity, n_units: int, present: int) -> Counts:
    """Return the numbers of units that a track looks at, the present one among them, ascending."""
    wanted = np.linspace(0, n_units - 1, min(n_units, MAX_TRACK_POSITIONS))
    if granularity.pattern is not None:
        wanted = np.array([0, granularity.pattern.most(n_units)])
    return np.unique(np.append(np.rint(wanted), present)).astype(np.int64)


def _thresholds(
    granularity: Granularity, ranking: SiteRanking, positions: Counts
) -> NDArray[np.float32]:
    if granularity.pattern is None:
        return ranking.ascending[positions]
    return np.array([ranking.threshold(count) for count in positions.tolist()], np.float32)


def _removed_track(
    network: Network, plan: Plan, site: str, order: Counts, positions: Counts
) -> tuple[Costs, Counts]:
    """Return costs ``[P, ...]`` and non-zeros ``[P]`` when units leave one after the other."""
    structure = Structure.of(network, [plan])
    group = network.group(site)
    first = network.first_unit(group)
    keep = structure.keep.copy()
    keep[first : first + group.n_units] = True
    cost = network.cost_without(structure.cut)
    costs = cost.sweep(keep, first + order, positions)
    zeros = cost.zeros_along(keep, first + order, positions).sum(axis=1)
    lost = _lost(network, plan)
    if lost:  # weights set to zero leave with units as well
        kept = {name: torch.from_numpy(~flags) for name, flags in lost.items()}
        table = ZeroTable.of(kept, network.analysis)
        zeros += cost.zeros_along(keep, first + order, positions, table).sum(axis=1)
    return costs, costs.params.sum(axis=1) - zeros


def _cut_track(
    network: Network, plan: Plan, order: Counts, positions: Counts
) -> tuple[Costs, Counts]:
    """Return costs ``[P, ...]`` and non-zeros ``[P]`` when branches are cut one after the other."""
    keep, lost = plan.unit_keep(network), _lost(network, plan)
    found, nonzero = [], []
    for position in positions.tolist():
        cut = tuple(network.branches[number] for number in order[:position])
        structure = Structure(keep, cut)
        cost = network.cost_without(cut)
        found.append(cost.query(keep))
        masked = sum(_surviving(network, structure, lost).values())
        nonzero.append(int(found[-1].params.sum() - cost.zeros(keep).sum()) - masked)
    columns = zip(*((c.params, c.macs, c.n_bytes) for c in found), strict=True)
    return Costs(*(np.concatenate(column) for column in columns)), np.array(nonzero, np.int64)


def _masked_track(
    network: Network, plan: Plan, site: str, ranking: SiteRanking, positions: Counts
) -> tuple[Costs, Counts]:
    """Return costs ``[P, ...]`` (shapes stay, so all alike) and non-zeros ``[P]`` under masks."""
    prefix, name = plan.recipe.locate(site)
    granularity = GRANULARITIES[plan.recipe.parts[prefix].granularity]
    moving = next(found for found in granularity.sites(network) if found.name == name)
    nothing = replace(plan, keep={**plan.keep, site: np.ones_like(plan.keep[site])})
    structure = Structure.of(network, [nothing])
    one = network.cost_without(structure.cut).query(structure.keep)
    repeat = len(positions)
    costs = Costs(
        np.repeat(one.params, repeat, 0),
        np.repeat(one.macs, repeat, 0),
        np.repeat(one.n_bytes, repeat),
    )
    if _each_counts(plan.recipe) and moving.parameter not in _holding_zeros(network):
        now = _cost(network, structure, _masked_nonzeros(network, plan, structure))[0].nonzero
        return costs, now + plan.n_removed(site) - positions
    live = (network.tensor(moving.parameter) != 0).cpu().numpy()
    others = nothing.masks(network).get(moving.parameter)
    if others is not None and not others.all():
        live &= others
    if plan.recipe.also:
        live &= structure.survivors(network, moving.parameter)
    flags = Elements(lambda _: torch.from_numpy(live))
    (by_unit,) = granularity.gather(network, moving, flags, Combine.SUM)
    if granularity.single_weights:
        gone = ranking.among_first(by_unit.numpy() > 0, positions)
    else:
        gone = np.append(0, np.cumsum(by_unit.numpy()[ranking.order])).astype(np.int64)[positions]
    start = _cost(network, structure, _masked_nonzeros(network, nothing, structure))[0].nonzero
    return costs, start - gone


def _each_counts(recipe: Recipe) -> bool:
    """Tell whether only single weights are pruned, so that each unit is one element."""
    return not recipe.also and GRANULARITIES[recipe.granularity].single_weights


def _holding_zeros(network: Network) -> frozenset[str]:
    """Return the parameters of the dense network that hold a zero."""
    whole = np.ones(network.cost.n_units, np.bool_)
    zeros = network.cost.zeros(whole)[0]
    return frozenset(name for name, n in zip(network.cost.parameters, zeros, strict=True) if n)


def _lost(
    network: Network, plan: Plan, without: Container[str] = ()
) -> dict[str, NDArray[np.bool_]]:
    """Return, for each masked parameter, which of its non-zero weights become zero."""
    return {
        name: (network.tensor(name) != 0).cpu().numpy() & ~mask
        for name, mask in plan.masks(network).items()
        if name not in without and not mask.all()
    }


def _masked_nonzeros(network: Network, plan: Plan, structure: Structure) -> dict[str, int]:
    """Return how many non-zero weights of each masked parameter become zero and do not leave."""
    if not (structure.keep.all() and not structure.cut):
        return _surviving(network, structure, _lost(network, plan))
    holding = _holding_zeros(network)
    if _each_counts(plan.recipe):
        sites = GRANULARITIES[plan.recipe.granularity].sites(network)
        counted = {
            site.parameter: plan.n_removed(site.name)
            for site in sites
            if site.parameter not in holding
        }
    else:
        counted = {}
    lost = _lost(network, plan, without=counted)
    return counted | {name: int(np.count_nonzero(flags)) for name, flags in lost.items()}


def _surviving(
    network: Network, structure: Structure, lost: Mapping[str, NDArray[np.bool_]]
) -> dict[str, int]:
    """Return how many of the ``lost`` weights of each parameter do not leave with a structure."""
    if structure.keep.all() and not structure.cut:
        return {name: int(np.count_nonzero(flags)) for name, flags in lost.items()}
    return {
        name: int(np.count_nonzero(flags & structure.survivors(network, name)))
        for name, flags in lost.items()
    }


def _cost(
    network: Network, structure: Structure, masked: Mapping[str, int]
) -> tuple[Totals, list[Totals]]:
    """Return the cost of the whole and of each layer, ``masked`` weights being set to zero."""
    cost = network.cost_without(structure.cut)
    costs, names = cost.query(structure.keep), cost.parameters
    params, macs = costs.params[0], costs.macs[0]
    nonzero = params - cost.zeros(structure.keep)[0] - [masked.get(name, 0) for name in names]
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
