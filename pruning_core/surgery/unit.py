"""Remove units from a copy of the user's own module, and prove that it computes the right thing."""

import copy
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, fx, nn
from torch.nn.utils.parametrize import is_parametrized
from torch.nn.utils.weight_norm import WeightNorm
from torch.utils._python_dispatch import TorchDispatchMode

from pruning_core.choices import Choices
from pruning_core.errors import first_line
from pruning_core.inputs import output_tensors
from pruning_core.modes import copied, evaluating
from pruning_core.surgery.branch import cut_branches
from pruning_core.surgery.resize import resize
from pruning_core.surgery.stored import Reach, new_sizes
from pruning_core.switches import decomposed_operators, plain_attention
from pruning_core.tracing.analysis import staying
from pruning_core.tracing.branches import Branch
from pruning_core.tracing.network import Network
from pruning_core.tracing.rebuild import rebuild, sizes_met

Keep = NDArray[np.bool_]
Kept = Mapping[str, tuple[NDArray[np.int64] | None, ...]]

# Relative: summation order differs between a module and its graph. In float64 that leaves 1e-12,
# or 1e-7 where a model computes parts in float32 all the same.
_TOLERANCE = 1e-4
_TOLERANCE_FLOAT64 = 1e-6
_MACS_TO_TRY = 100_000_000
_SAMPLE = 50_000


class Removal(NamedTuple):
    """A module without the removed units, and why it is a graph if it is one."""

    module: nn.Module
    graph_reason: str


def kept_indices(network: Network, keep: Keep, cut: Sequence[Branch] = ()) -> Kept:
    """Return, for each parameter and buffer, the original indices kept on each axis.

    None stands for an axis that stays whole. Tensors that stay whole are not listed; of the tensors
    of a cut branch nothing is kept.
    """
    kept: dict[str, tuple[NDArray[np.int64] | None, ...]] = {}
    for name, tensor in network.analysis.tensors.items():
        axes: list[NDArray[np.int64] | None] = []
        for axis in range(tensor.ndim):
            stays = staying(network.analysis.units_along(name, axis), keep)
            axes.append(None if stays.all() else np.flatnonzero(stays))
        if any(axis is not None for axis in axes):
            kept[name] = tuple(axes)
    for name in _gone(cut):
        nothing = np.zeros(0, np.int64)
        kept[name] = (nothing,) * network.tensor(name).ndim
    return kept


def _gone(cut: Sequence[Branch]) -> set[str]:
    """Return the tensors that leave with the branches."""
    return {name for branch in cut for name in branch.tensors}


def remove_units(network: Network, keep: Keep, cut: Sequence[Branch] = ()) -> Removal:
    """Return the model without what does not stay; the model itself is not changed.

    The result is the user's own class wherever that class can express it, which is proven by
    running it beside the rewritten graph; otherwise it is that graph.

    Args:
        network: The traced model.
        keep: ``[n_units]`` True for the units that stay.
        cut: Residual branches that go.
    """
    if keep.all() and not cut:
        return Removal(copied(network.module), "")
    graph = rebuild(network, keep, cut)
    one_sample = f". {graph.meta['one_sample']}" if graph.meta["one_sample"] else ""
    kept, met = kept_indices(network, keep), sizes_met(network, keep)
    how = "without its branches" if cut else "with the new sizes"
    reasons: list[str] = []
    tried: list[Mapping[tuple[str, str], Any]] = []
    for reach in Reach:
        sizes = new_sizes(network.module, met, reach)
        if sizes in tried:
            continue
        tried.append(sizes)
        try:
            module = _sliced(network, kept, cut)
            parts = dict(module.named_modules())
            for (path, name), value in sizes.items():
                if path in parts:  # it may have left with a branch
                    setattr(parts[path], name, value)
            if _agree(module, graph, network):
                return Removal(module, "")
            reasons.append(f"its class computes something else {how}")
        except Exception as error:  # whatever the user's forward raises
            reasons.append(f"its class cannot run {how} ({first_line(error)})")
    return Removal(graph, reasons[0] + one_sample)


def _sliced(network: Network, kept: Kept, cut: Sequence[Branch]) -> nn.Module:
    module = copied(network.module)
    cut_branches(module, network, cut)
    gone = _gone(cut)
    replaced: dict[int, Tensor] = {}
    for name, axes in kept.items():
        if name in gone:
            continue
        tensor = _lookup(module, name)
        replaced[id(tensor)] = _take(tensor, axes)
    for child in module.modules():
        own = {**child._parameters, **child._buffers}
        smaller = {leaf: replaced[id(old)] for leaf, old in own.items() if id(old) in replaced}
        for leaf, tensor in smaller.items():
            setattr(child, leaf, tensor)
        if smaller:
            resize(child)
    for child in module.modules():
        _resize_computed(child)
    return module


def _resize_computed(module: nn.Module) -> None:
    """Resize a layer whose weight is computed from other tensors, which are smaller now."""
    hooks = [h for h in module._forward_pre_hooks.values() if isinstance(h, WeightNorm)]
    for hook in hooks:
        with torch.no_grad():  # the hook would do so at the next call
            setattr(module, hook.name, hook.compute_weight(module))
    if hooks or is_parametrized(module):
        resize(module)


def _lookup(module: nn.Module, name: str) -> Tensor:
    path, _, leaf = name.rpartition(".")
    tensor = getattr(module.get_submodule(path), leaf)
    if not isinstance(tensor, Tensor):
        raise TypeError(f"{name} is no tensor")
    return tensor


def _take(tensor: Tensor, axes: tuple[NDArray[np.int64] | None, ...]) -> Tensor:
    result = tensor.detach()
    for axis, indices in enumerate(axes):
        if indices is not None:
            result = result.index_select(axis, torch.from_numpy(indices).to(tensor.device))
    result = result.clone()
    if isinstance(tensor, nn.Parameter):
        return nn.Parameter(result, requires_grad=tensor.requires_grad)
    return result


def _agree(module: nn.Module, graph: fx.GraphModule, network: Network) -> bool:
    """Run both on a seeded batch: do they yield the same, by operators of the same shapes?

    Where they run different operators, shapes say nothing; then float64 must agree as well.
    """
    if network.analysis.capture.by_values:
        return _agree_on_choices(module, graph, network)
    for draw in range(_draws(network)):
        difference, comparable = _difference(module, graph, network, draw)
        if not difference < _TOLERANCE:
            return False
    if comparable:
        return True
    try:
        wide = copied(module).double(), copy.deepcopy(graph).double()
        return _difference(*wide, network, 0, torch.float64)[0] < _TOLERANCE_FLOAT64
    except Exception:  # an element type is written into the class
        return True


def _agree_on_choices(module: nn.Module, graph: fx.GraphModule, network: Network) -> bool:
    """Compare all products (up to 50,000 numbers of each) on the traced input, where a graph holds.

    Both choose what the dense network chooses.
    """
    whole = rebuild(network, np.ones(network.cost.n_units, np.bool_))
    found = []
    with torch.no_grad(), decomposed_operators():
        for dense, pruned in ((network.module, module), (whole, graph)):
            call = network.inputs
            with evaluating(dense), torch.random.fork_rng(devices=[]), Choices() as choices:
                torch.default_generator.manual_seed(0)
                dense(*call.args, **call.kwargs)
            with (
                torch.random.fork_rng(devices=[]),
                Choices(choices.made),
                _ShapeRecorder(with_results=True) as recorder,
            ):
                torch.default_generator.manual_seed(0)
                outputs = output_tensors(pruned(*call.args, **call.kwargs))
            found.append((recorder.shapes, [*recorder.results, *outputs]))
    (shapes, results), (graph_shapes, graph_results) = found
    return shapes == graph_shapes and _worst(results, graph_results) < _TOLERANCE


def _draws(network: Network) -> int:
    """Return how many batches are tried: several where that is cheap, since a ReLU hides much."""
    macs = sum(layer.macs for layer in network.layers)
    return min(max(_MACS_TO_TRY // max(macs, 1), 1), 8)


def _difference(
    module: nn.Module,
    graph: fx.GraphModule,
    network: Network,
    draw: int,
    dtype: torch.dtype | None = None,
) -> tuple[float, bool]:
    """Return the largest relative difference (infinite where shapes differ).

    The second value tells whether both ran the same operators.
    """
    generator = torch.Generator().manual_seed(draw)
    batch = network.inputs.repeated(1 if graph.meta["one_sample"] else 2)
    call = batch.with_tensors(_varied(tensor, generator, dtype) for tensor in batch.tensors)
    outputs, shapes = [], []
    with torch.no_grad(), plain_attention():
        for each in (module, graph):
            with torch.random.fork_rng(devices=[]), _ShapeRecorder() as recorder:
                torch.default_generator.manual_seed(draw)  # some models draw noise in eval mode
                outputs.append(output_tensors(each(*call.args, **call.kwargs)))
            shapes.append(recorder.shapes)
    operators = [[name for name, _ in recorded] for recorded in shapes]
    comparable = operators[0] == operators[1]
    if comparable and shapes[0] != shapes[1]:
        return float("inf"), comparable
    return _worst(*outputs), comparable


def _worst(left: Sequence[Tensor], right: Sequence[Tensor]) -> float:
    """Return the largest difference of a tensor, relative to its largest number.

    What is no number in both is alike; what is one in only one of them differs by a lot.
    """
    pairs = [(_numbers(a), _numbers(b)) for a, b in zip(left, right, strict=True)]
    differences = [
        (a - b).abs().max() / b.abs().max().clamp_min(1e-12)
        for a, b in pairs
        if a.numel() or b.numel()
    ]
    return max((float(each) for each in differences), default=0.0)


def _numbers(tensor: Tensor) -> Tensor:
    is_number = tensor.is_floating_point() or tensor.is_complex()
    return (tensor if is_number else tensor.double()).nan_to_num()


def _varied(tensor: Tensor, generator: torch.Generator, dtype: torch.dtype | None) -> Tensor:
    if not tensor.is_floating_point():
        return tensor
    noise = torch.randn(tensor.shape, generator=generator, dtype=torch.float64)
    return (tensor + noise).to(dtype or tensor.dtype)


class _ShapeRecorder(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Notes the products and normalisations that run, with the shapes they read and yield.

    A class may compute nearly the same with units cut in another way; shapes tell. Views and
    copies are left out: which of them run depends on the memory layout.
    """

    _OPERATORS = {  # noqa: RUF012
        "mm": "mm",
        "addmm": "mm",
        "bmm": "bmm",
        "baddbmm": "bmm",
        "convolution": "convolution",
        "_softmax": "softmax",
        "_safe_softmax": "softmax",
        "native_layer_norm": "layer_norm",
        "native_group_norm": "group_norm",
    }

    def __init__(self, *, with_results: bool = False) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.shapes: list[tuple[str, tuple[tuple[int, ...], ...]]] = []
        self.results: list[Tensor] = []
        self._with_results = with_results

    def __torch_dispatch__(
        self, func: Any, _types: Any, args: Any = (), kwargs: Any = None
    ) -> object:
        result = func(*args, **(kwargs or {}))
        name = func.overloadpacket.__name__
        if name in self._OPERATORS:
            read = args[1:] if name in {"addmm", "baddbmm"} else args  # a bias comes first
            first = result[0] if isinstance(result, tuple) else result
            shapes = tuple(tuple(x.shape) for x in (*read, first) if isinstance(x, Tensor))
            self.shapes.append((self._OPERATORS[name], shapes))
            if self._with_results:
                self.results.append(first.flatten()[:: first.numel() // _SAMPLE + 1].clone())
        return result
