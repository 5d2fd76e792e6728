"""Residual branches: where a network computes ``x + f(x)``, the branch ``f`` may be cut.

Cutting means that the sum becomes ``x``, and everything that only ``f`` needs goes: operators,
parameters and buffers. A whole Transformer layer or residual block goes with its branches.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import takewhile

from torch import Tensor, fx, nn

from pruning_core.tracing.analysis import Analysis
from pruning_core.tracing.capture import Capture
from pruning_core.tracing.walk import operator_name


@dataclass(frozen=True, slots=True)
class Branch:
    """A residual branch; operators are named by their step in the captured graph.

    Attributes:
        name: Module path; unique.
        add: Step of the addition that becomes its other operand.
        stays: Step of that operand, ``x``.
        ends: Step of the operand that goes, ``f(x)``.
        nodes: Steps of every operator that only the branch needs.
        tensors: Parameters and buffers that only the branch needs.
        products: Numbers of the costly operators among the nodes, as in ``Analysis.products``.
        layers: Paths of the modules that own the tensors or run the costly operators.
    """

    name: str
    add: int
    stays: int
    ends: int
    nodes: frozenset[int]
    tensors: tuple[str, ...]
    products: tuple[int, ...]
    layers: tuple[str, ...]


def find_branches(analysis: Analysis) -> tuple[Branch, ...]:
    """Return all residual branches that own parameters, in execution order."""
    search = _Search(analysis)
    read = [node for node in search.nodes if node not in search.idle]
    return search.named([found for node in read if (found := search.branch(node))])


def nodes_of(capture: Capture) -> dict[str, frozenset[int]]:
    """Return module path -> steps of all operators that ran inside the module, also further in.

    Operators whose result nobody reads are left out.
    """
    idle = _idle(capture)
    inside: dict[str, set[int]] = {}
    for step, node in enumerate(capture.graph.graph.nodes):
        if node.op == "call_function" and node not in idle:
            for path in _upwards(capture.owner[node]):
                inside.setdefault(path, set()).add(step)
    return {path: frozenset(steps) for path, steps in inside.items()}


def _upwards(path: str) -> Iterator[str]:
    """Yield a module path and those of the modules around it; the root is the empty path."""
    while path:
        yield path
        path = path.rpartition(".")[0]
    yield ""


class _Search:
    """A captured graph and what is asked of it again and again."""

    def __init__(self, analysis: Analysis) -> None:
        capture = analysis.capture
        self.nodes: list[fx.Node] = list(capture.graph.graph.nodes)
        self.step = {node: number for number, node in enumerate(self.nodes)}
        self.owner = capture.owner
        self.tensors = capture.tensors
        self.stored = dict(zip(self.nodes, capture.tensors, strict=False))
        self.inside = nodes_of(capture)
        self.idle = _idle(capture)
        self.products = [self.step[product.node] for product in analysis.products]

    def branch(self, add: fx.Node) -> Branch | None:
        """Return the branch that ``add`` adds to what it was computed from, if it does so."""
        for stays, ends in _orders(add):
            dead = self._only_for(ends, add)
            own = self._read_only_by(dead)
            has_weights = any(isinstance(self.tensors[name], nn.Parameter) for name in own)
            if stays not in self.stored and has_weights and self._leads_to(stays, dead):
                steps = frozenset(self.step[node] for node in dead)
                own |= self._unread(steps)
                names = tuple(name for name in self.tensors if name in own)
                return Branch(
                    name=self._path(dead),
                    add=self.step[add],
                    stays=self.step[stays],
                    ends=self.step[ends],
                    nodes=steps,
                    tensors=names,
                    products=tuple(n for n, step in enumerate(self.products) if step in steps),
                    layers=self._layers(names, steps),
                )
        return None

    def _only_for(self, ends: fx.Node, add: fx.Node) -> set[fx.Node]:
        """Return the operators that nobody needs any more when ``add`` does not read ``ends``."""
        dead: set[fx.Node] = set()
        pending = [ends] if set(ends.users) == {add} else []
        while pending:
            node = pending.pop()
            read = any(user not in dead and user not in self.idle for user in node.users)
            needed = node is not ends and read
            if node.op == "call_function" and not needed and node not in dead:
                dead.add(node)
                pending += node.all_input_nodes
        pending = [*dead]
        while pending:
            unread = [
                user for user in pending.pop().users if user in self.idle and user not in dead
            ]
            dead.update(unread)
            pending += unread
        return dead

    def _read_only_by(self, dead: set[fx.Node]) -> set[str]:
        """Return the parameters and buffers that only ``dead`` operators read."""
        read = {source for node in dead for source in node.all_input_nodes if source in self.stored}
        return {self.stored[node] for node in read if all(user in dead for user in node.users)}

    def _unread(self, steps: frozenset[int]) -> set[str]:
        """Return tensors that no operator reads (as a batch norm's counter) of modules inside."""
        names = (name for node, name in self.stored.items() if not node.users)
        return {
            name
            for name in names
            if self.inside[next(p for p in _upwards(_owner(name)) if p in self.inside)] <= steps
        }

    def _layers(self, tensors: Sequence[str], steps: frozenset[int]) -> tuple[str, ...]:
        """Return the modules that own ``tensors`` or run a costly operator."""
        owners = [_owner(name) for name in tensors]
        runs = [self.owner[self.nodes[step]] for step in self.products if step in steps]
        return tuple(dict.fromkeys([*owners, *runs]))

    def _leads_to(self, stays: fx.Node, dead: set[fx.Node]) -> bool:
        """Tell whether ``dead`` operators are computed from ``stays``, directly or not."""
        seen: set[fx.Node] = set()
        pending = [source for node in dead for source in node.all_input_nodes]
        while pending:
            node = pending.pop()
            if node is stays:
                return True
            if node not in seen and self.step[node] > self.step[stays]:
                seen.add(node)
                pending += node.all_input_nodes
        return False

    def _path(self, dead: set[fx.Node]) -> str:
        """Return the innermost module that ran all ``dead`` operators."""
        paths = [self.owner[node].split(".") for node in dead]
        shared = zip(*paths, strict=False)
        return ".".join(part[0] for part in takewhile(lambda part: len(set(part)) == 1, shared))

    def named(self, branches: Sequence[Branch]) -> tuple[Branch, ...]:
        """Name branches after the module that ends them where their module has other branches."""
        names: Counter[str] = Counter()
        result = []
        for branch in branches:
            name = branch.name
            others = self.inside[name] - branch.nodes
            if not name or any(others & other.nodes for other in branches):
                ends = _upwards(self.owner[self.nodes[branch.ends]])
                within = [path for path in ends if self.inside[path] <= branch.nodes]
                name = within[-1] if within else branch.layers[0] or branch.tensors[0]
            names[name] += 1
            result.append(replace(branch, name=name + "'" * (names[name] - 1)))
        return tuple(result)


def _orders(add: fx.Node) -> list[tuple[fx.Node, fx.Node]]:
    """Return the operands of a plain addition of two equal shapes, both ways round."""
    if operator_name(add) != "add" or add.kwargs.get("alpha", 1) != 1:
        return []
    pair = [node for node in add.args[:2] if isinstance(node, fx.Node)]
    values = [node.meta.get("val") for node in (*pair, add)]
    alike = len({(v.shape, v.dtype) for v in values if isinstance(v, Tensor)}) == 1
    if len(pair) < 2 or not alike or not all(isinstance(value, Tensor) for value in values):
        return []
    return [(pair[0], pair[1]), (pair[1], pair[0])]


def _idle(capture: Capture) -> frozenset[fx.Node]:
    """Return operators whose results come to nothing, as batch norm's statistics in eval mode."""
    idle: set[fx.Node] = set()
    for node in reversed(capture.graph.graph.nodes):
        works_in_place = getattr(getattr(node.target, "_schema", None), "is_mutable", False)
        if node.op == "call_function" and not works_in_place and node.users.keys() <= idle:
            idle.add(node)
    return frozenset(idle)


def _owner(tensor: str) -> str:
    return tensor.rpartition(".")[0]
