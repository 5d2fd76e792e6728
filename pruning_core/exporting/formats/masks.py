"""The masks as a file of their own, in the shapes of the dense network."""

from pathlib import Path

import torch

from pruning_core.exporting.exporter import exporter
from pruning_core.exporting.result import RunResult
from pruning_core.loading.weights import save_weights
from pruning_core.loading.weights_only import names_in_file
from pruning_core.surgery.mask import dense_masks


@exporter(
    "masks",
    title="Masks (safetensors)",
    file_name="masks.safetensors",
    media_type="application/octet-stream",
    description="A true-or-false tensor for each parameter of the dense network, under its name "
    "and in its shape: false where a weight was set to zero or its unit left.",
    on_demand=True,
)
def write_masks(result: RunResult, path: Path) -> RunResult:
    """Write one bool tensor a parameter; True stays."""
    names = names_in_file(result.network.module)
    masks = {
        names.get(name, name): torch.from_numpy(stays)
        for name, stays in dense_masks(result.network, result.plan)
    }
    save_weights(masks, path)
    return result
