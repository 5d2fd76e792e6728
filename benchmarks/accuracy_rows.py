"""The file of results of the accuracy benchmark: one line for each cell that was measured."""

import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.accuracy_cells import Cell, Point


@dataclass(frozen=True, slots=True)
class Row:
    """What one cell came to; shares are of the dense network, accuracies of the test split.

    Attributes:
        cell: What was measured.
        recipe: Fingerprint of the recipe of our own methods; empty for peers. Cells whose recipe
            changed since are measured again.
        nonzero: Share of the parameters that are not zero.
        macs: Share of the MACs; zeroed weights count.
        dense: Accuracy of the dense network.
        pruned: Right after the last pruning.
        tuned: After the last epoch.
        validation: After the last epoch, on the validation split.
        n: Test images.
        seconds: Processor seconds of the cell.
    """

    cell: Cell
    recipe: str
    nonzero: float
    macs: float
    dense: float
    pruned: float
    tuned: float
    validation: float
    n: int
    seconds: float

    def to_json(self) -> str:
        """Return one line."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, line: str) -> "Row":
        """Read what :meth:`to_json` wrote."""
        values = json.loads(line)
        cell = values.pop("cell")
        return cls(cell=Cell(**{**cell, "point": Point(**cell["point"])}), **values)


def read(path: Path) -> list[Row]:
    """Return the rows of a file of results; a line that was cut off is left out."""
    rows = []
    for line in path.read_text().splitlines() if path.is_file() else []:
        try:
            rows.append(Row.from_json(line))
        except (ValueError, TypeError, KeyError, AttributeError):
            print(f"{path}: a line is not whole; its cell is measured again", file=sys.stderr)
    return rows


def append(path: Path, row: Row) -> None:
    """Add a line; what a stop left of the last one stays a line of its own."""
    path.parent.mkdir(parents=True, exist_ok=True)
    broken = path.is_file() and path.stat().st_size and not path.read_bytes().endswith(b"\n")
    with path.open("a") as file:
        file.write(("\n" if broken else "") + row.to_json() + "\n")
