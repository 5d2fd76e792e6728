"""``sensitivity RECIPE``: how much accuracy each layer costs when it alone is pruned."""

import argparse
import sys
from typing import TYPE_CHECKING, Any

from pruning_core.commands.answer import ANSWER_VERSION, Answer
from pruning_core.commands.options import (
    add_data_folder,
    add_recipe_arguments,
    check_data_folder,
    recipe_of,
)
from pruning_core.errors import DataError
from pruning_core.exporting.wording import percent, table

if TYPE_CHECKING:
    from pruning_core.runs.scans import Scan

NAME = "sensitivity"
HELP = "measure how much accuracy each layer costs when it alone is pruned"
_COLUMNS = (0.1, 0.3, 0.5, 0.7, 0.9)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add RECIPE, the examples and the data folder."""
    add_recipe_arguments(parser)
    add_data_folder(parser)
    parser.add_argument(
        "--examples", type=int, default=500, metavar="N", help="validation examples of each point"
    )


def answer(arguments: argparse.Namespace) -> Answer:
    """Measure what is not yet known; stopped with Ctrl-C, it goes on the next time."""
    recipe = recipe_of(arguments)
    check_data_folder(arguments)
    if arguments.examples < 1:
        raise DataError(f"--examples is {arguments.examples}; at least 1 is measured.")

    from pruning_core.loading.dataset import load_dataset
    from pruning_core.loading.model import check_fits, load_model
    from pruning_core.runs import scans
    from pruning_core.scoring.score import score
    from pruning_core.tracing.trace import trace

    model = load_model(recipe.model, input_shape=recipe.input_shape)
    key = recipe.data or model.data
    if key is None:
        raise DataError(
            "Neither the recipe nor the model names data, so no accuracy can be measured. Name "
            "some with --data."
        )
    data = load_dataset(key, folder=arguments.data_folder)
    check_fits(model, data.input_shape, data.key)
    network = trace(model.module, model.inputs)
    alone = recipe.parts[""]
    scores = score(model, network, alone, data.calibration)
    for share, point in scans.carry_out(alone, model, network, scores, data, n=arguments.examples):
        sys.stderr.write(
            f"{percent(share)}: {point.site or '(model)'} without {percent(point.ratio)}: accuracy "
            f"{percent(point.accuracy)}\n"
        )
    found = scans.read(scans.path_of(alone, model.weights_sha256, data.key))
    assert found is not None
    return Answer(_document(recipe.model, found), _text(found))


def _document(model: str, found: "Scan") -> dict[str, Any]:
    return {
        "version": ANSWER_VERSION,
        "model": model,
        "dense_accuracy": found.dense,
        "n": found.n,
        "source": found.source,
        "layers": {
            site: [
                {"ratio": ratio, "accuracy": accuracy}
                for ratio, accuracy in zip(*curve, strict=True)
            ]
            for site, curve in found.curves.items()
        },
    }


def _text(found: "Scan") -> str:
    rows = [
        (site or "(model)", *(_lost(curve, column) for column in _COLUMNS))
        for site, curve in found.curves.items()
    ]
    header = ("Points lost by", *(percent(column) for column in _COLUMNS))
    return (
        f"Each layer pruned alone, measured on {found.n:,} validation examples ({found.source}); "
        f"the dense model has {percent(found.dense)}\n\n{table(header, rows)}\n\n"
        "What layers lose alone does not add up."
    )


def _lost(curve: Any, column: float) -> str:
    """Return the points lost at the measured ratio nearest to a column, if one is near."""
    near = min(zip(*curve, strict=True), key=lambda pair: abs(pair[0] - column))
    return f"{100 * (curve[1][0] - near[1]):.1f}" if abs(near[0] - column) < 0.06 else "-"
