"""PyTorch's own exported program, with a free batch axis."""

from pathlib import Path
from typing import Any, Final

import torch
from torch import nn

from pruning_core.errors import ExportError, first_line
from pruning_core.exporting.calling import Positional, quiet, sample_batch
from pruning_core.exporting.checking import worst_difference
from pruning_core.exporting.exporter import exporter
from pruning_core.exporting.result import RunResult
from pruning_core.exporting.source import graph_at_any_batch
from pruning_core.exporting.writing import whole_file
from pruning_core.modes import copied

_EXPORT_BATCH: Final = 2
_CHECKED: Final = 7


@exporter(
    "pt2",
    title="PyTorch program (.pt2)",
    file_name="model.pt2",
    media_type="application/octet-stream",
    description="The pruned network as torch.export.save wrote it: PyTorch runs it without any "
    "class, at any batch size. Open such files only from people you trust.",
    optional=True,
    on_demand=True,
)
def write_pt2(result: RunResult, path: Path) -> RunResult:
    """Write the program, checked against the module before.

    Raises:
        ExportError: If PyTorch cannot export the network, or the program computes something else.
    """
    call = result.model.inputs
    module = result.surgery.module
    taken = module if call.is_flat else Positional(module, call)
    free = tuple({0: torch.export.Dim("batch")} if each else None for each in call.carry_batch)
    with quiet(), torch.no_grad():
        try:
            program = _program(result, taken, (free,) if taken is not module else free)
        except Exception as error:  # whatever the tracer of PyTorch raises
            graph = graph_at_any_batch(result)
            if graph is None:
                raise _refusal(error) from error
            try:  # the class may fix the batch, e.g. by len(tensor); the graph returns a list
                program = _program(result, graph, free)
            except Exception:
                raise _refusal(error) from error
        try:
            samples = sample_batch(result, _CHECKED)
            worst, allowed = worst_difference(taken, program.module(), samples)
        except Exception as error:
            raise _refusal(error) from error
    if not worst <= allowed:
        raise ExportError(f"The exported program differs from the network by {worst:.3g}.")
    with whole_file(path) as part:
        named = part.with_name(f"{part.name}.pt2")  # torch asks for this ending
        try:
            with quiet():
                torch.export.save(program, named)
            named.replace(part)
        finally:
            named.unlink(missing_ok=True)
    return result


def _program(result: RunResult, module: nn.Module, free: tuple[Any, ...]) -> Any:
    inputs = sample_batch(result, _EXPORT_BATCH)
    return torch.export.export(copied(module), inputs, dynamic_shapes=free)


def _refusal(error: Exception) -> ExportError:
    return ExportError(
        f"PyTorch cannot export this network as a program: {first_line(error).rstrip('.')[:80]}. "
        "The safetensors file is not affected."
    )
