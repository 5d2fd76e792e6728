"""One file of one run, from the result in memory or from a run folder."""

from pathlib import Path

from pruning_core.errors import ExportError
from pruning_core.exporting.exporter import EXPORTERS
from pruning_core.exporting.reopen import open_run
from pruning_core.exporting.result import RunResult


def export(run: RunResult | Path | str, format: str, path: Path | str | None = None) -> Path:  # noqa: A002
    """Write one file of ``run`` and return where it is; the file appears whole or not at all.

    Args:
        run: A finished run, or the folder that ``write_run`` or the command line wrote.
        format: Key in ``EXPORTERS``: safetensors, onnx, recipe, report or numbers.
        path: The file to write; None means its usual name in the run folder.

    Raises:
        UnknownNameError: If there is no such format.
        ExportError: If the run folder is damaged, the network has no such form, or the file cannot
            be written.
    """
    entry = EXPORTERS[format]
    if isinstance(run, RunResult):
        if path is None:
            raise ExportError("A run in memory has no folder: say where to write the file.")
        result, target = run, Path(path)
    else:
        result = open_run(Path(run))
        target = Path(run) / entry.file_name if path is None else Path(path)
    if target.is_dir():
        target = target / entry.file_name
    entry.write(result, target)
    return target
