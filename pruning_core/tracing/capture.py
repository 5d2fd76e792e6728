"""Record one forward pass as a graph of ATen operators, with the module each operator ran in."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Any, Final, Literal

import torch
from torch import Tensor, fx, nn
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    DynamicOutputShapeException,
)
from torch.fx.experimental.proxy_tensor import get_proxy_mode, make_fx
from torch.fx.experimental.symbolic_shapes import GuardOnDataDependentSymNode
from torch.utils import _pytree as pytree

from pruning_core.errors import UnsupportedModelError, first_line
from pruning_core.inputs import Inputs, opened
from pruning_core.modes import restored
from pruning_core.switches import decomposed_operators


@dataclass(frozen=True, slots=True, eq=False)
class Capture:
    """One recorded forward pass.

    Attributes:
        graph: The operators; its first placeholders are ``tensors`` in order, then the inputs.
        tensors: Parameters and buffers by full name; tied ones once, under their first name.
        owner: For each node the path of the innermost module that was running.
        output_shapes: Output shape of each module that returned one tensor, batch axis included.
        inputs: What the model was called with.
        output: What it returned, with :data:`TENSOR` in the place of each tensor; dataclasses
            that torch does not know as containers are dictionaries.
        by_values: True where the values of the input decide what runs (boxes found in an image);
            then the graph holds for this input.
    """

    graph: fx.GraphModule
    tensors: Mapping[str, Tensor]
    owner: Mapping[fx.Node, str]
    output_shapes: Mapping[str, tuple[int, ...]]
    inputs: Inputs
    output: Any
    by_values: bool = False


TENSOR = object()
_DEPENDS_ON_VALUES = (
    GuardOnDataDependentSymNode,
    DataDependentOutputException,
    DynamicOutputShapeException,
)
_READS_A_VALUE: Final = "trying to get value out of a tracing tensor"


def capture(module: nn.Module, inputs: Inputs) -> Capture:
    """Run ``module`` once on fake tensors and record every operator.

    Raises:
        UnsupportedModelError: If the model does not run on the inputs or cannot be recorded, or
            has names that PyTorch would write into code unescaped.
    """
    _check_names(module)
    tensors = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    spans: list[tuple[str, int, int]] = []
    shapes: dict[str, tuple[int, ...]] = {}
    hooks = _watch_modules(module, spans, shapes)

    output: Any = None

    def forward(state: dict[str, Tensor], *tensors: Tensor) -> list[Tensor]:
        nonlocal output
        call = inputs.with_tensors(tensors)
        returned = opened(torch.func.functional_call(module, state, call.args, dict(call.kwargs)))
        output = pytree.tree_map(lambda x: TENSOR if isinstance(x, Tensor) else x, returned)
        return [leaf for leaf in pytree.tree_leaves(returned) if isinstance(leaf, Tensor)]

    def recorded(mode: Literal["fake", "real"]) -> fx.GraphModule:
        spans.clear()
        with restored(module), torch.no_grad(), decomposed_operators():
            record = make_fx(forward, tracing_mode=mode, _allow_non_fake_inputs=True)
            return record(tensors, *inputs.tensors)

    by_values = False
    try:
        try:
            graph = recorded("fake")
            by_values = _has_unknown_sizes(graph)
        except _DEPENDS_ON_VALUES:  # boxes found in an image: only real values have a shape
            by_values = True
        if by_values:
            graph = recorded("real")
    except Exception as error:
        if _READS_A_VALUE in str(error):
            raise UnsupportedModelError(
                "The model reads a value of its data in Python while it runs (an `if`, `.item()`, "
                "`float()`), so one recorded pass is not the model. Write this step "
                "with torch.where or masks, or open the weights alone (weights:FILE)."
            ) from error
        raise UnsupportedModelError(
            f"The model could not be run on an input of shape {inputs.shapes}: "
            f"{type(error).__name__}: {first_line(error)}"
        ) from error
    finally:
        for hook in hooks:
            hook.remove()
    owner = _innermost(graph, spans)
    return Capture(graph, tensors, owner, shapes, inputs, output, by_values)


def _check_names(module: nn.Module) -> None:
    """Refuse names that could leave the quotes in which ``torch.fx`` puts them into its code."""
    parts = dict(module.named_modules()), dict(module.named_parameters(remove_duplicate=False))
    for name in chain(*parts, dict(module.named_buffers(remove_duplicate=False))):
        if not name.isprintable() or set(name) & set("\"'\\"):
            raise UnsupportedModelError(
                f"A part of the model is called {name[:60]!r}; names with quotes, backslashes or "
                "control characters cannot be traced. Rename it."
            )


def _has_unknown_sizes(graph: fx.GraphModule) -> bool:
    """Return whether a size depends on values, so that fake tensors do not know it."""
    values = (pytree.tree_leaves(node.meta.get("val")) for node in graph.graph.nodes)
    return any(
        isinstance(size, torch.SymInt)
        for leaves in values
        for value in leaves
        for size in (value.shape if isinstance(value, Tensor) else [value])
    )


def _watch_modules(
    module: nn.Module, spans: list[tuple[str, int, int]], shapes: dict[str, tuple[int, ...]]
) -> list[Any]:
    """Note, for each call of each module, the range of graph nodes it recorded."""
    started: list[int] = []
    hooks = []
    for name, child in module.named_modules():

        def before(*_: Any) -> None:
            started.append(_n_nodes())

        def after(_module: nn.Module, _inputs: Any, output: Any, name: str = name) -> None:
            spans.append((name, started.pop(), _n_nodes()))
            if isinstance(output, Tensor):
                shapes[name] = tuple(output.shape)

        hooks.append(child.register_forward_pre_hook(before))
        hooks.append(child.register_forward_hook(after))
    return hooks


def _n_nodes() -> int:
    mode = get_proxy_mode()
    return 0 if mode is None else len(mode.tracer.graph.nodes)


def _innermost(graph: fx.GraphModule, spans: list[tuple[str, int, int]]) -> dict[fx.Node, str]:
    nodes = list(graph.graph.nodes)
    owner = dict.fromkeys(nodes, "")
    # Inner calls end before outer ones: walking backwards, inner spans overwrite outer ones.
    for name, start, end in reversed(spans):
        for node in nodes[start:end]:
            owner[node] = name
    return owner
