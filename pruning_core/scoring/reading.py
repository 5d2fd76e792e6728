"""Show a criterion every activation at the moment a product reads it.

That moment is right also where operators work in place: what a layer returned may be something
else by the time the next layer reads it. Where every product that matters is the forward pass of
a linear, convolution or one-layer recurrent module, the user's own module runs, with hooks;
otherwise the traced graph does, operator by operator, which is slower.
"""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from itertools import cycle
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, fx, nn
from torch.utils import _pytree as pytree

from pruning_core.scoring.gradients import no_gradient
from pruning_core.scoring.loss import task_loss
from pruning_core.scoring.material import Batch
from pruning_core.tasks.registry import CLASSIFICATION, Task
from pruning_core.tracing.analysis import Analysis, stored_tensor
from pruning_core.tracing.labels import LabelArray, Labelled
from pruning_core.tracing.network import Network
from pruning_core.tracing.rebuild import products_at_any_batch
from pruning_core.tracing.walk import Product

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
_SIMPLE = {module.forward for module in (nn.Linear, *_CONVOLUTIONS, *_TRANSPOSED)}
_RECURRENT = {nn.RNN.forward, nn.GRU.forward, nn.LSTM.forward}


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

    def watching(self, replace: _Replace) -> AbstractContextManager[Callable[[Tensor], Any]]:
        """Return, inside the block, what runs a batch and returns the model's output.

        ``replace`` returns what the product reads instead of the activation.
        """
        ...


def reader(network: Network, wanted: Callable[[Read], bool], *, gradients: bool = False) -> Reader:
    """Return what shows the wanted readings, in the cheapest way that shows them all.

    Args:
        network: The traced network.
        wanted: Which readings are shown.
        gradients: True for :func:`see_gradients`.
    """
    hooks = _ModuleReader.of(network, wanted, gradients=gradients)
    return _GraphReader(network, wanted) if hooks is None else hooks


def see_activations(read_by: Reader, batches: Iterable[Batch], see: See) -> None:
    """Run the batches and show every activation that is read; nothing is kept."""

    def shown(read: Read, activation: Tensor, axis: int) -> Tensor:
        see(read, activation, axis)
        return activation

    with read_by.watching(shown) as run, torch.no_grad():
        for inputs, _ in batches:
            run(inputs)


def see_gradients(
    read_by: Reader, batch: Batch, see: SeeGradient, task: Task = CLASSIFICATION
) -> None:
    """Run a batch forward and backward, and show activation and gradient of every reading.

    The gradients are those of the sum of the samples' losses, so that each sample has its own.

    Raises:
        DataError: If the loss of the task is not known.
        UnsupportedModelError: If there is no way back through the model.
    """
    inputs, labels = batch

    def watched(read: Read, activation: Tensor, axis: int) -> Tensor:
        if not activation.requires_grad:
            activation = activation.detach().requires_grad_()
        apply: Callable[..., Tensor] = _Watched.apply
        return apply(activation, lambda a, g: see(read, a, g, axis))

    with read_by.watching(watched) as run, torch.enable_grad():
        loss = task_loss(run(inputs), labels, task=task) * len(inputs)
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

        sample = inputs[:1].repeat(size, *[1] * (inputs.ndim - 1))
        see_activations(read_by, [(sample, torch.zeros(size))], note)
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
    """Runs the user's own module, with hooks on the layers that read."""

    def __init__(self, module: nn.Module, reads: dict[str, list[Read]]) -> None:
        self._module = module
        self._reads = reads

    @classmethod
    def of(
        cls, network: Network, wanted: Callable[[Read], bool], *, gradients: bool
    ) -> "_ModuleReader | None":
        """Return a reader, or None where hooks do not show what is wanted."""
        children = dict(network.module.named_modules())
        owner = network.analysis.capture.owner
        reads: dict[str, list[Read]] = defaultdict(list)
        for read in readings(network.analysis, wanted):
            path = owner[read.product.node]
            is_recurrence = not gradients and _is_recurrence(children[path])
            if not _is_simple(children[path]) and not (is_recurrence and read.weight):
                return None
            if not is_recurrence or all(read.weight != other.weight for other in reads[path]):
                reads[path].append(read)  # every step of a recurrence reads alike
        found = cls(network.module, reads)
        return found if found._sees_all(network) else None

    def _sees_all(self, network: Network) -> bool:
        """Tell whether one sample meets every reading once, with the axis it should have."""
        met: list[bool] = []

        def note(read: Read, activation: Tensor, axis: int) -> Tensor:
            met.append(activation.shape[axis] == len(read.units))
            return activation

        with self.watching(note), torch.no_grad():
            self._module(*network.inputs.args, **network.inputs.kwargs)
        return all(met) and len(met) == sum(map(len, self._reads.values()))

    @contextmanager
    def watching(self, replace: _Replace) -> Iterator[Callable[[Tensor], Any]]:
        hooks = []
        for path, reads in self._reads.items():
            child = self._module.get_submodule(path)
            if isinstance(child, nn.RNNBase):
                after = _after_recurrence(reads, replace)
                hooks.append(child.register_forward_hook(after, with_kwargs=True))
            else:
                hooks.append(child.register_forward_pre_hook(_before(child, reads, replace)))
        try:
            yield self._run
        finally:
            for hook in hooks:
                hook.remove()

    def _run(self, inputs: Tensor) -> Any:
        if not torch.is_grad_enabled():
            return self._module(inputs)
        state = {name: tensor.detach() for name, tensor in self._module.named_parameters()}
        return torch.func.functional_call(self._module, state, (inputs,))


def _is_simple(module: nn.Module) -> bool:
    """Tell whether the module's input is, as it is, what its one product reads."""
    return type(module).forward in _SIMPLE and getattr(module, "padding_mode", "zeros") == "zeros"


def _is_recurrence(module: nn.Module) -> bool:
    """Tell whether the module's input and its outputs one step back are all that it reads."""
    return (
        isinstance(module, nn.RNNBase)
        and type(module).forward in _RECURRENT
        and module.num_layers == 1
        and not module.bidirectional
        and not module.proj_size
    )


def _before(module: nn.Module, reads: Sequence[Read], replace: _Replace) -> Callable[..., Any]:
    turns = cycle(reads)  # a shared module reads several times in one pass
    n_spatial = len(module.kernel_size) if isinstance(module, nn.modules.conv._ConvNd) else 0

    def before(_: nn.Module, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
        activation = arguments[0]
        return (replace(next(turns), activation, activation.ndim - 1 - n_spatial), *arguments[1:])

    return before


def _after_recurrence(reads: Sequence[Read], show: _Replace) -> Callable[..., None]:
    def after(module: nn.RNNBase, arguments: Any, named: Any, output: Any) -> None:
        given = [*arguments, *named.values()]
        if not all(isinstance(leaf, Tensor) for leaf in pytree.tree_leaves((given, output))):
            return  # packed sequences
        for read in reads:
            reads_input = read.weight is not None and "weight_ih" in read.weight[0]
            shown = given[0] if reads_input else _states_read(module, given[1:], output[0])
            show(read, shown, shown.ndim - 1)

    return after


def _states_read(module: nn.RNNBase, first: Sequence[Any], outputs: Tensor) -> Tensor:
    """Return the state before each step: the first one given, or zeros, then the outputs."""
    time = 1 if module.batch_first else 0
    before = outputs.narrow(time, 0, outputs.shape[time] - 1)
    start = pytree.tree_leaves(first)[0].movedim(0, time) if first else None
    zeros = torch.zeros_like(outputs.narrow(time, 0, 1)) if start is None else start
    return torch.cat([zeros, before], dim=time)


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

    @contextmanager
    def watching(self, replace: _Replace) -> Iterator[Callable[[Tensor], Any]]:
        self._replace = replace
        yield self.run

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
