"""``export RUN_DIR --format F``: write one file of a finished run again."""

import argparse
from pathlib import Path

from pruning_core.commands.answer import ANSWER_VERSION, Answer
from pruning_core.errors import RunError
from pruning_core.exporting.wording import count

NAME = "export"
HELP = "write one file of a finished run again, from its folder alone"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add RUN_DIR, the format and where to write."""
    parser.add_argument(
        "folder", type=Path, metavar="RUN_DIR", help="folder that a run has written"
    )
    parser.add_argument(
        "--format",
        required=True,
        metavar="F",
        help="weights: safetensors, dense_shapes, sparse, masks, index_map; programs: onnx, int8, "
        "pt2, python; to repeat the run: recipe, script, notebook; to read: report, numbers, "
        "tables, figures; hugging_face",
    )
    parser.add_argument(
        "--out", type=Path, metavar="FILE", help="file to write; by default the one in RUN_DIR"
    )


def answer(arguments: argparse.Namespace) -> Answer:
    """Rebuild the run from its folder, write the file and say where it is."""
    folder: Path = arguments.folder
    if not folder.is_dir():
        raise RunError(f"There is no run folder '{folder}'. Give the --out of an earlier run.")

    from pruning_core.exporting.export import export

    path = export(folder, arguments.format, arguments.out)
    n_bytes = path.stat().st_size
    document = {
        "version": ANSWER_VERSION,
        "run": str(folder),
        "format": arguments.format,
        "path": str(path),
        "bytes": n_bytes,
    }
    return Answer(document, f"Wrote {path} ({count(n_bytes)} bytes)")
