"""The type of an exporter, their registry, and writing a whole run folder through it."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pruning_core.exporting.result import RunResult
from pruning_core.registry import Registry, import_plugins


@dataclass(frozen=True, slots=True)
class Exporter:
    """One file format.

    Attributes:
        key: Name in recipes of other programs and on the command line.
        title: Name on screen.
        file_name: Fixed name of the file in a run folder.
        media_type: For the download button.
        description: One sentence for the screen.
        write: Writes the file atomically and returns the result, with what the writing measured
            (the ONNX check) added; raises ExportError.
        last: True when the file reports on the other files, so that it must be written after them.
    """

    key: str
    title: str
    file_name: str
    media_type: str
    description: str
    write: Callable[[RunResult, Path], RunResult]
    last: bool = False


EXPORTERS: Final[Registry[Exporter]] = Registry("export format")


def exporter(
    key: str, *, title: str, file_name: str, media_type: str, description: str, last: bool = False
) -> Callable[[Callable[[RunResult, Path], RunResult]], Callable[[RunResult, Path], RunResult]]:
    """Register the decorated ``write(result, path)`` as the exporter called ``key``."""

    def register(
        write: Callable[[RunResult, Path], RunResult],
    ) -> Callable[[RunResult, Path], RunResult]:
        EXPORTERS.add(key, Exporter(key, title, file_name, media_type, description, write, last))
        return write

    return register


def write_files(result: RunResult, folder: Path) -> RunResult:
    """Write every format (report.json among them) into ``folder``; return the completed result.

    Raises:
        ExportError: If a file cannot be written or fails its check; files written so far are whole.
    """
    for entry in sorted(EXPORTERS.values(), key=lambda entry: entry.last):
        result = entry.write(result, folder / entry.file_name)
    return result


import_plugins("pruning_core.exporting.formats")  # last, because the formats import this module
