"""The int8 ONNX file that the run made and measured."""

from pathlib import Path

from pruning_core.errors import ExportError
from pruning_core.exporting.exporter import exporter
from pruning_core.exporting.result import RunResult
from pruning_core.exporting.writing import whole_file


@exporter(
    "int8",
    title="ONNX in int8",
    file_name="model.int8.onnx",
    media_type="application/octet-stream",
    description="The quantised network for onnxruntime; accepts any batch size.",
    optional=True,
    wanted=lambda result: result.quantised is not None,
)
def write_int8(result: RunResult, path: Path) -> RunResult:
    """Write the file as it was measured.

    Raises:
        ExportError: If the run made none.
    """
    if result.quantised is None or result.quantised.content is None:
        raise ExportError(
            "This run has no int8 file. Set 'quantisation' in its recipe, or make one with "
            "python -m pruning_core quantise RUN_DIR."
        )
    with whole_file(path) as part:
        part.write_bytes(result.quantised.content)
    return result
