"""Magnitude relative to the layer."""

import torch
from torch import Tensor

from pruning_core.scoring.criterion import CRITERIA, Criterion, Evidence, PerElement, Rates


def share_of_norm(weight: Tensor, _: Tensor | None) -> Tensor:
    """Return magnitudes divided by the tensor's L2 norm; all zero where the tensor is."""
    norm: Tensor = torch.linalg.vector_norm(weight)
    return weight.abs() / norm.clamp_min(torch.finfo(weight.dtype).tiny)


CRITERIA.add(
    "relative_magnitude",
    Criterion(
        key="relative_magnitude",
        title="Magnitude relative to its layer",
        formula=r"s_u = \sum_{e \in u} \frac{|w_e|}{\lVert W_{(e)} \rVert_2}",
        description="As L1, each weight divided by the L2 norm of the tensor it is in, so that "
        "layers with large weights are not favoured in a ranking of all layers.",
        source="Mozer and Smolensky 1989 for relevance within a layer; the score that LAMP, "
        "arXiv:2010.07611, compares with as layer-wise normalised magnitude",
        needs=frozenset({Evidence.WEIGHTS}),
        rates=Rates.ELEMENTS,
        rule=PerElement(share_of_norm, whole_tensors=True),
    ),
)
