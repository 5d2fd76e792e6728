"""Carry a plan out: on a copy, by masks or by real removal, whichever the granularity asks for."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from pruning_core.granularities import GRANULARITIES
from pruning_core.loading.model import LoadedModel
from pruning_core.planning.plan import Plan
from pruning_core.surgery.mask import set_to_zero, weight_masks
from pruning_core.surgery.unit import kept_indices, remove_units
from pruning_core.tracing.network import Network


@dataclass(frozen=True, slots=True, eq=False)
class Pruned:
    """A pruned copy of a model.

    Attributes:
        module: The pruned network, in eval mode.
        form: ``masked`` (same shapes, zeros), ``module`` (the user's own class, smaller), or
            ``graph`` (a graph module, where the class cannot express the result).
        reason: Why it is a graph; empty otherwise.
        masks: Parameter name -> bool mask of its shape now, True where the weight stays; empty
            unless weights are set to zero.
        kept: Parameter or buffer name -> for each axis the original indices kept (None: all);
            tensors that stay whole are not listed.
    """

    module: nn.Module
    form: Literal["masked", "module", "graph"]
    reason: str = ""
    masks: Mapping[str, Tensor] = field(default_factory=dict)
    kept: Mapping[str, tuple[NDArray[np.int64] | None, ...]] = field(default_factory=dict)


def prune(model: LoadedModel, network: Network, plan: Plan) -> Pruned:
    """Return a pruned copy of ``model``; the model itself is not changed.

    Args:
        model: The loaded model that ``network`` was traced from.
        network: Its trace.
        plan: What goes, resolved for this network.

    Raises:
        ValueError: If the network was not traced from the model.
    """
    if network.module is not model.module:
        raise ValueError("the network was traced from another module than the model's")
    keep, cut = plan.unit_keep(network), plan.cut(network)
    removal, kept = remove_units(network, keep, cut), kept_indices(network, keep, cut)
    masks = weight_masks(network, plan, kept)
    set_to_zero(removal.module, masks)
    form: Literal["masked", "module", "graph"] = "graph" if removal.graph_reason else "module"
    if not any(GRANULARITIES[part.granularity].removes for part in plan.recipe.parts.values()):
        form = "masked"
    return Pruned(removal.module, form, removal.graph_reason, masks, kept)
