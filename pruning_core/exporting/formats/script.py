"""A Python script that repeats the run."""

from pathlib import Path

from pruning_core.exporting.exporter import exporter
from pruning_core.exporting.reproducing import CHECK, RUN, SETUP, TITLE, WRITE, about, constants
from pruning_core.exporting.result import RunResult
from pruning_core.exporting.writing import write_text


@exporter(
    "script",
    title="Script that repeats the run",
    file_name="reproduce.py",
    media_type="text/x-python",
    description="Recipe, seed and the fingerprint of the masks in one Python file: it prunes and "
    "fine-tunes again, and stops if the masks differ.",
    on_demand=True,
)
def write_script(result: RunResult, path: Path) -> RunResult:
    """Write the script; it takes no arguments."""
    parts = (
        f'"""{TITLE}.\n\n{_said(result)}\n"""',
        SETUP,
        constants(result, "reproduced"),
        RUN,
        CHECK,
        WRITE,
    )
    write_text(path, "\n\n".join(parts) + "\n")
    return result


def _said(result: RunResult) -> str:
    return about(result).replace("\\", " ").replace('"', " ")
