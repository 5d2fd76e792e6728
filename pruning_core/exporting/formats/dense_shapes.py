"""The pruned weights in the dense network's shapes, for its own class."""

from pathlib import Path

from pruning_core.exporting.exporter import exporter
from pruning_core.exporting.result import RunResult
from pruning_core.loading.weights import save_weights
from pruning_core.loading.weights_only import state_in_file
from pruning_core.surgery.restore import restore


@exporter(
    "dense_shapes",
    title="Weights in dense shapes",
    file_name="model.dense.safetensors",
    media_type="application/octet-stream",
    description="What stayed, put back where it was, with zeros elsewhere: the dense network's own "
    "class loads it. As large as the dense file.",
    on_demand=True,
)
def write_dense_shapes(result: RunResult, path: Path) -> RunResult:
    """Write the state of the dense class with the pruned weights."""
    save_weights(state_in_file(restore(result.model.module, result.surgery)), path)
    return result
