"""Write the captured graph anew: with the sizes of what stays, and for any batch size.

A captured graph has every size as a number in it, the batch included. Captures at two
batch sizes show which numbers follow the batch; the labels show which follow the kept units.
"""

import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, fx, nn
from torch.fx.graph import _PyTreeCodeGen, _PyTreeInfo
from torch.utils import _pytree as pytree

from pruning_core.errors import UnsupportedModelError
from pruning_core.tracing.analysis import Analysis, analyse, staying
from pruning_core.tracing.branches import Branch, find_branches
from pruning_core.tracing.capture import TENSOR, Capture, capture
from pruning_core.tracing.groups import leaves_by_groups
from pruning_core.tracing.labels import Labelled
from pruning_core.tracing.network import Network
from pruning_core.tracing.walk import argument, operator_name, output_shapes

_BATCH = 2
Keep = NDArray[np.bool_]


def rebuild(network: Network, keep: Keep, cut: Sequence[Branch] = ()) -> fx.GraphModule:
    """Return the network as a graph module without the units that do not stay.

    Its parameters and buffers carry the original names; it is called like the model and computes
    what the model computes in eval mode. With everything kept it equals the model. It takes any
    batch size; where the model itself does something else for several samples,
    ``meta["one_sample"]`` says so in a sentence, and it takes the batch it was traced with.

    Args:
        network: The traced model.
        keep: ``[n_units]`` True for the units that stay.
        cut: Residual branches that go.
    """
    recording = _recorded(network)
    try:
        module = _Rebuilder(recording, keep, cut).build()
    except UnsupportedModelError as error:
        recording = _Recording(network.analysis, {}, 0, str(error), network.branches)
        module = _Rebuilder(recording, keep, cut).build()
    _store_alike(module, network.cost.stored)
    module.meta["one_sample"] = recording.one_sample
    return module


def _store_alike(module: fx.GraphModule, stored: Mapping[str, str]) -> None:
    """Let the state dict of ``module`` hold what the model's holds: no constants, tied names."""
    tensors = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    for name in tensors.keys() - stored.values():
        path, _, leaf = name.rpartition(".")
        module.get_submodule(path)._non_persistent_buffers_set.add(leaf)
    for alias, name in stored.items():
        if alias != name and name in tensors:
            _attach(module, alias, tensors[name])


def products_at_any_batch(network: Network) -> tuple[fx.GraphModule, Analysis, dict[str, str]]:
    """Return the whole network for any batch size, its analysis, and the names of matching nodes.

    The dictionary leads from node names of the analysed graph to those of the graph module.
    """
    recording = _recorded(network)
    rebuilder = _Rebuilder(recording, np.ones(recording.analysis.n_units, np.bool_))
    module = rebuilder.build()
    return module, recording.analysis, rebuilder.names


Size = int | tuple[int, ...]


def sizes_met(network: Network, keep: Keep) -> dict[str, dict[Size, frozenset[Size]]]:
    """Return which sizes the operators of each module are given, and what becomes of them.

    Sizes that follow the batch are left out.

    Returns:
        Path of the innermost module that was running -> size, or sizes given in one list, before
        -> after.
    """
    recording = _recorded(network)
    rebuilder = _Rebuilder(recording, keep)
    found: dict[str, dict[Size, set[Size]]] = {}
    for node, path in recording.analysis.capture.owner.items():
        if node.op == "call_function":
            inside = found.setdefault(path, {})
            for before, after in rebuilder.sizes(node):
                inside.setdefault(before, set()).add(after)
    return {
        path: {before: frozenset(after) for before, after in inside.items()}
        for path, inside in found.items()
    }


Slopes = dict[fx.Node, dict[int, int]]


@dataclass(frozen=True, slots=True, eq=False)
class _Recording:
    """An analysed graph, and which of its numbers follow the batch.

    ``batch`` is the number of samples (times those of the trace) it was recorded with; 0 when
    nothing follows the batch, for the reason ``one_sample``. ``branches`` are the network's, with
    the steps of this graph.
    """

    analysis: Analysis
    slopes: Slopes
    batch: int
    one_sample: str = ""
    branches: tuple[Branch, ...] = ()


_KNOWN: WeakKeyDictionary[Network, _Recording] = WeakKeyDictionary()


def _recorded(network: Network) -> _Recording:
    """Return the recording for any batch size, or else the trace; kept as long as the network."""
    if network not in _KNOWN:
        try:
            _KNOWN[network] = _compare_batches(network)
        except UnsupportedModelError as error:
            _KNOWN[network] = _Recording(network.analysis, {}, 0, str(error), network.branches)
    return _KNOWN[network]


def _compare_batches(network: Network) -> _Recording:
    if network.analysis.capture.by_values:
        raise UnsupportedModelError(
            "What the model runs depends on the values of its input, so it cannot be rewritten as "
            "a graph for any input."
        )
    first = capture(network.module, network.inputs.repeated(_BATCH))
    analysis = analyse(first)
    branches = find_branches(analysis)
    same = (
        analysis.group_sizes == network.analysis.group_sizes
        and analysis.members == network.analysis.members
        and [b.tensors for b in branches] == [b.tensors for b in network.branches]
    )
    if not same:
        raise UnsupportedModelError(
            "The model couples its layers differently for one sample and for several, "
            "so it cannot be rewritten as a graph for any batch size."
        )
    slopes = _slopes_from_one_sample(first, network.analysis.capture)
    if slopes is None:
        slopes = _slopes(first, capture(network.module, network.inputs.repeated(_BATCH + 1)))
    return _Recording(analysis, slopes, _BATCH, branches=branches)


def _slopes_from_one_sample(first: Capture, one: Capture) -> Slopes | None:
    """Return the slopes by the trace, which saves a recording; None where it does not tell.

    A single sample can take another path through torch, and its axis can have any stride.
    """
    try:
        slopes = _slopes(one, first)
    except (UnsupportedModelError, ValueError):  # the latter: not as many arguments
        return None
    if any("strided" in operator_name(node) for node in slopes):
        return None
    pairs = zip(one.graph.graph.nodes, first.graph.graph.nodes, strict=True)
    return {other: slopes[node] for node, other in pairs if node in slopes}


def _slopes(first: Capture, second: Capture) -> Slopes:
    """Return, for each integer argument that grows by a sample, by how much.

    Args:
        first: A recording.
        second: The same with one sample more.
    """
    nodes, others = list(first.graph.graph.nodes), list(second.graph.graph.nodes)
    if [str(node.target) for node in nodes] != [str(node.target) for node in others]:
        raise UnsupportedModelError(
            "The model runs different operators at different batch sizes, "
            "so it cannot be rewritten as a graph for any batch size."
        )
    slopes: Slopes = {}
    for node, other in zip(nodes, others, strict=True):
        pairs = zip(pytree.tree_leaves(node.args), pytree.tree_leaves(other.args), strict=True)
        found = {
            place: b - a
            for place, (a, b) in enumerate(pairs)
            if isinstance(a, int) and isinstance(b, int) and a != b
        }
        if found:
            slopes[node] = found
    return slopes


class _Rebuilder:
    """Copies a graph node by node, rewriting sizes; one use only."""

    def __init__(self, recording: _Recording, keep: Keep, cut: Sequence[Branch] = ()) -> None:
        self.analysis = recording.analysis
        self.slopes = recording.slopes
        self.keep = keep
        self.graph = fx.Graph()
        self.root = nn.Module()
        self.env: dict[fx.Node, fx.Node] = {}
        self.names: dict[str, str] = {}
        self.batch: fx.Node | None = None
        nodes = list(recording.analysis.capture.graph.graph.nodes)
        names = {branch.name for branch in cut}
        gone = [branch for branch in recording.branches if branch.name in names]
        self.dead = {nodes[step] for branch in gone for step in branch.nodes}
        self.sums = {nodes[branch.add]: nodes[branch.stays] for branch in gone}
        self.gone = {name for branch in gone for name in branch.tensors}

    def build(self) -> fx.GraphModule:
        source = self.analysis.capture.graph
        tensor_names = list(self.analysis.tensors)
        for position, node in enumerate(source.graph.nodes):
            name = tensor_names[position] if position < len(tensor_names) else None
            if node in self.dead or name in self.gone:
                continue
            if node.op == "placeholder":
                self.env[node] = self._input(node, name)
            elif node.op == "get_attr":
                self.root.register_buffer(str(node.target), getattr(source, str(node.target)))
                self.env[node] = self.graph.get_attr(str(node.target))
            elif node.op == "output":
                self._output([self.env[leaf] for leaf in pytree.tree_leaves(node.args)])
            elif node in self.sums:  # a copy: what follows may work in place
                term = self.env[self.sums[node]]
                self.env[node] = self.graph.call_function(torch.ops.aten.clone.default, (term,))
            else:
                self.env[node] = self._operator(node)
            if node.op != "output":
                self.names[node.name] = self.env[node].name
        self.graph.lint()
        return fx.GraphModule(self.root, self.graph)

    def _input(self, node: fx.Node, name: str | None) -> fx.Node:
        if name is not None:
            _attach(self.root, name, self._kept_tensor(name))
            return self.graph.get_attr(name)
        placeholder = self.graph.placeholder(node.name)
        if self.batch is None and isinstance(node.meta.get("val"), Tensor):
            self.batch = self.graph.call_function(torch.ops.aten.sym_size.int, (placeholder, 0))
        return placeholder

    def _output(self, tensors: list[fx.Node]) -> None:
        """Return the tensors in the structure that the model returns, and take its arguments."""
        call, output = self.analysis.capture.inputs, self.analysis.capture.output
        if call.is_flat and output is TENSOR:
            self.graph.output(tensors[0])
            return
        leaves, output_spec = pytree.tree_flatten(output)
        rest = iter(tensors)
        self.graph.output([next(rest) if leaf is TENSOR else _constant(leaf) for leaf in leaves])
        input_leaves, input_spec = pytree.tree_flatten((call.args, dict(call.kwargs)))
        names = [*(f"input_{number}" for number in range(len(call.args))), *call.kwargs]
        self.graph.set_codegen(_PyTreeCodeGen(_PyTreeInfo(names, input_spec, output_spec)))
        self._accept_constants(input_leaves)

    def _accept_constants(self, leaves: list[Any]) -> None:
        """Give each argument that is no tensor a placeholder nobody reads."""
        placeholders = [node for node in self.graph.nodes if node.op == "placeholder"]
        for place, leaf in enumerate(leaves):
            if isinstance(leaf, Tensor):
                continue
            before = placeholders[place] if place < len(placeholders) else None
            anchor = before or placeholders[-1].next
            with self.graph.inserting_before(anchor):
                placeholders.insert(place, self.graph.placeholder(f"constant_{place}"))

    def _kept_tensor(self, name: str) -> Tensor:
        tensor = self.analysis.tensors[name]
        kept = tensor.detach()
        for axis in range(tensor.ndim):
            stays = staying(self.analysis.units_along(name, axis), self.keep)
            if not stays.all():
                kept = kept.index_select(axis, torch.from_numpy(np.flatnonzero(stays)))
        kept = kept.clone()
        return nn.Parameter(kept) if isinstance(tensor, nn.Parameter) else kept

    def constant(self, indices: NDArray[np.int64]) -> fx.Node:
        """Return a node that holds ``indices`` as a tensor."""
        name = f"_indices_{len(self.graph.nodes)}"
        self.root.register_buffer(name, torch.from_numpy(indices), persistent=False)
        return self.graph.get_attr(name)

    def along(self, tensor: Labelled, axis: int) -> Keep:
        """Return which positions of an axis stay."""
        for block in tensor.blocks:
            if axis in block.axes:
                stays = staying(self.analysis.unit_of[block.labels], self.keep)
                others = tuple(p for p, other in enumerate(block.axes) if other != axis)
                return np.asarray(stays.any(axis=others))
        raise ValueError(f"no labels for axis {axis}")

    def shape(self, tensor: Labelled) -> list[int]:
        """Return the sizes that stay."""
        return [int(self.along(tensor, axis).sum()) for axis in range(tensor.ndim)]

    def value(self, node: Any) -> Labelled:
        """Return the labels of a node with one tensor output."""
        found = self.analysis.values[node]
        if isinstance(found, list):
            found = found[0]
        if not isinstance(found, Labelled):
            raise TypeError(f"{node} is no tensor")
        return found

    def sizes(self, node: fx.Node) -> Iterator[tuple[Size, Size]]:
        """Yield sizes that an operator is given or returns, before and after, without the batch."""
        rewriter = _REWRITERS.get(operator_name(node))
        if rewriter is not None:
            _, arguments = rewriter(self, node)
            for before, after in zip(node.args, arguments, strict=False):
                if isinstance(before, list | tuple) and isinstance(after, list | tuple):
                    yield tuple(before), tuple(after)
            old, new = pytree.tree_leaves(node.args), pytree.tree_leaves(arguments)
            if len(old) == len(new):
                slopes = self.slopes.get(node, {})
                for place, pair in enumerate(zip(old, new, strict=True)):
                    if place not in slopes and all(type(size) is int for size in pair):
                        yield pair
        value = self.analysis.values.get(node)
        for tensor in value if isinstance(value, list) else [value]:
            if isinstance(tensor, Labelled):
                pairs = zip(tensor.shape, self.shape(tensor), strict=True)
                yield from (pair for pair in pairs if pair[0] % _BATCH or pair[0] != pair[1])

    def _operator(self, node: fx.Node) -> fx.Node:
        target, arguments = node.target, node.args
        rewriter = _REWRITERS.get(operator_name(node))
        if rewriter is not None:
            target, arguments = rewriter(self, node)
        arguments = self._follow_batch(node, arguments)
        mapped = fx.map_arg((arguments, node.kwargs), lambda old: self.env.get(old, old))
        return self.graph.create_node("call_function", target, *mapped, name=node.name)

    def _follow_batch(self, node: fx.Node, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
        slopes = self.slopes.get(node)
        if not slopes:
            return arguments
        old, _ = pytree.tree_flatten(node.args)
        new, spec = pytree.tree_flatten(arguments)
        if len(new) != len(old):
            return arguments  # another operator stands in its place
        for place, slope in slopes.items():
            new[place] = self._affine(node, old[place], new[place], slope)
        return tuple(pytree.tree_unflatten(new, spec))

    def _affine(self, node: fx.Node, old: int, new: int, slope: int) -> fx.Node:
        """Return a node that computes a size from the batch: ``slope * batch + rest``."""
        rest = old - slope * _BATCH
        if new != old:
            if rest:
                raise UnsupportedModelError(
                    f"A size in operator {operator_name(node)} depends on both the batch and the "
                    "pruned units in a way that cannot be followed."
                )
            slope = new // _BATCH
        size = self.graph.call_function(operator.mul, (self.batch, slope))
        return self.graph.call_function(operator.add, (size, rest)) if rest else size


def _constant(leaf: Any) -> Any:
    return leaf if isinstance(leaf, bool | int | float | str | None) else None


def _attach(root: nn.Module, name: str, tensor: Tensor) -> None:
    *path, leaf = name.split(".")
    for part in path:
        if not hasattr(root, part):
            root.add_module(part, nn.Module())
        root = getattr(root, part)
    if isinstance(tensor, nn.Parameter):
        root.register_parameter(leaf, tensor)
    else:
        root.register_buffer(leaf, tensor)


Rewriter = Callable[[_Rebuilder, fx.Node], tuple[Any, tuple[Any, ...]]]
_REWRITERS: dict[str, Rewriter] = {}


def _rewrites(*names: str) -> Callable[[Rewriter], Rewriter]:
    def register(function: Rewriter) -> Rewriter:
        _REWRITERS.update(dict.fromkeys(names, function))
        return function

    return register


@_rewrites("view", "reshape", "unsafe_view", "reshape_alias")
def _view(build: _Rebuilder, node: fx.Node) -> tuple[Any, tuple[Any, ...]]:
    # Other sizes can need a copy where the recorded ones did not.
    sizes = _sizes(build, node, node.args[1])
    return torch.ops.aten.reshape.default, (node.args[0], sizes)


@_rewrites("as_strided")
def _as_strided(build: _Rebuilder, node: fx.Node) -> tuple[Any, tuple[Any, ...]]:
    if build.value(node.args[0]).shape != build.value(node).shape:
        return node.target, node.args
    return torch.ops.aten.alias.default, (node.args[0],)  # it changed the memory layout only


@_rewrites("expand", "new_zeros", "new_ones", "new_full", "new_empty")
def _shape_second(build: _Rebuilder, node: fx.Node) -> tuple[Any, tuple[Any, ...]]:
    return node.target, (node.args[0], _sizes(build, node, node.args[1]), *node.args[2:])


@_rewrites("zeros", "ones", "empty", "full", "rand", "randn")
def _shape_first(build: _Rebuilder, node: fx.Node) -> tuple[Any, tuple[Any, ...]]:
    return node.target, (_sizes(build, node, node.args[0]), *node.args[1:])


def _sizes(build: _Rebuilder, node: fx.Node, old: Any) -> list[int]:
    kept = build.shape(build.value(node))
    return [-1 if before == -1 else after for before, after in zip(old, kept, strict=True)]


@_rewrites("slice")
def _slice(build: _Rebuilder, node: fx.Node) -> tuple[Any, tuple[Any, ...]]:
    source = build.value(node.args[0])
    axis = int(argument(node, 1, "dim", 0)) % source.ndim
    stays = build.along(source, axis)
    if stays.all():
        return node.target, node.args
    if argument(node, 4, "step", 1) != 1:
        taken = np.arange(len(stays))[_range(node)]
        places = (np.cumsum(stays) - 1)[taken[stays[taken]]]
        return torch.ops.aten.index_select.default, (node.args[0], axis, build.constant(places))
    start, end = (
        limit if limit is None else int(stays[:limit].sum()) if limit < len(stays) else limit
        for limit in (argument(node, 2, "start"), argument(node, 3, "end"))
    )
    return node.target, (node.args[0], axis, start, end, *node.args[4:])


def _range(node: fx.Node) -> slice:
    return slice(argument(node, 2, "start"), argument(node, 3, "end"), argument(node, 4, "step", 1))


@_rewrites("select")
def _select(build: _Rebuilder, node: fx.Node) -> tuple[Any, tuple[Any, ...]]:
    source = build.value(node.args[0])
    axis = int(node.args[1]) % source.ndim  # type: ignore[arg-type]
    stays = build.along(source, axis)
    index = int(node.args[2])  # type: ignore[arg-type]
    shifted = index if stays.all() else int(stays[: index % len(stays)].sum())
    return node.target, (node.args[0], axis, shifted)


@_rewrites("split", "split_with_sizes", "unsafe_split", "unsafe_split_with_sizes", "chunk")
def _split(build: _Rebuilder, node: fx.Node) -> tuple[Any, tuple[Any, ...]]:
    source = build.value(node.args[0])
    axis = int(argument(node, 2, "dim", 0)) % source.ndim
    stays = build.along(source, axis)
    if stays.all():
        return node.target, node.args
    sizes, start = [], 0
    for shape in output_shapes(node):
        sizes.append(int(stays[start : start + shape[axis]].sum()))
        start += shape[axis]
    # Parts of an unsafe split may be changed in place while gradients are recorded; cells do that.
    unsafe = "unsafe" in str(node.target)
    aten = torch.ops.aten
    split = aten.unsafe_split_with_sizes if unsafe else aten.split_with_sizes
    return split.default, (node.args[0], sizes, axis)


@_rewrites("convolution")
def _convolution(build: _Rebuilder, node: fx.Node) -> tuple[Any, tuple[Any, ...]]:
    channels = build.along(build.value(node.args[0]), 1)
    groups = int(node.args[8])  # type: ignore[arg-type]
    if node.args[6] or leaves_by_groups(groups, len(channels) // groups):  # transposed: always
        groups = max(1, groups * int(channels.sum()) // len(channels))
    return node.target, (*node.args[:8], groups)


@_rewrites("native_layer_norm", "fused_rms_norm")
def _layer_norm(build: _Rebuilder, node: fx.Node) -> tuple[Any, tuple[Any, ...]]:
    kept = build.shape(build.value(node.args[0]))
    n_normalised = len(node.args[1])  # type: ignore[arg-type]
    return node.target, (node.args[0], kept[len(kept) - n_normalised :], *node.args[2:])


@_rewrites("native_group_norm")
def _group_norm(build: _Rebuilder, node: fx.Node) -> tuple[Any, tuple[Any, ...]]:
    source = build.value(node.args[0])
    _, kept, *rest = build.shape(source)
    groups = int(node.args[6]) * kept // source.shape[1]  # type: ignore[arg-type]
    return node.target, (*node.args[:4], kept, prod(rest), groups, *node.args[7:])
