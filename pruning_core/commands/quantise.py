"""``quantise RUN_DIR --kind K``: an int8 file of a finished run, measured against float32."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from pruning_core.commands.answer import ANSWER_VERSION, Answer
from pruning_core.commands.options import add_data_folder, check_data_folder
from pruning_core.commands.tables import int8_text
from pruning_core.errors import RunError

if TYPE_CHECKING:
    from pruning_core.exporting.result import RunResult
    from pruning_core.loading.dataset import Dataset

NAME = "quantise"
HELP = "make an int8 ONNX file of a finished run and measure it against float32"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add RUN_DIR, the kind and the number of calibration samples."""
    parser.add_argument(
        "folder", type=Path, metavar="RUN_DIR", help="folder that a run has written"
    )
    parser.add_argument("--kind", default="static", help="weights, dynamic or static (default)")
    parser.add_argument(
        "--samples",
        type=int,
        default=256,
        metavar="N",
        help="calibration samples of the training split, for static (default 256)",
    )
    add_data_folder(parser)


def answer(arguments: argparse.Namespace) -> Answer:
    """Rebuild the run from its folder, quantise it, and write the file and both reports."""
    folder: Path = arguments.folder
    if not folder.is_dir():
        raise RunError(f"There is no run folder '{folder}'. Give the --out of an earlier run.")
    check_data_folder(arguments)

    from pruning_core.exporting.document import run_document
    from pruning_core.exporting.export import export
    from pruning_core.exporting.reopen import open_run
    from pruning_core.planning.recipe import Quantisation
    from pruning_core.quantising.quantise import quantise

    wanted = Quantisation.read(kind=arguments.kind, samples=arguments.samples)
    opened = open_run(folder)
    data = _data(opened, arguments.data_folder)
    result = quantise(opened, wanted.kind, data=data, samples=wanted.samples)
    for format_key in ("int8", "numbers", "report"):
        export(result, format_key, folder)
    document = {
        "version": ANSWER_VERSION,
        "run": str(folder),
        "path": str(folder / "model.int8.onnx"),
        **run_document(result)["quantised"],
    }
    return Answer(document, f"{int8_text(document)}\n\nWrote {document['path']}")


def _data(opened: "RunResult", folder: Path | None) -> "Dataset | None":
    """Return the data set that the run was measured on."""
    from pruning_core.loading.model import data_for

    key = opened.recipe.data or opened.model.data
    if key is None:
        return None
    return data_for(opened.model, key, folder=folder)
