"""From links to units: connected components of labels that can leave without breaking a shape."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from torch import Tensor, fx, nn

from pruning_core.tracing import rules as _rules  # noqa: F401  (registers every rule)
from pruning_core.tracing.capture import Capture
from pruning_core.tracing.labels import Block, LabelArray, Labelled, Links
from pruning_core.tracing.walk import Product, Value, operator_name, walk

NO_UNIT = -1
_Key = TypeVar("_Key")
_MAX_RECTANGLE_PASSES = 20
_REARRANGES = frozenset(
    {"t", "transpose", "permute", "view", "reshape", "unsafe_view", "clone", "detach", "alias"}
    | {"expand", "to_copy", "select", "slice", "unsqueeze", "squeeze", "contiguous"}
)


@dataclass(frozen=True, slots=True, eq=False)
class Analysis:
    """Labels and units of one captured graph.

    Attributes:
        capture: The graph they were read from.
        values: Labels of every node's output.
        products: Costly nodes.
        axes: For each parameter and buffer, the labels of each axis.
        unit_of: ``[n_labels]`` global unit number of each label, ``NO_UNIT`` where it is fixed.
        group_sizes: Units of each group; units are numbered group by group.
        members: For each group the tensor axes its units touch.
        renormalised: ``[n_units]`` True where a normalisation runs over the unit.
        stacked: ``[n_units]`` True where the unit is stacked in a batched product (heads).
        edges: The links: two vectors of labels, and the step of the graph that made each.
        steps: For each group, the graph steps that made links between different tensors' labels.
        unknown: Operators without a rule and how often they were met.
    """

    capture: Capture
    values: Mapping[fx.Node, Value]
    products: tuple[Product, ...]
    axes: Mapping[str, tuple[LabelArray, ...]]
    unit_of: NDArray[np.int32]
    group_sizes: tuple[int, ...]
    members: tuple[tuple[tuple[str, int], ...], ...]
    renormalised: NDArray[np.bool_]
    stacked: NDArray[np.bool_]
    edges: tuple[LabelArray, LabelArray, NDArray[np.int32]]
    steps: tuple[tuple[int, ...], ...]
    unknown: Mapping[str, int]

    @property
    def tensors(self) -> Mapping[str, Tensor]:
        """Parameters and buffers by full name."""
        return self.capture.tensors

    @property
    def n_units(self) -> int:
        """Units of all groups together."""
        return sum(self.group_sizes)

    def units_along(self, name: str, axis: int) -> NDArray[np.int32]:
        """Return the unit of each index of a tensor's axis, ``NO_UNIT`` where it is fixed."""
        return self.unit_of[self.axes[name][axis]]


def staying(units: NDArray[np.int32], keep: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return which positions stay, given the unit of each and which units stay."""
    return np.append(keep, True)[units]  # NO_UNIT reads the last entry: what is fixed stays


def analyse(capture: Capture) -> Analysis:
    """Find the units of a captured graph and sort them into groups."""
    state, axes = walk(capture)
    component = _rectangular_components(state.links, list(state.values.values()))
    grouped = _group(component, axes, state.products, state.links.renormalised)
    learnt = {name for name, x in capture.tensors.items() if isinstance(x, nn.Parameter)}
    met = _met(component, state.values)
    grouped = [
        (components, members)
        for components, members in grouped
        if met[components].any() and any(name in learnt for name, _ in members)
    ]
    unit_of_component = np.full(int(component.max()) + 1, NO_UNIT, np.int32)
    start = 0
    for components, _ in grouped:
        unit_of_component[components] = np.arange(start, start + len(components))
        start += len(components)
    unit_of = unit_of_component[component]
    return Analysis(
        capture=capture,
        values=state.values,
        products=tuple(state.products),
        axes=axes,
        unit_of=unit_of,
        group_sizes=tuple(len(components) for components, _ in grouped),
        members=tuple(members for _, members in grouped),
        renormalised=_marked(state.links.renormalised, unit_of, start),
        stacked=_marked(state.links.stacked, unit_of, start),
        edges=state.links.edges(),
        steps=_coupling_steps(state.links, unit_of, [len(c) for c, _ in grouped]),
        unknown=dict(state.unknown),
    )


def product_weights(
    analysis: Analysis, parameters: Sequence[str]
) -> dict[Product, tuple[str, ...]]:
    """Return for each product the ``parameters`` it multiplies, in execution order."""
    known = set(parameters)
    found = {}
    for product in analysis.products:
        names = (stored_tensor(analysis, node) for node, _ in product.operands)
        found[product] = tuple(name for name in names if name in known)
    return found


def stored_tensor(analysis: Analysis, node: fx.Node) -> str | None:
    """Return the parameter or buffer that ``node`` only rearranges, None when it is computed."""
    while node.op == "call_function" and operator_name(node) in _REARRANGES:
        node = node.args[0]  # type: ignore[assignment]
    names = zip(analysis.capture.graph.graph.nodes, analysis.tensors, strict=False)
    return next((name for source, name in names if source is node), None)


def _components(links: Links) -> NDArray[np.int32]:
    left, right, _ = links.edges()
    graph = coo_matrix((np.ones(len(left), np.bool_), (left, right)), (links.n_labels,) * 2)
    _, component = connected_components(graph, directed=False)
    return np.asarray(component, np.int32)


def _rectangular_components(links: Links, values: Sequence[Value]) -> NDArray[np.int32]:
    """Return the component of each label, with joint blocks coupled that are no rectangles.

    What stays of a joint block must be a rectangle, so its labels may vary along one axis only.
    Where they vary along several, everything is coupled along the axis that keeps the most units.
    """
    joint = [
        (step, block)
        for step, value in enumerate(values)
        for tensor in _tensors(value)
        for block in tensor.joint_blocks
    ]
    for _ in range(_MAX_RECTANGLE_PASSES):
        component = _components(links)
        crooked = [item for item in joint if not _is_rectangle(component[item[1].labels])]
        if not crooked:
            return component
        for step, block in crooked:
            links.step = step
            links.couple_rows(_best_rows(block, component[block.labels]))
    raise RuntimeError("coupling of joint blocks did not settle")


def _met(component: NDArray[np.int32], values: Mapping[fx.Node, Value]) -> NDArray[np.bool_]:
    """Return which components an operator computes with.

    Others are positions that this input did not reach, in a table that was made for longer ones.
    """
    met = np.zeros(int(component.max()) + 1, np.bool_)
    for node in values:
        if node.op == "call_function" and operator_name(node) not in _REARRANGES:
            for tensor in (x for source in node.all_input_nodes for x in _tensors(values[source])):
                for block in tensor.blocks:
                    met[component[block.labels.ravel()]] = True
    return met


def _tensors(value: Value) -> list[Labelled]:
    items = value if isinstance(value, list) else [value]
    return [item for item in items if isinstance(item, Labelled)]


def _rows(labels: NDArray[np.int32], axis: int) -> NDArray[np.int32]:
    return np.moveaxis(labels, axis, 0).reshape(labels.shape[axis], -1)


def _is_rectangle(components: NDArray[np.int32]) -> bool:
    rows = (_rows(components, axis) for axis in range(components.ndim))
    return any(bool((row == row[:, :1]).all()) for row in rows)


def _best_rows(block: Block, components: NDArray[np.int32]) -> LabelArray:
    counts = [len(np.unique(_rows(components, axis)[:, 0])) for axis in range(components.ndim)]
    return _rows(block.labels, int(np.argmax(counts)))


def _group(
    component: NDArray[np.int32],
    axes: Mapping[str, tuple[LabelArray, ...]],
    products: Sequence[Product],
    statistics: Sequence[LabelArray],
) -> list[tuple[NDArray[np.int32], tuple[tuple[str, int], ...]]]:
    """Sort removable components into groups that touch the same tensor axes, in execution order.

    Units of a group stand in the same statistics as well: one unit of each group stays, so none is
    ever taken over nothing.
    """
    named = {(name, axis): labels for name, v in axes.items() for axis, labels in enumerate(v)}
    touched = _touching(component, named)
    touched.pop(int(component[0]), None)
    first_label = np.full(int(component.max()) + 1, len(component), np.int64)
    np.minimum.at(first_label, component, np.arange(len(component)))
    standing = _touching(component, dict(enumerate(statistics)))
    alike: dict[tuple[tuple[tuple[str, int], ...], tuple[int, ...]], list[int]] = defaultdict(list)
    for number, members in touched.items():
        alike[tuple(members), tuple(standing.get(number, ()))].append(number)
    born = _birth(component, products)
    groups = []
    for (touches, _), numbers in alike.items():
        ordered = np.array(sorted(numbers, key=lambda number: first_label[number]), np.int32)
        order = min(born.get(int(number), len(products)) for number in ordered)
        groups.append((order, int(first_label[ordered[0]]), ordered, touches))
    groups.sort(key=lambda group: group[:2])
    return [(ordered, touches) for _, _, ordered, touches in groups]


def _touching(
    component: NDArray[np.int32], vectors: Mapping[_Key, LabelArray]
) -> dict[int, list[_Key]]:
    """Return for each component the keys of the vectors that it has a label in."""
    found: dict[int, list[_Key]] = defaultdict(list)
    for key, labels in vectors.items():
        for number in np.unique(component[labels]).tolist():
            found[number].append(key)
    return found


def _birth(component: NDArray[np.int32], products: Sequence[Product]) -> dict[int, float]:
    """Return for each component the first product that makes it, or else just before it is read."""
    born: dict[int, float] = {}
    for position, product in enumerate(products):
        for number in np.unique(component[product.consumed]).tolist():
            born.setdefault(number, position - 0.5)
        for number in np.unique(component[product.produced]).tolist():
            born.setdefault(number, position)
    return born


def _marked(
    marks: Sequence[LabelArray], unit_of: NDArray[np.int32], n_units: int
) -> NDArray[np.bool_]:
    result = np.zeros(n_units, np.bool_)
    for labels in marks:
        units = unit_of[labels.ravel()]
        result[units[units != NO_UNIT]] = True
    return result


def _coupling_steps(
    links: Links, unit_of: NDArray[np.int32], sizes: Sequence[int]
) -> tuple[tuple[int, ...], ...]:
    """Return, for each group, the steps at which links between its labels were made."""
    left, _, steps = links.edges()
    owner = np.repeat(np.arange(len(sizes)), sizes)
    units = unit_of[left]
    pairs = Counter(
        zip(owner[units[units != NO_UNIT]].tolist(), steps[units != NO_UNIT].tolist(), strict=True)
    )
    found: list[set[int]] = [set() for _ in sizes]
    for group, step in pairs:
        found[group].add(step)
    return tuple(tuple(sorted(steps_of)) for steps_of in found)
