"""``lessons``: which lessons the course has, and the numbers to expect in them."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from pruning_core.commands.answer import ANSWER_VERSION, Answer
from pruning_core.errors import ExportError
from pruning_core.exporting.wording import percent, table
from pruning_core.steps import run_to_end

if TYPE_CHECKING:
    from pruning_core.lessons import Lesson
    from pruning_core.runs.coursework import Record

NAME = "lessons"
HELP = "list the lessons of the course, or measure the numbers they show"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add which lessons are measured and where the numbers go."""
    parser.add_argument(
        "--measure",
        nargs="*",
        metavar="LESSON",
        help="measure these lessons anew (all when none is named), without what is kept",
    )
    parser.add_argument(
        "--write", type=Path, metavar="FOLDER", help="write LESSON.json of what was measured"
    )


def answer(arguments: argparse.Namespace) -> Answer:
    """Return the lessons in order, with what was measured when that was asked for."""
    from pruning_core.lessons import LESSONS, in_order
    from pruning_core.lessons.handout import rows_of
    from pruning_core.lessons.texts import Words
    from pruning_core.runs import coursework

    folder: Path | None = arguments.write
    if folder is not None and not folder.is_dir():
        raise ExportError(f"The folder '{folder}' does not exist. Name one that does.")
    wanted = arguments.measure
    chosen = [LESSONS[key] for key in wanted] if wanted else in_order()
    documents, rows = [], []
    for lesson in chosen:
        title = Words("en", lesson.key)("title")
        own: dict[str, object] = {"key": lesson.key, "chapter": lesson.chapter, "title": title}
        if wanted is None:
            rows.append((lesson.key, lesson.chapter, title))
        else:
            record = _watched(lesson)
            own |= {"seconds": record.seconds, "facts": record.facts}
            words = Words("en", lesson.key)
            rows += [(lesson.key, *row) for row in rows_of(lesson, record.facts, words)]
            if folder is not None:
                (folder / f"{lesson.key}.json").write_bytes(coursework.to_json(record))
        documents.append(own)
    header = ("Lesson", "Chapter", "Title") if wanted is None else ("Lesson", "Quantity", "Value")
    return Answer({"version": ANSWER_VERSION, "lessons": documents}, table(header, rows, left=3))


def _watched(lesson: "Lesson") -> "Record":
    """Measure a lesson and say on stderr how far it is."""
    from pruning_core.runs import coursework

    def tell(progress: tuple[float, str]) -> None:
        share, text = progress
        sys.stderr.write(f"{lesson.key} {percent(share)} {text}\n")

    return run_to_end(coursework.carry_out(lesson), tell)
