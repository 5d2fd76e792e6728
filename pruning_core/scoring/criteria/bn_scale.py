"""Scale of the batch norm (network slimming)."""

from torch import Tensor, fx

from pruning_core.granularities import Combine
from pruning_core.granularities.unit import slices
from pruning_core.scoring.criterion import CRITERIA, Criterion, Evidence, PerUnit, Rates
from pruning_core.scoring.material import Material
from pruning_core.tracing.analysis import stored_tensor
from pruning_core.tracing.network import Network
from pruning_core.tracing.walk import operator_name


def summed_scales(material: Material) -> list[Tensor | None]:
    """Return the sum of the unit's absolute batch-norm scales, None without a batch norm."""
    network = material.network
    found_scales = scales(network)
    scores: list[Tensor | None] = []
    for site in material.sites:
        found = [
            Combine.SUM.by_unit(network.tensor(name).detach().abs()[indices], units, site.n_units)
            for name, _, indices, units, _ in slices(network, network.group(site.name))
            if name in found_scales
        ]
        scores.append(sum(found[1:], found[0]) if found else None)
    return scores


def scales(network: Network) -> set[str | None]:
    """Return the names of the parameters that scale the output of a batch norm."""
    nodes = [
        node.args[1]
        for node in network.analysis.capture.graph.graph.nodes
        if node.op == "call_function" and "batch_norm" in operator_name(node)
    ]
    return {stored_tensor(network.analysis, node) for node in nodes if isinstance(node, fx.Node)}


CRITERIA.add(
    "bn_scale",
    Criterion(
        key="bn_scale",
        title="Batch-norm scale",
        formula=r"s_u = \sum_{\mathrm{BN} \ni u} |\gamma_u|",
        description="How much the batch norm lets of a channel pass; for networks trained with a "
        "sparsity penalty on these scales. Layers without a batch norm are not rated and stay "
        "whole.",
        source="Liu et al. 2017 (network slimming), arXiv:1708.06519",
        needs=frozenset({Evidence.WEIGHTS}),
        rates=Rates.UNITS,
        rule=PerUnit(summed_scales),
    ),
)
