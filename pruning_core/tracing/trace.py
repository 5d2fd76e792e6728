"""Trace a model: one recorded forward pass becomes layers, groups of units and exact costs."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from torch import Tensor, nn

from pruning_core.errors import UnsupportedModelError, first_line
from pruning_core.inputs import Inputs
from pruning_core.loading.weights_only import WeightsOnly, names_in_file
from pruning_core.modes import evaluating
from pruning_core.tracing.analysis import Analysis, analyse, product_weights
from pruning_core.tracing.branches import find_branches
from pruning_core.tracing.capture import capture
from pruning_core.tracing.cost import CostModel
from pruning_core.tracing.coupling import reason
from pruning_core.tracing.network import Group, Layer, Member, Network
from pruning_core.tracing.walk import Product


def trace(
    module: nn.Module, example_inputs: Tensor | Sequence[Any] | Mapping[str, Any] | Inputs
) -> Network:
    """Read layers, coupled groups and exact costs off one forward pass of ``module``.

    The module is not changed: it runs on fake tensors, in eval mode.

    Args:
        module: Any model that runs on the inputs.
        example_inputs: One tensor, a sequence of positional or a mapping of keyword arguments
            (for both, an :class:`Inputs`); tensors in any nesting, batch axis first. A batch of
            several samples is cut to its first, so that MACs are those of one sample.

    Raises:
        UnsupportedModelError: If the model does not run on the inputs or cannot be recorded.
    """
    given = Inputs.of(example_inputs)
    if not given.batch_size:
        raise UnsupportedModelError(
            "An example input with a batch axis is needed to trace a model."
        )
    inputs = given.sample()
    with evaluating(module):
        recorded = capture(module, inputs)
    try:
        analysis = analyse(recorded)
    except Exception as error:  # whatever the rules meet in a model nobody has tried
        raise UnsupportedModelError(
            f"The model runs, but its operators cannot be analysed: {type(error).__name__}: "
            f"{first_line(error)[:80].rstrip('.')}. Trace the part of it that is to be pruned."
        ) from error
    network = _network(module, inputs, analysis)
    return _without_forward(network) if isinstance(module, WeightsOnly) else network


def _without_forward(network: Network) -> Network:
    """Forget what was read off a forward pass that only names the weights."""
    products = range(len(network.product_layers))
    layers = tuple(replace(layer, macs=0, output_shape=None, groups=()) for layer in network.layers)
    return replace(
        network,
        layers=layers,
        groups=(),
        branches=(),
        cost=network.cost.without((), products),
        has_forward=False,
    )


def _network(module: nn.Module, inputs: Inputs, analysis: Analysis) -> Network:
    parameters = tuple(dict(module.named_parameters()))
    if not parameters:
        raise UnsupportedModelError("The model has no parameters, so there is nothing to prune.")
    cost = CostModel(analysis, parameters, _stored(module, analysis), names_in_file(module))
    groups = _groups(module, analysis, parameters)
    weights = product_weights(analysis, parameters)
    product_layers = _product_layers(analysis, weights)
    layers = _layers(module, analysis, cost, groups, product_layers)
    return Network(
        module=module,
        inputs=inputs,
        layers=layers,
        groups=groups,
        weights=tuple(dict.fromkeys(name for names in weights.values() for name in names)),
        cost=cost,
        product_layers=product_layers,
        branches=find_branches(analysis),
        unknown_operators=analysis.unknown,
        analysis=analysis,
    )


def _stored(module: nn.Module, analysis: Analysis) -> dict[str, str]:
    """Return for each entry of the state dict the traced tensor that it holds."""
    names = {id(tensor): name for name, tensor in analysis.tensors.items()}
    state = module.state_dict(keep_vars=True)
    return {name: names[id(tensor)] for name, tensor in state.items() if id(tensor) in names}


def owner_of(parameter: str) -> str:
    """Return the module path of a parameter or buffer; empty for the root module."""
    return parameter.rpartition(".")[0]


def _product_layers(
    analysis: Analysis, weights: Mapping[Product, tuple[str, ...]]
) -> tuple[str, ...]:
    """Return for each product the layer its MACs belong to: its weight's owner, or where it ran."""
    return tuple(
        owner_of(weights[product][0]) if weights[product] else analysis.capture.owner[product.node]
        for product in analysis.products
    )


def _layers(
    module: nn.Module,
    analysis: Analysis,
    cost: CostModel,
    groups: Sequence[Group],
    product_layers: Sequence[str],
) -> tuple[Layer, ...]:
    macs: dict[str, int] = {}
    dense = cost.query(np.ones(cost.n_units, np.bool_))
    for place, count in zip(product_layers, dense.macs[0].tolist(), strict=True):
        macs[place] = macs.get(place, 0) + count
    children = dict(module.named_modules())
    owned: dict[str, list[str]] = {name: [] for name in children}
    for name in cost.parameters:
        owned[owner_of(name)].append(name)
    layers = [
        _layer(name, children[name], owned[name], macs.get(name, 0), analysis, groups)
        for name in _execution_order(analysis, list(children))
        if owned[name] or macs.get(name)
    ]
    return tuple(layers)


def _layer(
    name: str,
    child: nn.Module,
    owned: Sequence[str],
    macs: int,
    analysis: Analysis,
    groups: Sequence[Group],
) -> Layer:
    tensors = [analysis.tensors[parameter] for parameter in owned]
    output = analysis.capture.output_shapes.get(name)
    largest = max(tensors, key=lambda tensor: tensor.numel(), default=None)
    return Layer(
        name=name,
        kind=type(child).__name__,
        parameters=tuple(owned),
        weight_shape=None if largest is None else tuple(largest.shape),
        output_shape=None if output is None else output[1:],
        n_params=sum(tensor.numel() for tensor in tensors),
        macs=macs,
        n_bytes=sum(tensor.numel() * tensor.element_size() for tensor in tensors),
        groups=tuple(group.name for group in groups if name in group.layers),
    )


def _execution_order(analysis: Analysis, names: Sequence[str]) -> list[str]:
    """Return module paths in the order in which they first do something; unused ones come last."""
    first: dict[str, int] = {}
    for step, node in enumerate(analysis.capture.graph.graph.nodes):
        if node.op == "call_function":
            first.setdefault(analysis.capture.owner[node], step)
    return sorted(names, key=lambda name: first.get(name, len(analysis.values) + names.index(name)))


def _groups(module: nn.Module, analysis: Analysis, parameters: Sequence[str]) -> tuple[Group, ...]:
    starts = np.cumsum([0, *analysis.group_sizes])
    makers = _makers(analysis, parameters)
    children = dict(module.named_modules())
    groups: list[Group] = []
    taken: set[str] = set()
    for number, members in enumerate(analysis.members):
        units = slice(int(starts[number]), int(starts[number + 1]))
        maker = makers[number] or members[0][0]
        layers = tuple(dict.fromkeys(owner_of(name) for name, _ in members))
        layer = owner_of(maker)
        name = layer if layer and layer not in taken else maker
        while name in taken:  # several groups made by one parameter
            name += "'"
        taken.add(name)
        groups.append(
            Group(
                name=name,
                kind=_unit_word([children[path] for path in (layer, *layers)], analysis, units),
                n_units=analysis.group_sizes[number],
                members=tuple(_member(analysis, name_, axis, units) for name_, axis in members),
                layers=tuple(sorted(layers, key=lambda path: path != layer)),
                changes_normalisation=bool(analysis.renormalised[units].any()),
                reasons=_reasons(analysis, analysis.steps[number], children),
                maker=maker,
            )
        )
    return tuple(groups)


def _makers(analysis: Analysis, parameters: Sequence[str]) -> list[str | None]:
    """Return for each group the weight that makes its units first."""
    starts = np.cumsum([0, *analysis.group_sizes])
    makers: list[str | None] = [None] * len(analysis.group_sizes)
    for product, names in product_weights(analysis, parameters).items():
        units = analysis.unit_of[product.produced]
        for number in np.unique(np.searchsorted(starts, units[units >= 0], side="right") - 1):
            if names and makers[number] is None:
                makers[number] = names[-1]
    return makers


def _member(analysis: Analysis, name: str, axis: int, units: slice) -> Member:
    along = analysis.units_along(name, axis)
    inside = along[(along >= units.start) & (along < units.stop)]
    return Member(name, axis, int(np.bincount(inside - units.start).max()))


def _unit_word(layers: Sequence[nn.Module], analysis: Analysis, units: slice) -> str:
    """Return the field's word for one unit of a group; its maker is the first of ``layers``."""
    if isinstance(layers[0], nn.RNNBase | nn.RNNCellBase):
        return "hidden unit"
    if analysis.stacked[units].any():
        return "head"
    if isinstance(layers[0], nn.Embedding):
        return "feature"
    if analysis.renormalised[units].any() and any(isinstance(x, nn.Linear) for x in layers):
        return "feature"
    return "channel" if isinstance(layers[0], nn.modules.conv._ConvNd) else "neuron"


def _reasons(
    analysis: Analysis, steps: Sequence[int], children: Mapping[str, nn.Module]
) -> tuple[str, ...]:
    sentences = (reason(analysis, step, children) for step in steps)
    return tuple(dict.fromkeys(sentence for sentence in sentences if sentence))
