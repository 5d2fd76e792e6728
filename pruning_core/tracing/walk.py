"""The walk over a captured graph: every operator's rule is applied once, in order."""

import operator
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, fx
from torch.utils import _pytree as pytree

from pruning_core.tracing.capture import Capture
from pruning_core.tracing.labels import LabelArray, Labelled, Links, combine
from pruning_core.tracing.vanishing import vanishes

Value = Labelled | list[Any] | None
Rule = Callable[["Walk", fx.Node], Value]

RULES: dict[str, Rule] = {}


def rule(*names: str) -> Callable[[Rule], Rule]:
    """Register the rule of the ATen operators ``names``, written as :func:`operator_name` does."""

    def register(function: Rule) -> Rule:
        for name in names:
            if name in RULES:
                raise ValueError(f"The operator '{name}' has two rules.")
            RULES[name] = function
        return function

    return register


def operator_name(node: fx.Node) -> str:
    """Return the bare name of the node's ATen operator; in-place ``add_`` is ``add``."""
    schema = getattr(node.target, "_schema", None)
    return str(node.target) if schema is None else schema.name.split("::")[1].strip("_")


@dataclass(frozen=True, slots=True, eq=False)
class Product:
    """A costly node: its MACs are the product of the sizes of ``axes``.

    Attributes:
        node: The matrix product or convolution.
        axes: One label vector for each factor; constants are vectors of fixed labels.
        produced: Labels of the output axis that the weight makes, e.g. output channels.
        operands: The nodes multiplied, activation first, and the axis contracted in each.
        consumed: Labels of the contracted axis.
    """

    node: fx.Node
    axes: tuple[LabelArray, ...]
    produced: LabelArray
    consumed: LabelArray
    operands: tuple[tuple[fx.Node, int], ...]


@dataclass(slots=True, eq=False)
class Walk:
    """What is known while walking: labels of every node so far, links, costs, unknown operators.

    ``vanishing`` tells for each node whether zeroed units are zero in it (``vanishing.py``).
    """

    links: Links
    values: dict[fx.Node, Value] = field(default_factory=dict)
    vanishing: dict[fx.Node, bool] = field(default_factory=dict)
    products: list[Product] = field(default_factory=list)
    unknown: Counter[str] = field(default_factory=Counter)

    def tensor(self, node: fx.Node, position: int) -> Labelled:
        """Return the labelled tensor that is argument ``position`` of ``node``."""
        value = self.values[node.args[position]]  # type: ignore[index]
        if not isinstance(value, Labelled):
            raise TypeError(f"argument {position} of {node} is not a tensor")
        return value

    def optional(self, node: fx.Node, position: int) -> Labelled | None:
        """Return the labelled tensor at ``position``, None when it is absent or no tensor."""
        argument = node.args[position] if position < len(node.args) else None
        value = self.values.get(argument) if isinstance(argument, fx.Node) else None
        return value if isinstance(value, Labelled) else None

    def axis(self, node: fx.Node, position: int, tensor: Labelled, default: int = 0) -> int:
        """Return the axis given as argument ``position``, counted from the front."""
        value = argument(node, position, "dim", default)
        return int(value) % max(tensor.ndim, 1)

    def contract(self, labels: LabelArray, *operands: Any) -> None:
        """Note a sum over ``labels``; it changes unless an operand is zero for zeroed units."""
        if not any(self.vanishing[operand] for operand in operands):
            self.links.renormalised.append(labels)

    def pointwise(self, node: fx.Node) -> Labelled:
        """Combine all tensor arguments element by element."""
        leaves = pytree.tree_leaves((node.args, node.kwargs))
        operands = [self.values[leaf] for leaf in leaves if isinstance(leaf, fx.Node)]
        tensors = [operand for operand in operands if isinstance(operand, Labelled)]
        return combine(self.links, tensors, output_shape(node))


def argument(node: fx.Node, position: int, name: str, default: Any = None) -> Any:
    """Return an argument given by position or by name."""
    if position < len(node.args):
        return node.args[position]
    return node.kwargs.get(name, default)


def output_shape(node: fx.Node) -> tuple[int, ...]:
    """Return the shape of the node's (first) tensor output."""
    value = node.meta["val"]
    return tuple(value.shape if isinstance(value, Tensor) else value[0].shape)


def output_shapes(node: fx.Node) -> list[tuple[int, ...]]:
    """Return the shapes of all tensor outputs of a node with several."""
    return [tuple(value.shape) for value in node.meta["val"]]


def walk(capture: Capture) -> tuple[Walk, dict[str, tuple[LabelArray, ...]]]:
    """Label every tensor of the graph.

    Returns:
        The finished walk, and the labels of each axis of each parameter and buffer.
    """
    state = Walk(Links())
    placeholders = _placeholders(capture)
    tensor_labels: dict[str, tuple[LabelArray, ...]] = {}
    for step, node in enumerate(capture.graph.graph.nodes):
        state.links.step = step
        if node.op == "placeholder":
            name, tensor = next(placeholders)
            state.values[node] = _number(state, node, name, tensor, tensor_labels)
            state.vanishing[node] = True  # slices of parameters are zeroed; inputs have no units
        elif node.op == "get_attr":
            constant = getattr(capture.graph, str(node.target))
            state.values[node] = Labelled.fixed(constant.shape)
            state.vanishing[node] = True
        elif node.op == "output":
            for leaf in pytree.tree_leaves(node.args):
                value = state.values.get(leaf) if isinstance(leaf, fx.Node) else None
                if isinstance(value, Labelled):
                    state.links.lock(value)
        else:
            state.values[node] = _apply(state, node)
            state.vanishing[node] = _vanishes(state, node)
    return state, tensor_labels


def _placeholders(capture: Capture) -> Iterator[tuple[str | None, Tensor | None]]:
    yield from capture.tensors.items()
    while True:
        yield None, None


def _number(
    state: Walk,
    node: fx.Node,
    name: str | None,
    tensor: Tensor | None,
    tensor_labels: dict[str, tuple[LabelArray, ...]],
) -> Value:
    """Give every index of every axis of a parameter or buffer its label; inputs are fixed."""
    if name is None or tensor is None:
        value = node.meta.get("val")
        return Labelled.fixed(value.shape) if isinstance(value, Tensor) else None
    vectors = tuple(state.links.fresh(size) for size in tensor.shape)
    state.links.n_stored = state.links.n_labels
    tensor_labels[name] = vectors
    labelled = Labelled.of_axes(vectors)
    if node.users and (tensor.is_floating_point() or tensor.is_complex()):
        return labelled
    state.links.lock(labelled)  # unused, or an index: its positions have a meaning of their own
    return Labelled.fixed(tensor.shape)


def _apply(state: Walk, node: fx.Node) -> Value:
    if node.target is operator.getitem:
        source = state.values[node.args[0]]  # type: ignore[index]
        return source[node.args[1]] if isinstance(source, list) else None  # type: ignore[index]
    known = RULES.get(operator_name(node))
    if known is not None:
        return known(state, node)
    if torch.Tag.pointwise in getattr(node.target, "tags", ()):
        return state.pointwise(node)
    return lock_unknown(state, node)


def _vanishes(state: Walk, node: fx.Node) -> bool:
    if node.target is operator.getitem:
        is_place = not node.meta["val"].is_floating_point()  # where the largest of zeros was
        return state.vanishing[node.args[0]] and not is_place  # type: ignore[index]
    return vanishes(operator_name(node), node, state.values, state.vanishing)


def lock_unknown(state: Walk, node: fx.Node) -> Value:
    """Lock everything an operator without a rule touches, and note its name."""
    sources = (state.values.get(source) for source in node.all_input_nodes)
    touched = [item for x in sources for item in (x if isinstance(x, list) else [x])]
    tensors = [item for item in touched if isinstance(item, Labelled)]
    if any(block.labels.any() for tensor in tensors for block in tensor.blocks):
        state.unknown[operator_name(node)] += 1
    for tensor in tensors:
        state.links.lock(tensor)
    value = node.meta.get("val")
    if isinstance(value, Tensor):
        return Labelled.fixed(value.shape)
    if isinstance(value, Sequence):
        return [Labelled.fixed(v.shape) if isinstance(v, Tensor) else None for v in value]
    return None
