"""``run RECIPE --out DIR``: prune, fine-tune, measure and write the files of the run."""

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from pruning_core.commands.answer import NOTHING, Answer
from pruning_core.commands.interruption import was_asked
from pruning_core.commands.options import (
    add_data_folder,
    add_recipe_arguments,
    check_data_folder,
    recipe_of,
)
from pruning_core.commands.tables import int8_text, layers_table, notes_text, totals_table
from pruning_core.errors import RunError
from pruning_core.exporting.metric_table import (
    STAGE_TITLES,
    how,
    measured_stages,
    metric_rows,
)
from pruning_core.exporting.wording import count, duration, percent, table
from pruning_core.team import ALONE, Team, joined, started

if TYPE_CHECKING:
    from pruning_core.exporting.result import RunResult
    from pruning_core.loading.dataset import Dataset
    from pruning_core.planning.recipe import Recipe
    from pruning_core.runs.checkpoint import Checkpoint
    from pruning_core.runs.events import Event

NAME = "run"
HELP = "prune, fine-tune, measure, and write weights, ONNX, recipe and reports"
RUN_FILE: Final = "report.json"
CHECKPOINTS: Final = "checkpoints"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add RECIPE, its options and the output folder."""
    add_recipe_arguments(parser)
    add_data_folder(parser)
    parser.add_argument(
        "--out",
        type=Path,
        required=True,
        metavar="DIR",
        help="folder for the files; made if needed",
    )
    add_device(parser)
    parser.add_argument(
        "--tensorboard",
        type=Path,
        metavar="DIR",
        help="also write TensorBoard event files to this folder (needs the package tensorboard)",
    )
    parser.add_argument(
        "--overwrite",
        action="store_true",
        help="write into DIR even if it holds another run or other files",
    )


def add_device(parser: argparse.ArgumentParser) -> None:
    """Add ``--device``, where to train and measure."""
    parser.add_argument(
        "--device",
        metavar="NAME",
        help="where to train and measure: cpu, cuda, mps or auto (the fastest there is); default: "
        "the variable PRUNING_STUDIO_DEVICE, else auto",
    )


def answer(arguments: argparse.Namespace) -> Answer:
    """Carry the recipe out, print progress to stderr, write the files, return the report."""
    with joined(arguments.device) as team, ExitStack() as stack:
        recipe = team.first(lambda: recipe_of(arguments))
        check_data_folder(arguments)
        folder = team.first(
            lambda: stack.enter_context(
                output_folder(arguments.out, recipe, overwrite=arguments.overwrite)
            )
        )
        from pruning_core.exporting.document import run_document
        from pruning_core.runs.event_files import EventFiles, check_installed
        from pruning_core.runs.keeping import Keeper
        from pruning_core.runs.pipeline import write_run

        if arguments.tensorboard is not None:
            check_installed()
        keeper = Keeper(folder, team, tell)
        with keeper.remembered():
            resume = keeper.newest(recipe, afresh=arguments.overwrite)
            listeners = [keeper.note]
            if arguments.tensorboard is not None and team.is_first:
                epoch = resume.epoch if resume else 0
                files = stack.enter_context(EventFiles(arguments.tensorboard, recipe, epoch=epoch))
                listeners.append(files.add)
            finished = carried_out(
                recipe,
                chosen_data(recipe, arguments),
                arguments.device,
                listeners=listeners,
                resume=resume,
                team=team,
            )
            if not team.is_first:
                return NOTHING
            tell("writing the files ...")
            result = write_run(finished, folder)
        keeper.clear()
        document = run_document(result)
        return Answer(document, _text(result, document, folder))


@contextmanager
def output_folder(path: Path, recipe: "Recipe", *, overwrite: bool) -> Iterator[Path]:
    """Yield ``path`` as an existing folder; take it away again if it was made and stays empty.

    Raises:
        RunError: If it is no folder, cannot be made, or holds anything but a run of this recipe.
    """
    made = not path.exists()
    try:
        path.mkdir(parents=True, exist_ok=True)
        names = {item.name for item in path.iterdir()}
    except OSError as error:
        raise RunError(
            f"The output folder '{path}' cannot be used: {error.strerror}. Choose another --out."
        ) from error
    names -= {CHECKPOINTS}  # whose they are is seen when they are read
    if names and not overwrite and not _holds_run_of(path, recipe):
        held = (
            "a run of another recipe" if RUN_FILE in names else "files that are not those of a run"
        )
        raise RunError(
            f"The output folder '{path}' holds {held}. Choose another --out, or add --overwrite."
        )
    try:
        yield path
    finally:
        if made:
            with suppress(OSError):
                path.rmdir()


def _holds_run_of(folder: Path, recipe: "Recipe") -> bool:
    """Tell whether ``folder`` holds a run of exactly this recipe."""
    try:
        report = json.loads((folder / RUN_FILE).read_bytes())
    except (OSError, ValueError):
        return False
    return isinstance(report, dict) and report.get("recipe_fingerprint") == recipe.fingerprint


def chosen_data(recipe: "Recipe", arguments: argparse.Namespace) -> "Dataset | None":
    """Return the data set in the given folder; None lets the run choose."""
    if arguments.data_folder is None:
        return None
    from pruning_core.loading.dataset import load_dataset
    from pruning_core.loading.model import load_model

    model = load_model(recipe.model, input_shape=recipe.input_shape)
    key = recipe.data or model.data
    if key is None:
        return None
    return load_dataset(key, folder=arguments.data_folder, input_shape=model.input_shape)


def carried_out(
    recipe: "Recipe",
    data: "Dataset | None",
    device: str | None,
    *,
    listeners: Sequence["Callable[[Event], None]"] = (),
    resume: "Checkpoint | None" = None,
    team: Team = ALONE,
) -> "RunResult":
    """Carry the recipe out, with its progress on stderr; ``listeners`` are told every event."""
    from pruning_core.runs.events import Finished
    from pruning_core.runs.pipeline import execute

    events = execute(
        recipe, data=data, device=device, should_stop=was_asked, resume=resume, team=team
    )
    for event in events:
        for listen in listeners:
            listen(event)
        if isinstance(event, Finished):
            return event.result
        tell(progress_line(event))
    raise RuntimeError("the pipeline ended without a result")


def tell(line: str) -> None:
    """Write a line of progress to stderr, if there is something to say; of a team once."""
    if line and started().is_first:
        sys.stderr.write(line + "\n")
        sys.stderr.flush()


def progress_line(event: "Event") -> str:
    """Return one line about ``event`` for stderr; empty for what is too frequent to print."""
    from pruning_core.runs import events
    from pruning_core.tasks.registry import headline
    from pruning_core.tuning.finetune import EpochResult

    match event:
        case events.StageStarted():
            return f"{event.title} ..."
        case events.Evaluated():
            found = event.evaluation
            metric = headline(found.task)
            return (
                f"  {event.moment}: test {metric.name} {metric.text(found.headline)}, "
                f"loss {found.loss:.4f}, n {count(found.n)}"
            )
        case EpochResult():
            metric = headline(event.task)
            return (
                f"  epoch {event.epoch} of {event.n_epochs}: loss {event.loss:.4f}, "
                f"{metric.name} {metric.text(event.accuracy)}, "
                f"validation loss {event.validation_loss:.4f}, "
                f"validation {metric.name} {metric.text(event.validation_accuracy)}, "
                f"{duration(event.seconds)}"
            )
        case events.RoundFinished() if event.n_rounds > 1 or not event.held:
            reached, metric = event.validation_accuracy, headline(event.task)
            text = "" if reached is None else f", validation {metric.name} {metric.text(reached)}"
            fell = "" if event.held else ": more than the recipe allows"
            return (
                f"  round {event.round} of {event.n_rounds}: {percent(event.removed)} "
                f"removed{text}{fell}"
            )
        case events.Note():
            return f"  note: {event.text}"
        case _:
            return ""


def _text(result: "RunResult", document: dict[str, Any], folder: Path) -> str:
    parts = [
        f"{document['model_title']} ({document['model']})",
        totals_table(document),
        _metrics_table(document),
        int8_text(document["quantised"]) if document["quantised"] else "",
        layers_table(result.preview),
        notes_text(document["notes"]),
        "\n".join(f"Warning: {sentence}" for sentence in document["problems"].values()),
        f"Mask fingerprint {document['mask_fingerprint']}",
        f"Written to {folder}: " + ", ".join(sorted(item.name for item in folder.iterdir())),
    ]
    return "\n\n".join(part for part in parts if part)


def _metrics_table(document: dict[str, Any]) -> str:
    stages = measured_stages(document)
    if not stages:
        return "No accuracy was measured: the model names no data set (see --data)."
    header = ("", *(STAGE_TITLES[stage] for stage in stages))
    return f"{table(header, metric_rows(document))}\n{how(document)}"
