"""The pruned weights in one safetensors file: tensors and text, no code."""

import json
from pathlib import Path

from pruning_core.exporting.exporter import exporter
from pruning_core.exporting.result import RunResult
from pruning_core.loading.weights import save_weights


@exporter(
    "safetensors",
    title="Pruned weights (safetensors)",
    file_name="model.safetensors",
    media_type="application/octet-stream",
    description="Every tensor under its original name, with the kept indices of each axis as text.",
)
def write_safetensors(result: RunResult, path: Path) -> RunResult:
    """Write the pruned module's state with its notes (see :func:`notes`)."""
    save_weights(result.surgery.module.state_dict(), path, notes(result))
    return result


def notes(result: RunResult) -> dict[str, str]:
    """Return the text stored beside the tensors.

    ``kept`` is JSON: tensor name -> for each axis the list of original indices that stayed, or
    null where the axis is whole. Tensors that kept all axes are left out.
    """
    kept = {
        name: [None if indices is None else [int(index) for index in indices] for indices in axes]
        for name, axes in result.surgery.kept.items()
        if any(indices is not None for indices in axes)
    }
    return {
        "format": "pt",
        "model": result.model.identity,
        "model_sha256": result.model.weights_sha256,
        "recipe_fingerprint": result.recipe.fingerprint,
        "mask_fingerprint": result.plan.fingerprint,
        "kept": json.dumps(kept, separators=(",", ":")),
    }
