"""Distance to the geometric median (FPGM)."""

import torch
from torch import Tensor

from pruning_core.granularities.unit import slices
from pruning_core.scoring.criterion import CRITERIA, Criterion, Evidence, PerUnit, Rates
from pruning_core.scoring.material import Material
from pruning_core.tracing.network import Group, Network


def summed_distances(material: Material) -> list[Tensor | None]:
    """Return for each unit the sum of its distances to the other units of its site."""
    network = material.network
    return [_of_group(network, network.group(s.name), material.reduction) for s in material.sites]


def _of_group(network: Network, group: Group, reduction: str) -> Tensor:
    """Return ``[U]`` between whole units, or reduced over the distances of single slices."""
    squares = torch.zeros(group.n_units, group.n_units, dtype=torch.float64)
    scores = []
    for name, axis, indices, units, _ in slices(network, group):
        rows = network.tensor(name).detach().double().movedim(axis, 0)[indices]
        points = _one_row_a_unit(rows.reshape(len(rows), -1), units, group.n_units)
        distances = torch.cdist(points, points)
        squares += distances.square()
        scores.append(distances.sum(dim=1))
        if reduction == "first":
            break
    if reduction == "sum":
        return squares.sqrt().sum(dim=1)
    return torch.stack(scores).amax(0) if reduction == "max" else torch.stack(scores).mean(0)


def _one_row_a_unit(rows: Tensor, units: Tensor, n_units: int) -> Tensor:
    """Return ``[U, E]`` with the ``[K, E']`` rows of each unit side by side, filled up with 0."""
    order = units.argsort(stable=True)
    n_rows = torch.bincount(units, minlength=n_units)
    places = torch.arange(len(units)) - (n_rows.cumsum(0) - n_rows)[units[order]]
    points = rows.new_zeros(n_units, int(n_rows.max()), rows.shape[1])
    points[units[order], places] = rows[order]
    return points.flatten(1)


CRITERIA.add(
    "fpgm",
    Criterion(
        key="fpgm",
        title="Distance to the geometric median (FPGM)",
        formula=r"s_u = \sum_{v} \lVert w_u - w_v \rVert_2",
        description="A unit that lies in the middle of the others can be replaced by them, however "
        "large it is. The paper looks at the filters that make the channels: reduction 'first'.",
        source="He et al. 2019, arXiv:1811.00250",
        needs=frozenset({Evidence.WEIGHTS}),
        rates=Rates.UNITS,
        rule=PerUnit(summed_distances, reduces=True),
    ),
)
