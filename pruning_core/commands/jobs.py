"""Commands for runs that outlive the command: submit, runs, poll, cancel, fetch, fork and so on."""

import argparse
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from pruning_core.commands.answer import ANSWER_VERSION, Answer
from pruning_core.commands.interruption import was_asked
from pruning_core.commands.options import add_recipe_arguments, read_recipe, recipe_of
from pruning_core.commands.run import add_device, tell
from pruning_core.errors import DataError
from pruning_core.exporting.wording import table

if TYPE_CHECKING:
    from pruning_core.runs.cluster import Cluster
    from pruning_core.runs.runner import Progress, Runner

_WAIT_SECONDS: Final = 1.0


@dataclass(frozen=True, slots=True)
class Command:
    """A command, as the command line takes it."""

    NAME: str
    HELP: str
    add_arguments: Callable[[argparse.ArgumentParser], None]
    answer: Callable[[argparse.Namespace], Answer]


def _submit_arguments(parser: argparse.ArgumentParser) -> None:
    add_recipe_arguments(parser)
    add_device(parser)
    parser.add_argument(
        "--cluster",
        choices=("slurm", "local"),
        help="hand the run to Slurm, or to processes of this machine, through submitit (default: "
        "the queue of this machine, which the page shows)",
    )
    numbers = (
        ("--minutes", int, "time limit of a cluster job (default: 1440); it goes on in a new one"),
        ("--nodes", int, "machines of a cluster job"),
        ("--processes", int, "processes on each machine that share the run, as under torchrun"),
        ("--gpus", int, "GPUs of each machine"),
        ("--cpus", int, "cores of each process"),
        ("--memory", float, "memory of each machine in GB"),
    )
    for option, kind, words in numbers:
        parser.add_argument(option, type=kind, metavar="N", help=words)
    parser.add_argument("--partition", metavar="NAME", help="partition of Slurm")
    parser.add_argument(
        "--tensorboard",
        action="store_true",
        help="also write TensorBoard event files into the run's folder (not on clusters)",
    )
    _add_wait(parser)


def _submit(arguments: argparse.Namespace) -> Answer:
    recipe = recipe_of(arguments)
    runner = _runner(arguments)
    if arguments.tensorboard:
        from pruning_core.runs.event_files import check_installed

        check_installed()
    run_id = runner.submit(recipe, device=arguments.device or "")
    return _told(runner, run_id, wait=arguments.wait)


def _runner(arguments: argparse.Namespace) -> "Runner":
    """Return what carries runs out, as the options say.

    Raises:
        DataError: If an option of clusters is given without one, or makes no sense.
    """
    from pruning_core.runs.cluster import Cluster, Wish
    from pruning_core.runs.runner import Here

    names = ("minutes", "nodes", "processes", "gpus", "cpus", "memory", "partition")
    given = {name: value for name in names if (value := getattr(arguments, name, None)) is not None}
    if arguments.cluster is None:
        if given:
            raise DataError(f"--{next(iter(given))} is for clusters. Add --cluster slurm.")
        return Here(tensorboard=arguments.tensorboard)
    if arguments.tensorboard:
        raise DataError("--tensorboard is for runs of this machine, and --cluster is given.")
    for name, value in given.items():
        least = 0 if name == "gpus" else 1
        if name != "partition" and value < least:
            raise DataError(f"--{name} is {value}; it must be at least {least}.")
    if arguments.cluster == "local" and given.get("nodes", 1) > 1:
        raise DataError(f"--nodes is {given['nodes']}, and --cluster local is one machine.")
    return Cluster(arguments.cluster, Wish(**given))


def _runner_of(run_id: str) -> "Runner":
    """Return who carries out the run called ``run_id``."""
    from pruning_core.runs.cluster import default_folder
    from pruning_core.runs.runner import Here

    is_there = "/" not in run_id and (default_folder() / run_id / "recipe.json").is_file()
    return _cluster() if is_there else Here()


def _cluster() -> "Cluster":
    from pruning_core.runs.cluster import Cluster

    return Cluster()


def _list(arguments: argparse.Namespace) -> Answer:  # noqa: ARG001
    from pruning_core.runs import dispatcher

    records = dispatcher.list_runs()
    others = _cluster().all()
    rows = [
        (
            record.id,
            record.state,
            f"{record.epoch} of {record.n_epochs}",
            ", ".join(map(str, dispatcher.forkable(record.id))) or "-",
            time.strftime("%Y-%m-%d %H:%M", time.localtime(record.created)),
            record.title,
        )
        for record in records
    ]
    rows += [
        (one.id, one.state, f"{one.epoch} of {one.n_epochs}", "-", "-", "cluster") for one in others
    ]
    header = ("Run", "State", "Epochs", "Fork after", "Started", "What")
    document = {
        "version": ANSWER_VERSION,
        "runs": [
            {**asdict(record), "forkable": list(dispatcher.forkable(record.id))}
            for record in records
        ],
        "cluster": [asdict(one) for one in others],
    }
    return Answer(document, table(header, rows) if rows else "There are no runs yet.")


def _poll(arguments: argparse.Namespace) -> Answer:
    return _told(_runner_of(arguments.run), arguments.run, wait=arguments.wait)


def _cancel(arguments: argparse.Namespace) -> Answer:
    runner = _runner_of(arguments.run)
    return _answered(runner.cancel(arguments.run))


def _fetch(arguments: argparse.Namespace) -> Answer:
    runner = _runner_of(arguments.run)
    paths = runner.fetch(arguments.run, arguments.out)
    names = [path.name for path in paths]
    document = {"version": ANSWER_VERSION, "folder": str(arguments.out), "files": names}
    return Answer(document, f"Copied to {arguments.out}: {', '.join(names)}")


def _pause(arguments: argparse.Namespace) -> Answer:
    from pruning_core.runs import dispatcher
    from pruning_core.runs.runner import Here

    dispatcher.pause(arguments.run)
    return _answered(Here().poll(arguments.run))


def _resume(arguments: argparse.Namespace) -> Answer:
    from pruning_core.runs import dispatcher
    from pruning_core.runs.runner import Here

    dispatcher.resume(arguments.run)
    return _told(Here(), arguments.run, wait=arguments.wait)


def _fork_arguments(parser: argparse.ArgumentParser) -> None:
    _add_run(parser)
    parser.add_argument(
        "--epoch",
        type=int,
        metavar="N",
        help="go on after this epoch (default: the last that is kept; see the command runs)",
    )
    parser.add_argument(
        "--recipe",
        metavar="RECIPE",
        help="the run's recipe with other settings of fine-tuning (default: the run's own)",
    )
    parser.add_argument(
        "--epochs",
        type=int,
        metavar="N",
        help="fine-tuning epochs of each round instead of the recipe's",
    )
    add_device(parser)
    _add_wait(parser)


def _fork(arguments: argparse.Namespace) -> Answer:
    from pruning_core.runs import dispatcher
    from pruning_core.runs.runner import Here
    from pruning_core.runs.store import Store, read_spec

    store = Store()
    store.get(arguments.run)
    if arguments.recipe is not None:
        recipe = read_recipe(arguments.recipe)
    else:
        recipe = read_spec(store.folder(arguments.run) / "spec.json").recipe
    if arguments.epochs is not None:
        tuning = {**recipe.tuning.model_dump(), "epochs": arguments.epochs}
        recipe = recipe.replace(tuning=tuning)
    kept = dispatcher.forkable(arguments.run)
    epoch = max(kept, default=0) if arguments.epoch is None else arguments.epoch
    run_id = dispatcher.fork(arguments.run, epoch, recipe, device=arguments.device or "")
    return _told(Here(), run_id, wait=arguments.wait)


def _delete(arguments: argparse.Namespace) -> Answer:
    from pruning_core.runs import dispatcher

    if _runner_of(arguments.run) != _cluster():
        dispatcher.delete(arguments.run)
    else:
        _cluster().delete(arguments.run)
    document = {"version": ANSWER_VERSION, "deleted": arguments.run}
    return Answer(document, f"Run {arguments.run} and its files are deleted.")


def _told(runner: "Runner", run_id: str, *, wait: bool) -> Answer:
    """Say how far a run is, after it ended if that is asked for."""
    found = runner.poll(run_id)
    said: tuple[str, int] | None = None
    while wait and not found.is_finished and found.state != "paused":
        if said != (found.state, found.epoch):
            said = (found.state, found.epoch)
            tell(_line(found))
        time.sleep(_WAIT_SECONDS)
        if was_asked():
            raise KeyboardInterrupt
        found = runner.poll(run_id)
    return _answered(found)


def _answered(found: "Progress") -> Answer:
    return Answer({"version": ANSWER_VERSION, **asdict(found)}, _line(found))


def _line(found: "Progress") -> str:
    why = f": {found.error}" if found.error else ""
    return f"{found.id} {found.state}, epoch {found.epoch} of {found.n_epochs}{why}"


def _add_run(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", metavar="RUN", help="its id, as submit and runs print it")


def _add_wait(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--wait", action="store_true", help="wait until the run has ended; Ctrl-C leaves it alone"
    )


def _run_and_wait(parser: argparse.ArgumentParser) -> None:
    _add_run(parser)
    _add_wait(parser)


def _fetch_arguments(parser: argparse.ArgumentParser) -> None:
    _add_run(parser)
    parser.add_argument(
        "--out", type=Path, required=True, metavar="DIR", help="folder for the copies"
    )


def _none(parser: argparse.ArgumentParser) -> None:
    """Add nothing."""


COMMANDS: Final = (
    Command(
        "submit", "queue a run here or on a cluster, and print its id", _submit_arguments, _submit
    ),
    Command("runs", "list the runs of this machine and of the cluster", _none, _list),
    Command("poll", "say how far a run is", _run_and_wait, _poll),
    Command("pause", "stop a run for now; its checkpoints stay", _add_run, _pause),
    Command(
        "resume", "let a paused run go on after its last finished epoch", _run_and_wait, _resume
    ),
    Command("cancel", "end a run; what it finished is kept", _add_run, _cancel),
    Command("fork", "start a new run from a kept epoch of another one", _fork_arguments, _fork),
    Command("fetch", "copy the files of a finished run", _fetch_arguments, _fetch),
    Command("delete", "remove a run that has ended, and its files", _add_run, _delete),
)
