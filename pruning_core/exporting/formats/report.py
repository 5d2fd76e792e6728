"""The report for people: one HTML file that opens offline and prints."""

from pathlib import Path

from pruning_core.exporting.document import run_document
from pruning_core.exporting.exporter import exporter
from pruning_core.exporting.report.page import render
from pruning_core.exporting.result import RunResult
from pruning_core.exporting.writing import write_text


@exporter(
    "report",
    title="Report (HTML)",
    file_name="report.html",
    media_type="text/html",
    description="What was done, saved and lost, in one page that opens offline and prints.",
    last=True,
)
def write_report(result: RunResult, path: Path) -> RunResult:
    """Write the report of the run."""
    write_text(path, render(run_document(result), result.recipe))
    return result
