"""``push RUN_DIR --to DIR``: a finished run as a folder in the layout of the Hugging Face Hub."""

import argparse
from pathlib import Path

from pruning_core.commands.answer import ANSWER_VERSION, Answer
from pruning_core.errors import ExportError, RunError
from pruning_core.exporting.wording import count

NAME = "push"
HELP = "write a finished run as a Hugging Face folder: weights, config, model card (no network)"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add RUN_DIR and where to write."""
    parser.add_argument(
        "folder", type=Path, metavar="RUN_DIR", help="folder that a run has written"
    )
    parser.add_argument(
        "--to",
        "--out",
        dest="out",
        type=Path,
        required=True,
        metavar="DIR",
        help="folder to write; made if needed",
    )
    parser.add_argument(
        "--overwrite", action="store_true", help="write into DIR even if it holds other files"
    )


def answer(arguments: argparse.Namespace) -> Answer:
    """Rebuild the run from its folder and write the files."""
    folder: Path = arguments.folder
    target: Path = arguments.out
    if not folder.is_dir():
        raise RunError(f"There is no run folder '{folder}'. Give the --out of an earlier run.")
    if target.exists() and not target.is_dir():
        raise ExportError(f"'{target}' is a file. Name a folder.")
    if target.is_dir() and any(target.iterdir()) and not arguments.overwrite:
        raise ExportError(f"'{target}' holds files. Choose another --to, or add --overwrite.")
    from pruning_core.exporting.model_card import write_hub_folder
    from pruning_core.exporting.reopen import open_run

    result = open_run(folder)
    try:
        target.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ExportError(f"'{target}' cannot be made: {error.strerror}.") from error
    write_hub_folder(result, target)
    files = {item.name: item.stat().st_size for item in sorted(target.iterdir()) if item.is_file()}
    document = {"version": ANSWER_VERSION, "run": str(folder), "path": str(target), "files": files}
    lines = [f"  {name}  {count(n_bytes)} bytes" for name, n_bytes in files.items()]
    return Answer(document, "\n".join([f"Wrote {target}:", *lines]))
