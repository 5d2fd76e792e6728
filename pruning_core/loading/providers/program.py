"""Programs of ``torch.export`` (``.pt2``): a network as a graph, without its class.

Opening one can run any code that somebody put into the file, so only the command line, Python and
whoever starts the server may name one; a page never opens such a file.
"""

import copy
import warnings
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor, fx, nn
from torch.fx.graph import _PyTreeCodeGen

from pruning_core.errors import DataError, UnsupportedModelError, first_line
from pruning_core.inputs import Inputs, output_tensors
from pruning_core.loading.provider import LoadedModel, Provider, example_input, loaded
from pruning_core.loading.providers import PROVIDERS

USAGE: Final = "program:FILE.pt2"
_SAMPLES: Final = 3
_TOLERANCE: Final = 1e-4
_aten: Final = torch.ops.aten
_VIEWS: Final = {_aten.view.default, _aten.reshape.default, _aten._unsafe_view.default}
_SPREADS: Final = {_aten.expand.default}
_ZEROS: Final = {_aten.zeros.default}
_RECURRENT: Final = ("lstm", "gru", "rnn")
_CHECKS: Final = ("_assert", "sym_constrain_range", "_guards_fn")


def load(name: str, input_shape: tuple[int, ...] | None) -> LoadedModel:
    """Return the program in the file ``name`` as a module that takes any number of samples.

    A program that was exported for a fixed batch is rewritten for any; what it then computes is
    compared with the program itself, and a program that cannot be rewritten is refused.

    Raises:
        DataError: If there is no such file.
        UnsupportedModelError: If it is no program, or takes one number of samples only.
    """
    path = Path(name)
    if not path.is_file():
        raise DataError(f"There is no file '{name[:100]}'. Give the path of a .pt2 file.")
    program = _opened(path)
    inputs = _inputs(program, path.name, input_shape)
    module = _module(program, is_plain=inputs.is_flat)
    note = "A program of torch.export: batch norm and dropout do what they did when it was made."
    if not _has_free_batch(module):
        free = _with_free_batch(module, inputs.batch_size)
        if free is None or not _takes_any_batch(free, module, inputs):
            raise UnsupportedModelError(
                f"'{path.name[:60]}' was exported for a batch of exactly {inputs.batch_size}. "
                "Export it for any: torch.export.export(model, (x,), dynamic_shapes=({0: "
                "torch.export.Dim('batch')},)), with two or more samples in x."
            )
        module = free
        note += f" It was made for a batch of {inputs.batch_size} and rewritten for any, checked."
    module = _called_as_before(module, _kinds(module.graph))
    return loaded(f"program:{name}", module, inputs.sample(), note=note)


def _opened(path: Path) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.export.load(path)
    except Exception as error:  # whatever PyTorch raises at a file that is none
        raise UnsupportedModelError(
            f"'{path.name[:60]}' cannot be opened as a program of torch.export: "
            f"{first_line(error)[:120].rstrip('.')}. Save it with torch.export.save, by PyTorch "
            f"{torch.__version__.partition('+')[0]} or older."
        ) from error


def _inputs(program: Any, name: str, input_shape: tuple[int, ...] | None) -> Inputs:
    """Return the example inputs of the program; without any, one of the given shape."""
    if program.example_inputs is not None and input_shape is None:
        args, kwargs = program.example_inputs
        given = Inputs(tuple(args), dict(kwargs))
        if given.batch_size:
            return given.with_tensors(tensor.detach().cpu() for tensor in given.tensors)
    if input_shape is None:
        raise UnsupportedModelError(
            f"The program in '{name[:60]}' does not say what its inputs look like. Give an input "
            "shape (one sample, without the batch axis)."
        )
    return Inputs.of(example_input(input_shape))


def _module(program: Any, *, is_plain: bool) -> fx.GraphModule:
    """Return the program as a plain module, without checks of its inputs' sizes.

    Where tensors go in by position (``is_plain``) and
    one comes out, it is called so; otherwise arguments and results are nested as in the program.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        exported = program.module(check_guards=False)
    graph = exported.graph
    for node in reversed(list(graph.nodes)):
        word = node.target if isinstance(node.target, str) else getattr(node.target, "__name__", "")
        if word.startswith(_CHECKS) and not node.users:
            graph.erase_node(node)
    graph.eliminate_dead_code()
    output = next(node for node in graph.nodes if node.op == "output")
    leaf = output.args[0][0] if isinstance(output.args[0], list | tuple) else output.args[0]
    if is_plain and isinstance(graph._codegen, _PyTreeCodeGen):
        spec = graph._codegen.pytree_info.out_spec
        if spec is None or spec.is_leaf():
            graph.set_codegen(fx.graph.CodeGen())
            output.args = (leaf,)
    return fx.GraphModule(exported, graph, class_name="Program").cpu()


def _called_as_before(module: fx.GraphModule, kinds: Mapping[str, str]) -> fx.GraphModule:
    """Let each part of a module be of a class that is called as its class was."""
    for name, kind in kinds.items():
        part = module.get_submodule(name)
        if type(part) is nn.Module:
            part.__class__ = _class_called(kind)
    return module


def _kinds(graph: fx.Graph) -> dict[str, str]:
    """Return the names of the classes that the parts of the module had before the export."""
    found = {}
    for node in graph.nodes:
        if node.op != "get_attr":
            continue
        owner = str(node.target).rpartition(".")[0]
        for user in node.users:
            for path, kind in user.meta.get("nn_module_stack", {}).values():
                if owner and path == owner:
                    word = kind if isinstance(kind, str) else kind.__name__
                    found[owner] = word.rpartition(".")[2]
    return found


@lru_cache(maxsize=256)
def _class_called(name: str) -> type[nn.Module]:
    """Return an empty module class of that name; it says only what a layer was."""
    return type(name, (nn.Module,), {"__doc__": f"Holds the weights of what was a {name}."})


def _has_free_batch(module: fx.GraphModule) -> bool:
    """Tell whether the program was exported for any number of samples."""
    values = [node.meta.get("val") for node in module.graph.nodes if node.op == "placeholder"]
    return any(
        isinstance(value, Tensor) and value.ndim and isinstance(value.shape[0], torch.SymInt)
        for value in values
    )


def _with_free_batch(module: fx.GraphModule, batch: int) -> fx.GraphModule | None:
    """Return the same graph with the first sizes of views and expansions following the batch.

    That is a guess; whoever calls this compares the results. None where running it could harm: a
    recurrent operator does not check that its state has as many samples as its input.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        graph = copy.deepcopy(module.graph)
    free = fx.GraphModule(module, graph, class_name="Program")
    first = next(node for node in free.graph.nodes if node.op == "placeholder")
    with free.graph.inserting_after(_last_input(free.graph)):
        samples = free.graph.call_function(_aten.sym_size.int, (first, 0))
    for node in list(free.graph.nodes):
        if _is_recurrent(node) and not _free_states(node, samples):
            return None
        _free_sizes(node, samples, batch)
    free.recompile()
    return free


def _free_states(node: fx.Node, samples: fx.Node) -> bool:
    """Let the states a recurrent operator begins with follow the batch; False if they cannot."""
    states = [state for state in node.all_input_nodes[1:] if state.op != "get_attr"]  # no weights
    for state in states:
        if state.target not in _ZEROS or len(sizes := _sizes(state.args[0])) != 3:
            return False
        state.update_arg(0, [sizes[0], samples, sizes[2]])
    return True


def _free_sizes(node: fx.Node, samples: fx.Node, batch: int) -> None:
    """Let the first size that an operator is given follow the batch."""
    if node.op != "call_function" or not node.args:
        return
    place = 1 if node.target in _VIEWS | _SPREADS else 0
    sizes = _sizes(node.args[place])
    if node.target in _VIEWS and sizes and -1 not in sizes:
        node.update_arg(1, [-1, *sizes[1:]])
    elif sizes and sizes[0] == batch and (batch > 1 or place == 1):
        node.update_arg(place, [samples, *sizes[1:]])


def _sizes(argument: Any) -> list[Any]:
    """Return a list of sizes; empty for every other argument."""
    is_sizes = isinstance(argument, list | tuple) and all(
        isinstance(size, int | fx.Node) for size in argument
    )
    return list(argument) if is_sizes else []


def _is_recurrent(node: fx.Node) -> bool:
    word = str(node.target)
    return node.op == "call_function" and any(kind in word for kind in _RECURRENT)


def _last_input(graph: fx.Graph) -> fx.Node:
    inputs: list[fx.Node] = [node for node in graph.nodes if node.op == "placeholder"]
    return inputs[-1]


def _takes_any_batch(module: nn.Module, reference: nn.Module, inputs: Inputs) -> bool:
    """Tell whether ``module`` gives for other numbers of samples what ``reference`` gives."""
    size = inputs.batch_size
    calls = [_varied(inputs, seed) for seed in range(_SAMPLES)]
    try:
        with torch.no_grad():
            expected = [_run(reference, call) for call in calls]
            together = _run(module, _joined(calls, inputs))
            first = _run(module, _joined([calls[0]], inputs, most=1))
    except Exception:  # whatever the graph raises at another batch; it is refused then
        return False
    for place, parts in enumerate(zip(*expected, strict=True)):
        carries = parts[0].ndim > 0 and parts[0].shape[0] == size
        wanted = torch.cat(parts) if carries else parts[0]
        alone = parts[0][:1] if carries else parts[0]
        if not (_alike(together[place], wanted) and _alike(first[place], alone)):
            return False
    return True


def _run(module: nn.Module, call: Inputs) -> list[Tensor]:
    return output_tensors(module(*call.args, **dict(call.kwargs)))


def _varied(inputs: Inputs, seed: int) -> Inputs:
    """Return the call with other values: moved a little where they are no whole numbers."""
    generator = torch.Generator().manual_seed(seed)

    def moved(tensor: Tensor) -> Tensor:
        if not tensor.dtype.is_floating_point:
            return tensor.flip(0) if seed % 2 else tensor
        return tensor + 0.5 * torch.randn(tensor.shape, generator=generator).to(tensor.dtype)

    return inputs.with_tensors(map(moved, inputs.tensors))


def _joined(calls: list[Inputs], inputs: Inputs, most: int | None = None) -> Inputs:
    """Return one call with the samples of all; what carries no batch is the first's."""
    tensors = zip(*(call.tensors for call in calls), strict=True)
    return inputs.with_tensors(
        torch.cat(parts)[:most] if carries else parts[0]
        for parts, carries in zip(tensors, inputs.carry_batch, strict=True)
    )


def _alike(found: Tensor, wanted: Tensor) -> bool:
    if found.shape != wanted.shape or found.dtype != wanted.dtype:
        return False
    if not found.dtype.is_floating_point:
        return bool(torch.equal(found, wanted))
    return bool(torch.allclose(found, wanted, rtol=_TOLERANCE, atol=_TOLERANCE, equal_nan=True))


PROVIDERS.add(
    "program",
    Provider(
        key="program",
        title="A program of torch.export",
        usage=USAGE,
        runs_code=True,
        load=load,
    ),
)
