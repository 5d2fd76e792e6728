"""The numbers of a run as JSON, for programs."""

import json
from pathlib import Path

from pruning_core.exporting.document import run_document
from pruning_core.exporting.exporter import exporter
from pruning_core.exporting.result import RunResult
from pruning_core.exporting.writing import write_text


@exporter(
    "numbers",
    title="Numbers (JSON)",
    file_name="report.json",
    media_type="application/json",
    description="Sizes, metrics, epochs, seconds and environment of the run, for other programs.",
    last=True,
)
def write_numbers(result: RunResult, path: Path) -> RunResult:
    """Write the document of :func:`pruning_core.exporting.document.run_document`."""
    write_text(path, json.dumps(run_document(result), indent=1, allow_nan=False) + "\n")
    return result
