"""Where everything that stayed was in the dense network."""

import json
from pathlib import Path
from typing import Any

from pruning_core.exporting.document import plain
from pruning_core.exporting.exporter import exporter
from pruning_core.exporting.result import RunResult
from pruning_core.exporting.writing import write_text
from pruning_core.loading.weights_only import names_in_file


@exporter(
    "index_map",
    title="Index map (JSON)",
    file_name="index_map.json",
    media_type="application/json",
    description="For each tensor that became smaller and each of its axes the original indices "
    "that stayed, and for each layer or group which units stayed.",
    on_demand=True,
)
def write_index_map(result: RunResult, path: Path) -> RunResult:
    """Write the way back from kept to original indices; null where an axis is whole."""
    shapes = {name: list(tensor.shape) for name, tensor in result.network.analysis.tensors.items()}
    after = result.surgery.module.state_dict()
    names = names_in_file(result.network.module)
    tensors: dict[str, Any] = {
        names.get(name, name): {
            "shape_before": shapes.get(name),
            "shape_after": list(after[name].shape) if name in after else None,
            "kept": plain(axes),
        }
        for name, axes in result.surgery.kept.items()
    }
    units = {
        names.get(site, site): {"n": int(keep.size), "kept": keep.nonzero()[0].tolist()}
        for site, keep in result.plan.keep.items()
        if not keep.all()
    }
    document = {
        "version": 1,
        "model": result.model.identity,
        "mask_fingerprint": result.plan.fingerprint,
        "tensors": tensors,
        "units": units,
    }
    write_text(path, json.dumps(document, indent=1) + "\n")
    return result
