"""Show a criterion every activation at the moment a product reads it.

That moment is right also where operators work in place: what a layer returned may be something
else by the time the next layer reads it. Where every product that matters is the forward pass of
a linear or convolution module, the user's own module runs, with hooks; otherwise the traced graph
does, operator by operator, which is slower.
"""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, fx, nn

from pruning_core.scoring.gradients import no_gradient
from pruning_core.scoring.loss import task_loss
from pruning_core.tracing.analysis import Analysis, stored_tensor
from pruning_core.tracing.labels import LabelArray, Labelled
from pruning_core.tracing.network import Network
from pruning_core.tracing.rebuild import products_at_any_batch
from pruning_core.tracing.walk import Product

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
_SIMPLE = {module.forward for module in (nn.Linear, *_CONVOLUTIONS, *_TRANSPOSED)}


@dataclass(frozen=True, slots=True, eq=False)
class Read:
    """One reading of an activation by a product.

    Attributes:
        product: The product.
        operand: The node that is read.
        axis: The axis of the activation that is contracted.
        units: ``[C]`` unit of each index along it among all units, negative where there is none.
        weight: The parameter it is multiplied by, and the axis of it that is contracted; None
            where the other operand is computed or the axis is not one of the parameter's.
    """

    product: Product
    operand: fx.Node
    axis: int
    units: Tensor
    weight: tuple[str, int] | None

    @property
    def has_units(self) -> bool:
        """True when units can leave along the axis."""
        return bool((self.units >= 0).any())


See = Callable[[Read, Tensor, int], None]
"""Called with the reading, the activation and the axis of it that is contracted."""
SeeGradient = Callable[[Read, Tensor, Tensor, int], None]
"""As :data:`See`, with the gradient that comes back through this reading alone before the axis."""
_Replace = Callable[[Read, Tensor, int], Tensor]


class Reader(Protocol):
    """Runs the network and hands over each activation just before it is read."""

    def run(self, inputs: Tensor, replace: _Replace) -> Any:
        """Return the model's output; ``replace`` returns what the product reads instead."""
        ...


def reader(network: Network, wanted: Callable[[Read], bool]) -> Reader:
    """Return what shows the wanted readings, in the cheapest way that shows them all."""
    hooks = _ModuleReader.of(network, wanted)
    return _GraphReader(network, wanted) if hooks is None else hooks


def see_activations(read_by: Reader, inputs: Tensor, see: See) -> None:
    """Run a batch and show every activation that is read; nothing is kept."""

    def shown(read: Read, activation: Tensor, axis: int) -> Tensor:
        see(read, activation, axis)
        return activation

    with torch.no_grad():
        read_by.run(inputs, shown)


def see_gradients(read_by: Reader, inputs: Tensor, labels: Tensor, see: SeeGradient) -> None:
    """Run a batch forward and backward, and show activation and gradient of every reading.

    The gradients are those of the sum of the samples' losses, so that each sample has its own.

    Raises:
        DataError: If the loss of the task is not known.
        UnsupportedModelError: If there is no way back through the model.
    """

    def watched(read: Read, activation: Tensor, axis: int) -> Tensor:
        if not activation.requires_grad:
            activation = activation.detach().requires_grad_()
        apply: Callable[..., Tensor] = _Watched.apply
        return apply(activation, lambda a, g: see(read, a, g, axis))

    with torch.enable_grad():
        loss = task_loss(read_by.run(inputs, watched), labels) * len(inputs)
    try:
        torch.autograd.backward(loss)
    except RuntimeError as error:
        raise no_gradient(error) from error


class _Watched(torch.autograd.Function):
    """The identity; shows its input and the gradient of its output on the way back.

    The input is kept by autograd, which refuses when it was changed in place in between.
    """

    @staticmethod
    def forward(ctx: Any, activation: Tensor, see: Callable[[Tensor, Tensor], None]) -> Tensor:
        ctx.save_for_backward(activation)
        ctx.see = see
        return activation.view_as(activation)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (activation,) = ctx.saved_tensors
        with torch.no_grad():
            ctx.see(activation, gradients[0])
        return gradients[0], None


def batch_axes(read_by: Reader, inputs: Tensor) -> dict[Read, int] | None:
    """Return for each reading the axis of the activation that carries the samples.

    None when an axis mixes samples with something else, so that samples must go one by one.
    """
    shapes: list[list[tuple[Read, tuple[int, ...]]]] = [[], []]
    for size, found in zip((2, 3), shapes, strict=True):

        def note(read: Read, activation: Tensor, _: int, found: list[Any] = found) -> None:
            found.append((read, activation.shape))

        see_activations(read_by, inputs[:1].repeat(size, *[1] * (inputs.ndim - 1)), note)
    axes = {}
    for (read, two), (_, three) in zip(*shapes, strict=True):
        moved = [axis for axis, (a, b) in enumerate(zip(two, three, strict=True)) if a != b]
        if len(moved) != 1 or (two[moved[0]], three[moved[0]]) != (2, 3):
            return None
        axes[read] = moved[0]
    return axes


def readings(analysis: Analysis, wanted: Callable[[Read], bool]) -> Iterator[Read]:
    """Yield the wanted readings in execution order."""
    for product in analysis.products:
        units = torch.from_numpy(analysis.unit_of[product.consumed].astype(np.int64))
        for position, (operand, axis) in enumerate(product.operands):
            if stored_tensor(analysis, operand) is None:
                other, other_axis = product.operands[1 - position]
                weight = stored_axis(analysis, other, other_axis)
                read = Read(product, operand, axis, units, weight)
                if wanted(read):
                    yield read


def stored_axis(analysis: Analysis, node: fx.Node, axis: int) -> tuple[str, int] | None:
    """Return the parameter that ``node`` rearranges, and which of its axes became ``axis``."""
    name = stored_tensor(analysis, node)
    value = analysis.values[node]
    if name is None or not isinstance(value, Labelled):
        return None
    labels = _labels_along(value, axis)
    for place, stored in enumerate(analysis.axes[name]):
        if labels is not None and np.array_equal(stored, labels):
            return name, place
    return None


def units_along(analysis: Analysis, node: fx.Node, axis: int) -> Tensor:
    """Return ``[C]`` the unit of each index of an axis of a node's output, negative without one."""
    value = analysis.values[node]
    labels = _labels_along(value, axis) if isinstance(value, Labelled) else None
    if labels is None:
        return torch.full((node.meta["val"].shape[axis],), -1)
    return torch.from_numpy(analysis.unit_of[labels].astype(np.int64))


def _labels_along(value: Labelled, axis: int) -> LabelArray | None:
    return next((block.labels for block in value.blocks if block.axes == (axis,)), None)


class _ModuleReader:
    """Runs the user's own module, with a hook before each linear or convolution that reads."""

    def __init__(self, module: nn.Module, reads: dict[str, list[Read]]) -> None:
        self._module = module
        self._reads = reads

    @classmethod
    def of(cls, network: Network, wanted: Callable[[Read], bool]) -> "_ModuleReader | None":
        """Return a reader, or None where a wanted reading is not a module's whole input."""
        children = dict(network.module.named_modules())
        owner = network.analysis.capture.owner
        reads: dict[str, list[Read]] = defaultdict(list)
        for read in readings(network.analysis, wanted):
            path = owner[read.product.node]
            if not _is_simple(children[path]):
                return None
            reads[path].append(read)
        found = cls(network.module, reads)
        return found if found._sees_all(network) else None

    def _sees_all(self, network: Network) -> bool:
        """Tell whether one sample meets every reading once, with the axis it should have."""
        met: list[Read] = []

        def note(read: Read, activation: Tensor, axis: int) -> Tensor:
            if activation.shape[axis] == len(read.units):
                met.append(read)
            return activation

        try:
            with torch.no_grad(), self._watching(note):
                self._module(*network.inputs.args, **network.inputs.kwargs)
        except IndexError:  # a module ran more often than it was recorded
            return False
        return len(met) == sum(map(len, self._reads.values()))

    def run(self, inputs: Tensor, replace: _Replace) -> Any:
        module = self._module
        with self._watching(replace):
            if not torch.is_grad_enabled():
                return module(inputs)
            state = {name: tensor.detach() for name, tensor in module.named_parameters()}
            return torch.func.functional_call(module, state, (inputs,))

    @contextmanager
    def _watching(self, replace: _Replace) -> Iterator[None]:
        hooks = []
        for path, reads in self._reads.items():
            child = self._module.get_submodule(path)
            hooks.append(child.register_forward_pre_hook(_hook(child, reads, replace)))
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()


def _is_simple(module: nn.Module) -> bool:
    """Tell whether the module's input is, as it is, what its one product reads."""
    return type(module).forward in _SIMPLE and getattr(module, "padding_mode", "zeros") == "zeros"


def _hook(module: nn.Module, reads: Sequence[Read], replace: _Replace) -> Callable[..., Any]:
    rest = iter(reads)

    def before(_: nn.Module, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
        read = next(rest, None)
        if read is None:
            raise IndexError
        activation = arguments[0]
        n_spatial = len(module.kernel_size) if isinstance(module, nn.modules.conv._ConvNd) else 0
        axis = activation.ndim - 1 - n_spatial
        return (replace(read, activation, axis), *arguments[1:])

    return before


class _GraphReader(fx.Interpreter):
    """Runs the traced graph, any batch size."""

    def __init__(self, network: Network, wanted: Callable[[Read], bool]) -> None:
        module, analysis, names = products_at_any_batch(network)
        super().__init__(module.requires_grad_(requires_grad=False))
        self._reads: dict[str, list[tuple[str, Read]]] = defaultdict(list)
        for read in readings(analysis, wanted):
            name = names[read.product.node.name]
            self._reads[name].append((names[read.operand.name], read))
        self._replace: _Replace

    def run(self, inputs: Tensor, replace: _Replace) -> Any:  # type: ignore[override]
        self._replace = replace
        return super().run(inputs)

    def run_node(self, n: fx.Node) -> Any:
        """Run one node, showing its activation operands first when it is a product."""
        own: dict[fx.Node, Any] = {}
        for name, read in self._reads.get(n.name, []):
            operand = next(node for node in n.all_input_nodes if node.name == name)
            own.setdefault(operand, self.env[operand])
            self.env[operand] = self._replace(read, self.env[operand], read.axis)
        result = super().run_node(n)
        self.env.update(own)
        return result


class NodeReader(fx.Interpreter):
    """Runs the traced graph, any batch size, and shows what chosen operators return.

    Attributes:
        analysis: The analysis of the graph; its nodes name the operators.
        nodes: The operators, in execution order.
    """

    def __init__(self, network: Network) -> None:
        module, self.analysis, self._names = products_at_any_batch(network)
        super().__init__(module)
        graph = self.analysis.capture.graph.graph
        self.nodes = [node for node in graph.nodes if node.op == "call_function"]
        self._see: Callable[[fx.Node, Tensor], None]
        self._chosen: dict[str, fx.Node]

    def run_seeing(
        self, inputs: Tensor, chosen: Collection[fx.Node], see: Callable[[fx.Node, Tensor], None]
    ) -> None:
        """Run a batch and show the output of the ``chosen`` operators as soon as it is there."""
        self._chosen = {self._names[node.name]: node for node in chosen}
        self._see = see
        with torch.no_grad():
            self.run(inputs)

    def run_node(self, n: fx.Node) -> Any:
        """Run one node and show its output when it is chosen."""
        result = super().run_node(n)
        if n.name in self._chosen:
            self._see(self._chosen[n.name], result)
        return result
