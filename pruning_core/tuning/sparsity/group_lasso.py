"""Group lasso: whole units go to zero together with everything coupled to them."""

from collections.abc import Iterator

from pruning_core.errors import UnsupportedModelError
from pruning_core.granularities.unit import slices
from pruning_core.scoring.reading import readings
from pruning_core.tracing.network import Group, Network
from pruning_core.tuning.penalty import PENALTIES, Parameters, Penalty, Share, Units


def coupled_units(network: Network, parameters: Parameters) -> Units:
    """Penalise each unit by all slices that make it: weights, biases, scales and shifts.

    Slices that only read the unit are left out; they belong to the units of the next layer. So
    no weight is in two sets, and the proximal step is exact.

    Raises:
        UnsupportedModelError: If no units can leave.
    """
    found = readings(network.analysis, lambda read: read.has_units)
    readers = {read.weight for read in found if read.weight}
    taken: set[str] = set()
    groups = [
        shares
        for group in network.groups
        if (shares := tuple(_shares(network, group, parameters, readers, taken)))
    ]
    if not groups:
        raise UnsupportedModelError(
            "This network has no units that can leave and are trained. Choose another kind in "
            "sparse.kind, e.g. l1."
        )
    return Units(groups)


def _shares(
    network: Network,
    group: Group,
    parameters: Parameters,
    readers: set[tuple[str, int]],
    taken: set[str],
) -> Iterator[Share]:
    """Yield the shares of ``group`` in parameters that no earlier share took."""
    for name, axis, indices, units, _ in slices(network, group):
        if name in parameters and name not in taken and (name, axis) not in readers:
            taken.add(name)
            yield Share.of(parameters[name], axis, indices, units, group.n_units)


PENALTIES.add(
    "group_lasso",
    Penalty(
        key="group_lasso",
        title="Whole units (group lasso)",
        formula=r"\lambda \sum_u \sqrt{|u|}\, \lVert w_u \rVert_2",
        description="Pulls all weights that make a channel, neuron or head towards zero together, "
        "in every coupled layer. Rate by L2 afterwards and remove units.",
        source="Wen et al. 2016 (structured sparsity learning), arXiv:1608.03665",
        things="units",
        size="root mean square of its weights",
        usual=1e-4,
        bind=coupled_units,
    ),
)
