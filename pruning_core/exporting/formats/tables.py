"""Every table of the run as comma-separated values."""

import io
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pruning_core.exporting.document import METRICS, STAGES, Document, run_document
from pruning_core.exporting.exporter import exporter
from pruning_core.exporting.metric_table import task_of
from pruning_core.exporting.result import RunResult
from pruning_core.exporting.spreadsheet import csv_text
from pruning_core.exporting.writing import whole_file

_TOTALS = ("params", "nonzero", "macs", "bytes")


@exporter(
    "tables",
    title="Tables (CSV)",
    file_name="tables.zip",
    media_type="application/zip",
    description="Totals, layers, metrics with intervals, classes, confusion matrices and epochs, "
    "one CSV file each.",
    on_demand=True,
)
def write_tables(result: RunResult, path: Path) -> RunResult:
    """Write an archive of one file a table; empty tables are left out."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in tables_of(run_document(result)):
            archive.writestr(f"{name}.csv", text)
    with whole_file(path) as part:
        part.write_bytes(content.getvalue())
    return result


def tables_of(document: Document) -> Iterator[tuple[str, str]]:
    """Yield the name of each table and its text."""
    totals = [(key, document[key]["before"], document[key]["after"]) for key in _TOTALS]
    yield "totals", csv_text(("quantity", "before", "after"), totals)
    sides = [f"{key}_{when}" for when in ("before", "after") for key in _TOTALS]
    layers = [
        (
            layer["name"],
            layer["kind"],
            *(layer[when][key] for when in ("before", "after") for key in _TOTALS),
        )
        for layer in document["layers"]
    ]
    yield "layers", csv_text(("layer", "kind", *sides), layers)
    yield from _measured(document)
    if document["epochs"]:
        header = tuple(document["epochs"][0])
        rows = [[epoch[name] for name in header] for epoch in document["epochs"]]
        yield "epochs", csv_text(header, rows)


def _measured(document: Document) -> Iterator[tuple[str, str]]:
    """Yield what was measured on the test split at each moment."""
    stages = [stage for stage in STAGES if document["details"].get(stage)]
    metrics: list[tuple[Any, ...]] = []
    for stage in stages:
        intervals = document["details"][stage].get("intervals") or {}
        values = {metric: document[metric][stage] for metric in METRICS}
        values = document["details"][stage].get("values", {}) | values
        for metric, value in values.items():
            low, high = intervals.get(metric) or (None, None)
            if value is not None or task_of(document).counts_classes:
                metrics.append((stage, metric, value, low, high))
    if metrics:
        header = ("moment", "metric", "value", "low_95", "high_95")
        yield "metrics", csv_text(header, metrics)
    names = (document["data"] or {}).get("classes") or []
    for stage in stages:
        details = document["details"][stage]
        if not details["per_class"]:
            continue
        classes = [_class(names, item["label"]) for item in details["per_class"]]
        header = ("class", "n", "precision", "recall", "f1")
        rows = [
            (name, *(item[key] for key in header[1:]))
            for name, item in zip(classes, details["per_class"], strict=True)
        ]
        yield f"classes_{stage}", csv_text(header, rows)
        confusion = [(name, *row) for name, row in zip(classes, details["confusion"], strict=True)]
        yield f"confusion_{stage}", csv_text(("true class", *classes), confusion)


def _class(names: list[str], label: int) -> str:
    return names[label] if label < len(names) else str(label)
