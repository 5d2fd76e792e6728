"""Why units leave together, and why others cannot leave: paths through the link graph."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import breadth_first_order
from torch import fx, nn

from pruning_core.errors import UnknownNameError
from pruning_core.tracing.analysis import Analysis
from pruning_core.tracing.labels import FIXED
from pruning_core.tracing.network import Group, Network
from pruning_core.tracing.walk import operator_name

_BOTH_SIDES = "{place} needs the same units on both sides"
_READS = "{place} reads or makes these units"
_SCALES = "{place} has one scale and shift a unit"
_RECURRENT = "{place} has one value a unit"
_COUPLES = {
    "add": "the addition in " + _BOTH_SIDES,
    "sub": "the subtraction in " + _BOTH_SIDES,
    "mul": "the product in " + _BOTH_SIDES,
    "div": "the division in " + _BOTH_SIDES,
    "maximum": "the maximum in " + _BOTH_SIDES,
    "minimum": "the minimum in " + _BOTH_SIDES,
    "where": "the choice in " + _BOTH_SIDES,
    "cat": "the concatenation in {place} carries the units on",
    "stack": "the stack in {place} carries the units on",
    "bmm": "the attention product in {place} needs whole heads in all its inputs",
    "baddbmm": "the attention product in {place} needs whole heads in all its inputs",
    "convolution": _READS,
    "mm": _READS,
    "addmm": _READS,
    "mv": _READS,
    "native_layer_norm": _SCALES,
    "fused_rms_norm": _SCALES,
    "native_group_norm": "{place} normalises whole groups of channels, with one scale a channel",
    "native_batch_norm": "{place} has one scale, shift and running statistic a unit",
    "cudnn_batch_norm": "{place} has one scale, shift and running statistic a unit",
    "pixel_shuffle": "the pixel shuffle in {place} makes one channel of several",
    "glu": "the gate in {place} pairs each unit with its partner in the other half",
    "prelu_kernel": _RECURRENT,
}
_LOCKS = {
    "embedding": "rows of the table in {place} are looked up by number",
    "roll": "the shift in {place} needs the axis whole",
    "select": "one index is picked by number in {place}",
    "index": "positions are picked by number in {place}",
    "expand": "one value serves many positions in {place}",
}
_MERGES = frozenset({"view", "reshape", "unsafe_view"})
_FIRST_KERNEL_AXIS = 2


@dataclass(frozen=True, slots=True)
class CouplingStep:
    """One link of a path.

    Attributes:
        operator: Bare ATen name, ``output`` at the end of the model.
        place: Where it ran, e.g. ``layer1.0.bn2 (BatchNorm2d)``.
        sentence: Why it ties what it touches.
    """

    operator: str
    place: str
    sentence: str


Path = tuple[CouplingStep, ...]


def coupling_path(network: Network, group: Group, parameter: str, axis: int, unit: int = 0) -> Path:
    """Return the shortest chain of links from the layer that makes a unit to another member.

    Args:
        network: The traced model.
        group: A group of it.
        parameter: Full name of a tensor among the group's members.
        axis: Its axis.
        unit: Index of the unit within the group.

    Raises:
        UnknownNameError: If the tensor's axis is no member of the group.
    """
    members = [(member.parameter, member.axis) for member in group.members]
    if (parameter, axis) not in members:
        known = [f"{name} axis {place}" for name, place in members]
        raise UnknownNameError("member", f"{parameter} axis {axis}", known)
    return _paths(network, group, [(parameter, axis)], unit)[parameter, axis]


def coupling_paths(network: Network, group: Group) -> dict[tuple[str, int], Path]:
    """Return what :func:`coupling_path` does for every member of a group, by parameter and axis.

    The graph is searched once.
    """
    members = [(member.parameter, member.axis) for member in group.members]
    return _paths(network, group, members, unit=0)


def _paths(
    network: Network, group: Group, wanted: Sequence[tuple[str, int]], unit: int
) -> dict[tuple[str, int], Path]:
    analysis = network.analysis
    number = network.first_unit(group) + unit

    def labels(member: tuple[str, int]) -> NDArray[np.int32]:
        name, place = member
        along = analysis.units_along(name, place) == number
        found: NDArray[np.int32] = analysis.axes[name][place][along]
        return found

    members = [(member.parameter, member.axis) for member in group.members]
    maker = next((m for m in members if m[0].rpartition(".")[0] == group.layers[0]), members[0])
    starts = labels(maker)
    if not len(starts):
        return dict.fromkeys(wanted, ())
    search = _search(analysis, int(starts[0]))
    return {member: _steps(network, _path(analysis, search, labels(member))) for member in wanted}


def lock_path(network: Network, parameter: str, axis: int) -> Path:
    """Return the shortest chain of links from an axis to what holds it; empty when it can shrink.

    Raises:
        UnknownNameError: If there is no such parameter or buffer.
    """
    analysis = network.analysis
    if parameter not in analysis.axes:
        raise UnknownNameError("parameter", parameter, analysis.axes)
    locked = analysis.axes[parameter][axis][analysis.units_along(parameter, axis) < 0]
    if not len(locked):
        return ()
    search = _search(analysis, int(locked[0]))
    steps = _steps(network, _path(analysis, search, np.array([FIXED])))
    *through, last = steps
    if last.operator == "convolution" and axis >= _FIRST_KERNEL_AXIS and not through:
        return (replace(last, sentence="the size of a kernel stays"),)
    text = _LOCKS.get(last.operator)
    if text is None and last.operator in _COUPLES:
        text = "what it meets in {place} has a fixed size"
    if text is None:
        return steps
    return (*through, replace(last, sentence=text.format(place=last.place)))


class _Search(NamedTuple):
    """The shortest ways from one label to all it is tied to.

    Attributes:
        start: The label.
        order: Labels in the order they were reached.
        before: ``[n_labels]`` the label before each on the way.
    """

    start: int
    order: NDArray[np.int32]
    before: NDArray[np.int32]


def _search(analysis: Analysis, start: int) -> _Search:
    left, right, _ = analysis.edges
    n_labels = len(analysis.unit_of)
    graph = coo_matrix((np.ones(len(left), np.int8), (left, right)), (n_labels, n_labels)).tocsr()
    return _Search(start, *breadth_first_order(graph, start, directed=False))


def _path(analysis: Analysis, search: _Search, ends: NDArray[np.int32]) -> list[int]:
    """Return the graph steps of the links on a shortest path, each once."""
    left, right, steps = analysis.edges
    reached = np.flatnonzero(np.isin(search.order, ends))
    if not len(reached):
        return []
    label, labels = int(search.order[reached[0]]), []
    while label != search.start:
        labels.append((int(search.before[label]), label))
        label = int(search.before[label])
    chain = []
    for a, b in reversed(labels):
        here = ((left == a) & (right == b)) | ((left == b) & (right == a))
        chain.append(int(steps[here].min()))
    return [step for place, step in enumerate(chain) if place == 0 or step != chain[place - 1]]


def _steps(network: Network, steps: list[int]) -> Path:
    nodes = list(network.analysis.capture.graph.graph.nodes)
    children = dict(network.module.named_modules())
    return tuple(
        CouplingStep(
            nodes[step].op if nodes[step].op == "output" else _bare(nodes[step]),
            place_of(network.analysis, nodes[step], children),
            _sentence(network.analysis, nodes[step], children),
        )
        for step in steps
    )


def _bare(node: fx.Node) -> str:
    return operator_name(node).removesuffix("_legit_no_training").removesuffix("_legit")


def _sentence(analysis: Analysis, node: fx.Node, children: Mapping[str, nn.Module]) -> str:
    if node.op == "output":
        return "it is an output of the model, whose size is fixed"
    if node.op == "placeholder":
        return "nothing reads it, or its numbers are positions"
    place = place_of(analysis, node, children)
    name = _bare(node)
    if name in analysis.unknown:
        return f"the operator '{name}' in {place} has no rule, so all it touches stays"
    if name in _MERGES:
        return f"a view in {place} splits or merges the axis, so that whole blocks leave together"
    text = _COUPLES.get(name)
    return text.format(place=place) if text else f"'{name}' in {place} ties its inputs"


def place_of(analysis: Analysis, node: fx.Node, children: Mapping[str, nn.Module]) -> str:
    """Return where a node ran, e.g. ``layer1.0.bn2 (BatchNorm2d)``."""
    owner = analysis.capture.owner.get(node, "")
    return f"{owner} ({type(children[owner]).__name__})" if owner else "the model itself"


def reason(analysis: Analysis, step: int, children: Mapping[str, nn.Module]) -> str | None:
    """Return the sentence for a coupling operator, None for one that couples nothing by itself."""
    node = list(analysis.capture.graph.graph.nodes)[step]
    return _sentence(analysis, node, children) if _bare(node) in _COUPLES else None
