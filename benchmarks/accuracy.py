"""Accuracy after pruning and fine-tuning on the full Fashion-MNIST, beside peers and controls.

Usage: python -m benchmarks.accuracy [--only lenet_5] [--seeds 0 1 2] [--epochs N] [--minutes N]
       python -m benchmarks.accuracy --full
       python -m benchmarks.accuracy --short

Every cell (network, point, method, seed) is a line of the file of results as soon as it is
measured, and is not measured again: stop it as you like and start it again. The most telling cells
come first. The test split has 10,000 images and nothing is chosen on it. Without ``--full`` it is
what the goals are about (``accuracy_cells.is_default``); a flag that names seeds, methods or points
asks for these instead of the default ones.
"""

import argparse
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Final

import torch
from torch import nn

from benchmarks.accuracy_cells import (
    ALL,
    PEERS,
    POINTS,
    SETTINGS,
    SHORT,
    UNPRUNED,
    Cell,
    Grid,
    is_default_method,
    methods,
    model_of,
    recipe_of,
)
from benchmarks.accuracy_peers import by_torch, by_torch_pruning, macs
from benchmarks.accuracy_rows import Row, append, read
from benchmarks.accuracy_table import report
from pruning_core.evaluation.evaluate import evaluate
from pruning_core.loading.architectures import ARCHITECTURES
from pruning_core.loading.dataset import Dataset, load_dataset
from pruning_core.loading.model import load_model
from pruning_core.planning.recipe import Recipe, Tuning
from pruning_core.runs.environment import describe_environment
from pruning_core.runs.events import Finished
from pruning_core.runs.pipeline import execute

METHODS: Final = tuple(dict.fromkeys(m for kind in PEERS for m in methods(kind)))
TITLES: Final = tuple(point.title for point in (UNPRUNED, *POINTS))
FOLDER: Final = Path("docs/benchmarks")


def measure(cell: Cell, tuning: Tuning, data: Dataset) -> Row:
    """Carry one cell out."""
    began = time.process_time()
    recipe = recipe_of(cell, tuning)
    found = _ours(recipe, data) if recipe else _peer(cell, tuning, data)
    return Row(
        cell=cell,
        recipe=fingerprint(cell, tuning),
        n=len(data.test),
        seconds=time.process_time() - began,
        **found,
    )


def fingerprint(cell: Cell, tuning: Tuning) -> str:
    """Return that of the recipe of a cell, the empty text for peers."""
    recipe = recipe_of(cell, tuning)
    return recipe.fingerprint if recipe else ""


def rows_of(cells: Iterable[Cell], rows: Iterable[Row]) -> list[Row]:
    """Return the row of each cell that was measured, as the cell's own.

    Our own methods go by their recipe: a row of a recipe that changed since is left out, and one
    recipe under the names of two methods is a row of both.
    """
    by_cell = {row.cell: row for row in rows if not row.recipe}
    by_recipe = {row.recipe: row for row in rows if row.recipe}
    found = []
    for cell in cells:
        recipe = fingerprint(cell, ALL[cell.network].tuning)
        row = by_recipe.get(recipe) if recipe else by_cell.get(cell)
        if row is not None:
            found.append(replace(row, cell=cell))
    return found


def _ours(recipe: Recipe, data: Dataset) -> dict[str, float]:
    """Carry a recipe out through the pipeline of the pages and the command line."""
    for event in execute(recipe, data=data):
        if isinstance(event, Finished):
            result = event.result
    before, after = result.preview.before, result.preview.after
    dense, pruned, tuned = result.dense, result.pruned, result.tuned
    if dense is None or pruned is None or tuned is None:
        raise RuntimeError("the pipeline measured nothing")
    return {
        "nonzero": after.nonzero / before.nonzero,
        "macs": after.macs / before.macs,
        "dense": dense.accuracy,
        "pruned": pruned.accuracy,
        "tuned": tuned.accuracy,
        "validation": result.epochs[-1].validation_accuracy,
    }


def _peer(cell: Cell, tuning: Tuning, data: Dataset) -> dict[str, float]:
    """Let the peer that the cell names choose what leaves."""
    dense = load_model(model_of(cell.network, cell.seed)).module
    words = cell.method.split()
    if words[0] == "torch":
        found = by_torch(dense, cell, tuning, data, iterative="iterative" in words)
    else:
        scope = "global" if "global" in words else "local"
        found = by_torch_pruning(dense, cell, tuning, data, criterion=words[1], scope=scope)
    return {
        "nonzero": _nonzero(found.module) / _nonzero(dense),
        "macs": macs(found.module, data) / macs(dense, data),
        "dense": evaluate(dense, data.test).accuracy,
        "pruned": found.pruned,
        "tuned": found.tuned,
        "validation": found.validation,
    }


def _nonzero(module: nn.Module) -> int:
    return sum(int(parameter.count_nonzero()) for parameter in module.parameters())


def run(
    cells: Iterable[Cell], path: Path, *, minutes: float | None = None, source: str = "full set"
) -> Iterator[Row]:
    """Measure the cells that the file does not hold yet, add each to it and yield it.

    Args:
        cells: In this order.
        path: JSON lines; only ever added to.
        minutes: After so many no further cell is begun.
        source: Which copy of the data is asked for.
    """
    began = time.monotonic()
    rows = read(path)
    for cell in cells:
        if rows_of([cell], rows):
            continue
        if minutes is not None and time.monotonic() - began > 60 * minutes:
            return
        data = load_dataset(ARCHITECTURES[cell.network].data)
        if cell.network not in SHORT and data.source != source:
            raise SystemExit("This benchmark needs the full Fashion-MNIST: benchmarks/README.md.")
        row = measure(cell, ALL[cell.network].tuning, data)
        append(path, row)
        rows.append(row)
        yield row


def _is_wanted(cell: Cell, arguments: argparse.Namespace) -> bool:
    """Tell whether the flags ask for a cell; what they do not name is as a run without flags."""
    setting, everything = ALL[cell.network], arguments.full or arguments.short
    seeds = (0, 1, 2) if everything else setting.default_seeds
    points = setting.points if everything else setting.default_points
    titles = [point.title for point in (UNPRUNED, *points)]
    return (
        cell.seed in (arguments.seeds or seeds)
        and cell.point.title in (arguments.points or titles)
        and (
            cell.method in arguments.methods
            if arguments.methods
            else everything or is_default_method(cell)
        )
    )


def main() -> None:
    """Measure what is missing and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=list(SETTINGS), help="these networks")
    parser.add_argument(
        "--methods", nargs="+", choices=METHODS, help="these, by their names in the table"
    )
    parser.add_argument("--points", nargs="+", choices=TITLES, help="likewise")
    parser.add_argument("--seeds", type=int, nargs="+", choices=[0, 1, 2])
    parser.add_argument("--epochs", type=int, help="of every method; else each network's own")
    parser.add_argument("--minutes", type=float, help="begin no cell after so many")
    parser.add_argument("--full", action="store_true", help="every cell: a day on one core")
    parser.add_argument("--short", action="store_true", help="two small networks on the digits")
    parser.add_argument("--write", type=Path, default=FOLDER, help="folder of file and table")
    parser.add_argument("--table", action="store_true", help="write the table, measure nothing")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    settings = SHORT if arguments.short else SETTINGS
    if arguments.only:
        settings = {name: SETTINGS[name] for name in arguments.only}
    seeds = (0,) if arguments.short else (0, 1, 2)
    cells = Grid(settings, seeds, arguments.epochs).cells()
    wanted = [cell for cell in cells if _is_wanted(cell, arguments)]
    name = "accuracy_short" if arguments.short else "accuracy"
    path = arguments.write / f"{name}.jsonl"
    for row in () if arguments.table else run(wanted, path, minutes=arguments.minutes):
        print(
            f"{row.cell.key}: {100 * row.pruned:.2f} -> {100 * row.tuned:.2f} % "
            f"(dense {100 * row.dense:.2f}), {row.seconds:.0f} s",
            file=sys.stderr,
            flush=True,
        )
    text = report(cells, rows_of(cells, read(path)), describe_environment())
    (arguments.write / f"{name}.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
