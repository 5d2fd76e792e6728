"""Set weights to zero in a copy of the model."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from pruning_core.granularities import GRANULARITIES
from pruning_core.modes import copied
from pruning_core.planning.plan import Plan
from pruning_core.tracing.network import Network


def weight_masks(network: Network, plan: Plan) -> dict[str, Tensor]:
    """Return parameter name -> bool mask of the parameter's shape, True where the weight stays."""
    granularity = GRANULARITIES[plan.recipe.granularity]
    if granularity.mask is None:
        return {}
    masks = {}
    for site in granularity.sites(network):
        mask = granularity.mask(network, site, plan.keep[site.name]).copy()
        masks[site.parameter] = torch.from_numpy(mask).to(network.tensor(site.parameter).device)
    return masks


def apply_masks(network: Network, masks: Mapping[str, Tensor]) -> nn.Module:
    """Return a copy of the model, in eval mode, with the masked weights at zero."""
    module = copied(network.module)
    parameters = dict(module.named_parameters())
    with torch.no_grad():
        for name, mask in masks.items():
            _bits(parameters[name]).mul_(mask)
    return module


def _bits(tensor: Tensor) -> Tensor:
    """Return the same memory as integers: times 0, also NaN and -1 become plain zero."""
    integers = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
    return tensor.view(integers[tensor.element_size()])
