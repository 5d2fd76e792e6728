"""PyTorch's own exported program, with a free batch axis."""

from pathlib import Path
from typing import Final

import torch

from pruning_core.errors import ExportError, first_line
from pruning_core.exporting.calling import Positional, quiet, sample_batch
from pruning_core.exporting.checking import worst_difference
from pruning_core.exporting.exporter import exporter
from pruning_core.exporting.result import RunResult
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
    axis = torch.export.Dim("batch")
    free = tuple({0: axis} if carries else None for carries in call.carry_batch)
    with quiet(), torch.no_grad():
        try:
            program = torch.export.export(
                copied(taken),
                sample_batch(result, _EXPORT_BATCH),
                dynamic_shapes=(free,) if taken is not module else free,
            )
            other = program.module()
            worst, allowed = worst_difference(taken, other, sample_batch(result, _CHECKED))
        except Exception as error:  # whatever the tracer of PyTorch raises
            raise ExportError(
                f"PyTorch cannot export this network as a program: {first_line(error).rstrip('.')}."
                " The safetensors file is not affected."
            ) from error
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
