"""What commands share that measure plans on validation examples."""

import argparse
from typing import TYPE_CHECKING

from pruning_core.commands.options import (
    add_data_folder,
    add_recipe_arguments,
    check_data_folder,
    recipe_of,
)
from pruning_core.errors import DataError

if TYPE_CHECKING:
    from pruning_core.runs.setup import Setup


def add_measuring_arguments(parser: argparse.ArgumentParser) -> None:
    """Add RECIPE, the data folder and the number of examples."""
    add_recipe_arguments(parser)
    add_data_folder(parser)
    parser.add_argument(
        "--examples",
        type=int,
        default=500,
        metavar="N",
        help="validation examples of each measurement (default: 500)",
    )


def add_storage(parser: argparse.ArgumentParser) -> None:
    """Add ``--storage``, where workers meet."""
    parser.add_argument(
        "--storage",
        metavar="URL",
        help="database in which workers on any machines share the work, e.g. "
        "postgresql://user@host/name or, on one machine, sqlite:///shared.sqlite3 (default: the "
        "state folder of this machine)",
    )


def check_counts(arguments: argparse.Namespace, *names: str) -> None:
    """Refuse numbers below 1 before anything slow starts.

    Raises:
        DataError: With the option and its value.
    """
    for name in names:
        if getattr(arguments, name) < 1:
            raise DataError(f"--{name} is {getattr(arguments, name)}; it must be at least 1.")


def setup_of(arguments: argparse.Namespace) -> "Setup":
    """Load, trace and rate what the arguments name; of a mixed recipe its first part.

    Raises:
        PruningError: If something cannot be read, or there are no data.
    """
    recipe = recipe_of(arguments).parts[""]
    check_data_folder(arguments)
    check_counts(arguments, "examples")

    from pruning_core.loading.model import data_for, load_model
    from pruning_core.runs.setup import Setup
    from pruning_core.scoring.score import score
    from pruning_core.tracing.trace import trace

    model = load_model(recipe.model, input_shape=recipe.input_shape)
    key = recipe.data or model.data
    if key is None:
        raise DataError(
            "Neither the recipe nor the model names data, so no accuracy can be measured. Name "
            "some with --data."
        )
    data = data_for(model, key, folder=arguments.data_folder)
    network = trace(model.module, model.inputs)
    scores = score(model, network, recipe, data.calibration)
    return Setup(recipe, model, network, scores, data)
