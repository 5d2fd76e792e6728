"""The traced network: layers, coupled groups of units, and what they cost."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pruning_core.errors import UnknownNameError
from pruning_core.inputs import Inputs

if TYPE_CHECKING:
    from pruning_core.tracing.analysis import Analysis
    from pruning_core.tracing.branches import Branch
    from pruning_core.tracing.cost import CostModel


@dataclass(frozen=True, slots=True)
class Layer:
    """A module that owns parameters or does multiply-accumulates itself.

    Attributes:
        name: Module path, e.g. ``blocks.0.conv1``; empty for the root module.
        kind: Class name, e.g. ``Conv2d``.
        parameters: Full names of the parameters it owns.
        weight_shape: Shape of its largest parameter, None without parameters.
        output_shape: Shape of its output without the batch axis; None when unknown.
        n_params: Parameters it owns (a shared parameter counts once, at its first owner).
        macs: Multiply-accumulates for one sample.
        n_bytes: Bytes of its parameters.
        groups: Names of the groups whose units leave slices of this layer.
    """

    name: str
    kind: str
    parameters: tuple[str, ...]
    weight_shape: tuple[int, ...] | None
    output_shape: tuple[int, ...] | None
    n_params: int
    macs: int
    n_bytes: int
    groups: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Member:
    """An axis of a parameter or buffer that shrinks when units of the group leave.

    Attributes:
        parameter: Full name of the tensor.
        axis: Axis that shrinks.
        per_unit: How many indices of that axis leave with one unit (a head takes several).
    """

    parameter: str
    axis: int
    per_unit: int


@dataclass(frozen=True, slots=True)
class Group:
    """Units of one kind that touch the same tensors; the thing one threshold acts on.

    Attributes:
        name: Module path of the first layer whose outputs they are; unique.
        kind: The standard word for one unit: channel, neuron, head, hidden unit or feature.
        n_units: Number of units ``U``.
        members: Every tensor axis that shrinks, in the order of the trace.
        layers: Module paths touched, in the order of the trace.
        changes_normalisation: True when removing is not zeroing, because a normalisation
            (LayerNorm, softmax ...) computes its statistics over these units.
        reasons: Sentences that say why the layers shrink together, one for each coupling operator.
        maker: The parameter whose outputs the units are.
    """

    name: str
    kind: str
    n_units: int
    members: tuple[Member, ...]
    layers: tuple[str, ...]
    changes_normalisation: bool
    reasons: tuple[str, ...]
    maker: str


@dataclass(frozen=True, eq=False)
class Network:
    """What tracing found out about one model; never changes the model.

    Attributes:
        module: The model as given, in eval mode; treat it as read-only.
        inputs: The call for one sample.
        layers: Layers in execution order.
        groups: Prunable groups in execution order.
        weights: Names of the parameters that a matrix product or convolution reads: the ones
            weight pruning acts on, in execution order.
        cost: Exact parameters and MACs as arithmetic on kept units.
        product_layers: For each costly operator the layer its MACs belong to.
        branches: Residual branches that can be cut, in execution order.
        unknown_operators: Operators without a rule, with the number of times they were met; what
            they touch is locked.
        analysis: The labels behind the groups; for surgery and evidence.
        has_forward: False for weights without an architecture: how they work together is not known,
            so MACs are none and nothing can be run or removed.
    """

    module: nn.Module
    inputs: Inputs
    layers: tuple[Layer, ...]
    groups: tuple[Group, ...]
    weights: tuple[str, ...]
    cost: "CostModel"
    product_layers: tuple[str, ...]
    branches: "tuple[Branch, ...]"
    unknown_operators: Mapping[str, int]
    analysis: "Analysis"
    has_forward: bool = True

    @property
    def example_inputs(self) -> tuple[Tensor, ...]:
        """The tensors of one sample, batch axis first."""
        return self.inputs.tensors

    @cached_property
    def parameter_layer(self) -> NDArray[np.int64]:
        """``[n_parameters]`` the number of the layer that owns each parameter."""
        owner = {
            name: number for number, layer in enumerate(self.layers) for name in layer.parameters
        }
        return np.array([owner[name] for name in self.cost.parameters], np.int64)

    @cached_property
    def product_layer(self) -> NDArray[np.int64]:
        """``[n_products]`` the number of the layer that gets the MACs of each costly operator."""
        number = {layer.name: number for number, layer in enumerate(self.layers)}
        return np.array([number[name] for name in self.product_layers], np.int64)

    def group(self, name: str) -> Group:
        """Return the group called ``name``.

        Raises:
            UnknownNameError: If there is no such group.
        """
        for group in self.groups:
            if group.name == name:
                return group
        raise UnknownNameError("group", name, [group.name for group in self.groups])

    def first_unit(self, group: Group) -> int:
        """Return the number of the group's first unit among the units of all groups."""
        return sum(other.n_units for other in self.groups[: self.groups.index(group)])

    def cost_without(self, cut: "Sequence[Branch]") -> "CostModel":
        """Return the cost when the branches ``cut`` are gone."""
        if not cut:
            return self.cost
        tensors = {name for branch in cut for name in branch.tensors}
        products = {number for branch in cut for number in branch.products}
        return self.cost.without(tensors, products)

    def tensor(self, name: str) -> Tensor:
        """Return the parameter or buffer called ``name``."""
        parameter: Tensor = self.analysis.tensors[name]
        return parameter

    @property
    def device(self) -> torch.device:
        """The device of the model's first parameter."""
        return next(self.module.parameters()).device
