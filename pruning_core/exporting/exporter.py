"""The type of an exporter, their registry, and writing a whole run folder through it."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pruning_core.errors import ExportError
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
        optional: True when some networks have no such form; a run is complete without the file.
        last: True when the file reports on the other files, so that it must be written after them.
        wanted: Tells whether a run has such a file at all.
        on_demand: True when a run does not write the file by itself, but only when it is asked for.
    """

    key: str
    title: str
    file_name: str
    media_type: str
    description: str
    write: Callable[[RunResult, Path], RunResult]
    optional: bool = False
    last: bool = False
    wanted: Callable[[RunResult], bool] = lambda _: True
    on_demand: bool = False


EXPORTERS: Final[Registry[Exporter]] = Registry("export format")


Write = Callable[[RunResult, Path], RunResult]


def exporter(  # noqa: PLR0913 - a word for each field
    key: str,
    *,
    title: str,
    file_name: str,
    media_type: str,
    description: str,
    optional: bool = False,
    last: bool = False,
    wanted: Callable[[RunResult], bool] = lambda _: True,
    on_demand: bool = False,
) -> Callable[[Write], Write]:
    """Register the decorated ``write(result, path)`` as the exporter called ``key``."""

    def register(write: Write) -> Write:
        entry = Exporter(
            key,
            title,
            file_name,
            media_type,
            description,
            write,
            optional,
            last,
            wanted,
            on_demand,
        )
        EXPORTERS.add(key, entry)
        return write

    return register


def write_files(result: RunResult, folder: Path) -> RunResult:
    """Write every format (report.json among them) into ``folder``; return the completed result.

    Formats on demand are left out; a file of theirs that an older run left is taken away.

    A network that has no form in one of the optional formats still gets all the others: the reason
    is kept in ``problems``, and an older file of that name is taken away.

    Raises:
        ExportError: If a required file cannot be written; files written so far are whole.
    """
    for entry in sorted(EXPORTERS.values(), key=lambda entry: entry.last):
        path = folder / entry.file_name
        if entry.on_demand or not entry.wanted(result):
            path.unlink(missing_ok=True)
            continue
        try:
            result = entry.write(result, path)
        except ExportError as error:
            if not entry.optional:
                raise
            path.unlink(missing_ok=True)
            result = result.with_problem(entry.key, str(error))
    return result


import_plugins("pruning_core.exporting.formats")  # last, because the formats import this module
