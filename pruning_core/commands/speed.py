"""``speed RUN_DIR``: how fast the pruned network of a finished run is beside the dense one."""

import argparse
import sys
from pathlib import Path
from typing import Any

from pruning_core.commands.answer import ANSWER_VERSION, Answer
from pruning_core.errors import RunError
from pruning_core.exporting.wording import table
from pruning_core.steps import run_to_end

NAME = "speed"
HELP = "measure dense and pruned in turns: runtime x batch size x threads, and memory"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add RUN_DIR and what to measure with."""
    parser.add_argument(
        "folder", type=Path, metavar="RUN_DIR", help="folder that a run has written"
    )
    parser.add_argument(
        "--runtimes",
        type=lambda text: tuple(text.split(",")),
        default=("pytorch", "onnxruntime"),
        metavar="R,...",
        help="pytorch, compiled (takes a minute or more for each case) and onnxruntime",
    )
    parser.add_argument("--batch-sizes", type=_numbers, default=(1, 32), metavar="N,...")
    parser.add_argument("--threads", type=_numbers, default=(1,), metavar="N,...")
    parser.add_argument(
        "--seconds", type=float, default=2.0, metavar="S", help="for each case (default 2)"
    )


def answer(arguments: argparse.Namespace) -> Answer:
    """Rebuild the run from its folder, measure, and write ``speed.json`` there."""
    folder: Path = arguments.folder
    if not folder.is_dir():
        raise RunError(f"There is no run folder '{folder}'. Give the --out of an earlier run.")

    from pruning_core.exporting.reopen import open_run
    from pruning_core.runs.speed import Cases, save_speed

    cases = Cases(arguments.runtimes, arguments.batch_sizes, arguments.threads, arguments.seconds)
    cases.check()
    found = _measured(open_run(folder), cases)
    path = save_speed(found, folder)
    document = {"run": str(folder), "path": str(path), **found, "version": ANSWER_VERSION}
    return Answer(document, f"{_text(found)}\n\nWrote {path}")


def _measured(result: Any, cases: Any) -> dict[str, Any]:
    """Measure, and tell about each case on stderr."""
    from pruning_core.runs.speed import measure_speed

    last = ""

    def tell(progress: tuple[float, str]) -> None:
        nonlocal last
        if progress[1] != last:
            last = progress[1]
            sys.stderr.write(f"{last} ...\n")

    return run_to_end(measure_speed(result, cases), tell)


def _text(found: dict[str, Any]) -> str:
    from pruning_core.exporting.speed_table import (
        HEADER,
        HOW,
        MEMORY_HEADER,
        memory_rows,
        speed_rows,
        speed_sentences,
    )

    return "\n\n".join(
        [
            table(HEADER, speed_rows(found)),
            table(MEMORY_HEADER, memory_rows(found)),
            "\n".join([HOW, *speed_sentences(found)]),
        ]
    )


def _numbers(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"'{text[:60]}' is no list of numbers; write e.g. 1,8,32"
        ) from None
