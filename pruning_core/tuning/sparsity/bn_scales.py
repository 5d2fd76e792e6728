"""L1 on batch-norm scales (network slimming)."""

from pruning_core.errors import UnsupportedModelError
from pruning_core.granularities.unit import slices
from pruning_core.scoring.criteria.bn_scale import scales
from pruning_core.tracing.network import Network
from pruning_core.tuning.penalty import PENALTIES, Elements, Parameters, Penalty


def batch_norm_scales(network: Network, parameters: Parameters) -> Elements:
    """Penalise the scales of the batch norms whose channels can leave.

    Raises:
        UnsupportedModelError: If there are none.
    """
    movable = {piece.parameter for group in network.groups for piece in slices(network, group)}
    chosen = [name for name in parameters if name in scales(network) and name in movable]
    if not chosen:
        raise UnsupportedModelError(
            "This network has no batch norm whose channels can leave and which is trained, so its "
            "scales cannot be made sparse. Choose another kind in sparse.kind, e.g. group_lasso."
        )
    return Elements([parameters[name] for name in chosen])


PENALTIES.add(
    "bn_scales",
    Penalty(
        key="bn_scales",
        title="Batch-norm scales (network slimming)",
        formula=r"\lambda \sum_c |\gamma_c|",
        description="Pulls the scale of each batch-norm channel towards zero. Rate by the "
        "criterion bn_scale afterwards and remove units: channels that were switched off cost "
        "nothing.",
        source="Liu et al. 2017, arXiv:1708.06519",
        things="batch-norm scales",
        size="magnitude",
        usual=1e-2,
        bind=batch_norm_scales,
    ),
)
