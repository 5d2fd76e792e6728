"""Comma-separated values that no spreadsheet takes for formulas."""

import csv
import io
from collections.abc import Iterable, Sequence
from typing import Any


def csv_text(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Return a table as text; names that look like formulas get an apostrophe, None is empty."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([cell(value) for value in header])
    for row in rows:
        writer.writerow(["" if value is None else cell(value) for value in row])
    return text.getvalue()


def cell(value: Any) -> Any:
    """Return a value as it may stand in a cell."""
    formula = isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r"))
    return f"'{value}" if formula else value
