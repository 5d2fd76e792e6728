"""Mean outgoing weight."""

import torch
from torch import Tensor

from pruning_core.granularities import Combine
from pruning_core.granularities.unit import slices
from pruning_core.scoring.criterion import CRITERIA, Criterion, Evidence, PerUnit, Rates
from pruning_core.scoring.material import Material
from pruning_core.scoring.reading import readings
from pruning_core.tracing.network import Group, Network


def mean_of_readers(material: Material) -> list[Tensor | None]:
    """Return the mean magnitude of the weights that read each unit, None where no weight does."""
    network = material.network
    found = readings(network.analysis, lambda read: read.has_units)
    readers = {read.weight for read in found if read.weight}
    return [_mean(network, network.group(site.name), readers) for site in material.sites]


def _mean(network: Network, group: Group, readers: set[tuple[str, int]]) -> Tensor | None:
    total, count = torch.zeros(2, group.n_units, dtype=torch.float64)
    for name, axis, indices, units, _ in slices(network, group):
        if (name, axis) in readers:
            size = network.tensor(name).detach().abs().movedim(axis, 0)[indices].flatten(1)
            total += Combine.SUM.by_unit(size.double().sum(dim=1), units, group.n_units)
            count += torch.bincount(units, minlength=group.n_units) * size.shape[1]
    return total / count if bool((count > 0).all()) else None


CRITERIA.add(
    "outgoing_weight",
    Criterion(
        key="outgoing_weight",
        title="Mean outgoing weight",
        formula=r"s_u = \frac{1}{|\mathrm{out}(u)|} \sum_{e \in \mathrm{out}(u)} |w_e|",
        description="The mean size of the weights by which the next layers read the unit: what "
        "nobody listens to can go.",
        source="He et al. 2014 (output-weights norm), doi:10.1109/ICASSP.2014.6853595",
        needs=frozenset({Evidence.WEIGHTS}),
        rates=Rates.UNITS,
        rule=PerUnit(mean_of_readers),
    ),
)
