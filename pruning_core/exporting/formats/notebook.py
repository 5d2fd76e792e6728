"""A notebook that repeats the run."""

import json
from pathlib import Path
from typing import Any

from pruning_core.exporting.exporter import exporter
from pruning_core.exporting.reproducing import CHECK, RUN, SETUP, TITLE, WRITE, about, constants
from pruning_core.exporting.result import RunResult
from pruning_core.exporting.writing import write_text


@exporter(
    "notebook",
    title="Notebook that repeats the run",
    file_name="reproduce.ipynb",
    media_type="application/x-ipynb+json",
    description="The same steps as the script, cell by cell, for Jupyter.",
    on_demand=True,
)
def write_notebook(result: RunResult, path: Path) -> RunResult:
    """Write the notebook (format 4.5), without outputs."""
    cells = [
        _text(f"# {TITLE}\n\n{about(result)}"),
        _code(SETUP),
        _code(constants(result, "reproduced")),
        _text("Prune, fine-tune, measure."),
        _code(RUN),
        _text("The masks must be those of the run; then everything is written to a folder."),
        _code(CHECK),
        _code(WRITE),
    ]
    document = {
        "cells": [cell | {"id": f"cell-{place}"} for place, cell in enumerate(cells)],
        "metadata": {
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": "python"},
        },
        "nbformat": 4,
        "nbformat_minor": 5,
    }
    write_text(path, json.dumps(document, indent=1) + "\n")
    return result


def _text(source: str) -> dict[str, Any]:
    return {"cell_type": "markdown", "metadata": {}, "source": source.splitlines(keepends=True)}


def _code(source: str) -> dict[str, Any]:
    return {
        "cell_type": "code",
        "execution_count": None,
        "metadata": {},
        "outputs": [],
        "source": source.splitlines(keepends=True),
    }
