"""The pruned weights in one safetensors file: tensors only, exactly as large as was predicted."""

from pathlib import Path

from pruning_core.exporting.exporter import exporter
from pruning_core.exporting.result import RunResult
from pruning_core.loading.weights import save_weights
from pruning_core.loading.weights_only import state_in_file


@exporter(
    "safetensors",
    title="Pruned weights (safetensors)",
    file_name="model.safetensors",
    media_type="application/octet-stream",
    description="Every tensor under its original name, nothing else: the bytes are those counted "
    "in the preview. Which indices were kept stands in report.json.",
)
def write_safetensors(result: RunResult, path: Path) -> RunResult:
    """Write the pruned module's state without notes."""
    save_weights(state_in_file(result.surgery.module), path)
    return result
