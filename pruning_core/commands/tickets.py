"""``tickets RECIPE --out DIR``: the lottery-ticket bench, four runs and one figure."""

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from pruning_core.commands.answer import ANSWER_VERSION, Answer
from pruning_core.commands.options import (
    add_data_folder,
    add_recipe_arguments,
    check_data_folder,
    recipe_of,
)
from pruning_core.commands.run import add_device, carried_out, chosen_data, output_folder, tell
from pruning_core.exporting.wording import count, table
from pruning_core.tasks import CLASSES

if TYPE_CHECKING:
    from pruning_core.exporting.result import RunResult
    from pruning_core.tasks import Metric

NAME = "tickets"
HELP = "lottery-ticket bench: trained weights, rewound, re-initialised, and a random mask"
FIGURE = "tickets.html"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add RECIPE, its options and the output folder."""
    add_recipe_arguments(parser)
    add_data_folder(parser)
    parser.add_argument(
        "--out",
        type=Path,
        required=True,
        metavar="DIR",
        help=f"folder for the four runs, each in its own folder, and {FIGURE}; made if needed",
    )
    add_device(parser)
    parser.add_argument(
        "--overwrite", action="store_true", help="write into DIR even if it holds other runs"
    )


def answer(arguments: argparse.Namespace) -> Answer:
    """Carry out the four runs, one after the other, and draw their curves in one figure."""
    recipe = recipe_of(arguments)
    check_data_folder(arguments)

    from pruning_core.loading.model import load_model
    from pruning_core.runs.pipeline import write_run
    from pruning_core.runs.tickets import ticket_recipes

    recipes = ticket_recipes(recipe, load_model(recipe.model, input_shape=recipe.input_shape))
    results: dict[str, RunResult] = {}
    for label, wanted in recipes.items():
        tell(f"{label}:")
        folder = arguments.out / label.replace(" ", "_")
        with output_folder(folder, wanted, overwrite=arguments.overwrite):
            data = chosen_data(wanted, arguments)
            results[label] = write_run(carried_out(wanted, data, arguments.device), folder)
    _draw(results, arguments.out / FIGURE)
    document = {
        "version": ANSWER_VERSION,
        "figure": str(arguments.out / FIGURE),
        "runs": {label: _numbers(result) for label, result in results.items()},
    }
    return Answer(document, f"{_table(results)}\n\nThe curves are in {arguments.out / FIGURE}")


def _numbers(result: "RunResult") -> dict[str, object]:
    return {
        "recipe_fingerprint": result.recipe.fingerprint,
        "mask_fingerprint": result.plan.fingerprint,
        "dense": result.dense and result.dense.headline,
        "tuned": result.tuned and result.tuned.headline,
        "n": result.tuned and result.tuned.n,
        "validation_accuracy": [epoch.validation_accuracy for epoch in result.epochs],
    }


def _table(results: Mapping[str, "RunResult"]) -> str:

    metric = _metric(results)
    rows = [
        (
            label,
            metric.text(result.tuned.headline if result.tuned else None),
            metric.text(
                max(
                    (epoch.validation_accuracy for epoch in result.epochs),
                    default=None,
                    key=metric.merit,
                )
            ),
            count(result.tuned.n if result.tuned else 0),
        )
        for label, result in results.items()
    ]
    return table(
        ("", f"Test {metric.name}", f"Best validation {metric.name}", "Test samples n"), rows
    )


def _metric(results: Mapping[str, "RunResult"]) -> "Metric":
    """Return what the runs are judged by; they have the same data."""
    from pruning_core.tasks.registry import headline

    tasks = [result.data.task for result in results.values() if result.data]
    return headline(tasks[0] if tasks else CLASSES)


def _draw(results: Mapping[str, "RunResult"], path: Path) -> None:
    """Write the figure as one page that needs nothing else."""
    import numpy as np

    from pruning_core.figures.group import group_curves
    from pruning_core.figures.palette import palette
    from pruning_core.runs.atomic import write_bytes

    curves = {
        label: np.array([epoch.validation_accuracy for epoch in result.epochs])
        for label, result in results.items()
    }
    n_epochs = max(result.recipe.n_epochs for result in results.values())
    figure = group_curves(curves, n_epochs, palette(dark=False), metric=_metric(results))
    write_bytes(path, figure.to_html(include_plotlyjs=True).encode())
