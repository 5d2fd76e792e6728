"""Options that several commands share, and the recipe they change."""

import argparse
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from pruning_core.errors import DataError, InvalidRecipeError
from pruning_core.loading.names import identity_of
from pruning_core.planning.recipe import MAX_RECIPE_BYTES, Recipe

if TYPE_CHECKING:
    from pruning_core.loading.dataset import Split
    from pruning_core.loading.model import LoadedModel

MODEL_HELP = (
    "bundled:NAME, torchvision:NAME, timm:NAME, transformers:NAME or a folder, "
    "python:package.module:factory, weights:FILE or weights:FILE@MODEL, or a file: .pt2 (a program "
    "of torch.export; opening one can run code in it), .safetensors, .pt, .onnx"
)


def add_recipe_arguments(parser: argparse.ArgumentParser) -> None:
    """Add RECIPE and the options that replace single entries of it."""
    parser.add_argument("recipe", metavar="RECIPE", help="a recipe in JSON; - reads it from stdin")
    parser.add_argument(
        "--model",
        metavar="MODEL",
        type=identity_of,
        help=f"instead of the recipe's: {MODEL_HELP}",
    )
    parser.add_argument(
        "--data",
        metavar="NAME",
        help="data set or file instead of the recipe's; a task may stand before a file, e.g. "
        "regression:prices.csv",
    )
    parser.add_argument("--seed", type=int, metavar="N", help="seed instead of the recipe's")
    add_input_shape(parser)


def add_input_shape(parser: argparse.ArgumentParser) -> None:
    """Add ``--input-shape``, for models that do not know their own."""
    parser.add_argument(
        "--input-shape",
        type=_shape,
        metavar="1,28,28",
        help="shape of one input without the batch axis",
    )


def add_data_folder(parser: argparse.ArgumentParser) -> None:
    """Add ``--data-folder``, where a full data set lies."""
    parser.add_argument(
        "--data-folder",
        type=Path,
        metavar="DIR",
        help="folder with the full data set; without it the bundled subset is used",
    )


def recipe_of(arguments: argparse.Namespace) -> Recipe:
    """Read the recipe and put the given options in place of its entries.

    Raises:
        InvalidRecipeError: If the file cannot be read or is no recipe.
    """
    recipe = read_recipe(arguments.recipe)
    changes: dict[str, Any] = {
        name: value
        for name in ("model", "data", "seed", "input_shape")
        if (value := getattr(arguments, name)) is not None
    }
    return recipe.replace(**changes) if changes else recipe


def read_recipe(name: str) -> Recipe:
    """Read the recipe in the file ``name``; ``-`` is stdin.

    Raises:
        InvalidRecipeError: If the file cannot be read or is no recipe.
    """
    return Recipe.from_json(_read(name))


def calibration_of(recipe: "Recipe", model: "LoadedModel") -> "Split | None":
    """Return the calibration data the recipe names; None leaves them to the model's own data.

    Raises:
        UnknownNameError: If there is no such data set, even when the criterion reads none.
        DataError: If its samples do not fit the model.
    """
    from pruning_core.loading.model import data_for

    if recipe.data is None:
        return None
    return data_for(model, recipe.data, source="bundled").calibration


def check_data_folder(arguments: argparse.Namespace) -> None:
    """Refuse a data folder that is none before anything slow starts.

    Raises:
        DataError: If ``--data-folder`` names no folder.
    """
    folder = arguments.data_folder
    if folder is not None and not folder.is_dir():
        raise DataError(f"The data folder '{folder}' does not exist. Name an existing folder.")


def _read(name: str) -> bytes:
    """Return the recipe's bytes, at most one more than a recipe may have."""
    if name == "-":
        if sys.stdin is None:
            raise InvalidRecipeError("There is no stdin to read the recipe from. Give a file.")
        return _limited(sys.stdin.buffer)
    path = Path(name)
    if path.is_dir():
        raise InvalidRecipeError(f"'{name}' is a folder. Give the recipe file in it.")
    try:
        with path.open("rb") as stream:
            return _limited(stream)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InvalidRecipeError(
            f"The recipe '{name[:200]}' cannot be read: {reason}. Give the path of a JSON file."
        ) from error


def _limited(stream: BinaryIO) -> bytes:
    raw = stream.read(MAX_RECIPE_BYTES + 1)
    if len(raw) > MAX_RECIPE_BYTES:
        raise InvalidRecipeError(
            f"The recipe has more than {MAX_RECIPE_BYTES:,} bytes, the most that is read. "
            "Give a recipe, not a model or data file."
        )
    return raw


def _shape(text: str) -> tuple[int, ...]:
    sizes: tuple[int, ...] = ()
    with suppress(ValueError):
        sizes = tuple(int(part) for part in text.split(","))
    if not sizes or min(sizes) < 1 or max(sizes) > 10**6:
        raise argparse.ArgumentTypeError(
            f"'{text[:60]}' is no shape; write positive sizes without the batch axis, e.g. 1,28,28"
        )
    return sizes
