"""The pruned weights without their zeros."""

from pathlib import Path

import safetensors.torch
import torch

from pruning_core.errors import ExportError
from pruning_core.exporting.exporter import exporter
from pruning_core.exporting.result import RunResult
from pruning_core.exporting.sparse import packed, read_sparse
from pruning_core.exporting.writing import whole_file
from pruning_core.loading.weights_only import state_in_file


@exporter(
    "sparse",
    title="Weights without zeros",
    file_name="model.sparse.safetensors",
    media_type="application/octet-stream",
    description="One bit for each number and then those that are not zero, as numpy.unpackbits "
    "reads it: smaller on disk where weights were masked, and the same weights when read back.",
    optional=True,
    on_demand=True,
)
def write_sparse(result: RunResult, path: Path) -> RunResult:
    """Write the packed file, once it was read back to the same weights.

    Raises:
        ExportError: If no tensor has enough zeros to become smaller.
    """
    state = state_in_file(result.surgery.module)
    tensors, metadata = packed(state)
    if metadata["shapes"] == "{}":
        raise ExportError(
            "These weights hold too few zeros to become smaller without them: units that left take "
            "no room in model.safetensors already. Take that file."
        )
    with whole_file(path) as part:
        safetensors.torch.save_file(tensors, part, metadata)
        again = read_sparse(part)
        if again.keys() != state.keys() or not all(
            torch.equal(again[name], state[name].detach().cpu()) for name in state
        ):
            raise ExportError("The packed weights do not read back to the same ones; not written.")
    return result
