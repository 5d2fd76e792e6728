"""Submit, poll, pause, cancel, delete: runs as processes of their own, which outlive the page.

There is no supervising process. Whoever submits, polls or finishes calls :func:`dispatch`, which
under a file lock finds dead workers, queues their runs again and starts queued ones. So a run
goes on when the page is closed, and a killed worker is replaced as soon as anyone looks.
"""

import contextlib
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Set
from typing import Final

from pruning_core.errors import RunError
from pruning_core.helpers import helper_environment
from pruning_core.planning.recipe import Recipe
from pruning_core.runs import atomic, process
from pruning_core.runs.store import WORKING, Fork, Record, Store, new_id, read_spec

STARTS_WITHOUT_EPOCH: Final = 3
MIN_FREE_BYTES: Final = 200_000_000
_CANCEL_GRACE_SECONDS: Final = 0.8
_THREAD_VARIABLES: Final = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")

Spawn = Callable[[Store, Record], "subprocess.Popen[bytes]"]

_children: Final[dict[tuple[str, int], "subprocess.Popen[bytes]"]] = {}
_children_lock: Final = threading.Lock()


def submit(
    recipe: Recipe, *, device: str = "", tensorboard: bool = False, store: Store | None = None
) -> str:
    """Queue a run of ``recipe`` and start it when there is room; return its id.

    ``device`` is where it computes: ``cpu``, ``cuda``, ``mps`` or ``auto``; empty asks the variable
    ``PRUNING_STUDIO_DEVICE``. With ``tensorboard`` it also writes event files into its folder.

    Raises:
        RunError: If the queue is full or the disk nearly is.
    """
    store = store or Store()
    _check_disk(store)
    record = store.add(
        recipe, threads=process.default_threads(), device=device, tensorboard=tensorboard
    )
    dispatch(store)
    return record.id


def submit_group(
    recipes: Mapping[str, Recipe],
    *,
    device: str = "",
    tensorboard: bool = False,
    store: Store | None = None,
) -> tuple[str, ...]:
    """Queue runs that belong together, all or none; return their ids.

    Args:
        recipes: By label, which tells the runs of the group apart.
        device: See :func:`submit`.
        tensorboard: See :func:`submit`.
        store: The runs; None means those of this server.

    Raises:
        RunError: If the queue has no room for all of them, or the disk is nearly full.
    """
    store = store or Store()
    _check_disk(store)
    store.check_room(len(recipes))
    group_id, threads = new_id(time.time()), process.default_threads()
    records = [
        store.add(
            recipe,
            threads=threads,
            device=device,
            group_id=group_id,
            label=label,
            tensorboard=tensorboard,
        )
        for label, recipe in recipes.items()
    ]
    dispatch(store)
    return tuple(record.id for record in records)


def _check_disk(store: Store) -> None:
    """Refuse to start a run when there is next to no room for its files.

    Raises:
        RunError: If less than ``MIN_FREE_BYTES`` are free.
    """
    free = shutil.disk_usage(store.root).free
    if free < MIN_FREE_BYTES:
        raise RunError(
            f"Only {free / 1e6:.0f} MB are free where runs are kept; a run needs at least "
            f"{MIN_FREE_BYTES / 1e6:.0f} MB. Delete old runs or make room."
        )


def poll(run_id: str, *, store: Store | None = None) -> Record:
    """Return the present record of a run, after seeing to dead workers and the queue.

    Raises:
        RunError: If there is no such run.
    """
    store = store or Store()
    dispatch(store)
    return store.get(run_id)


def list_runs(*, store: Store | None = None) -> tuple[Record, ...]:
    """Return all records, the newest first, after seeing to dead workers and the queue."""
    store = store or Store()
    dispatch(store)
    return store.all()


def cancel(run_id: str, *, store: Store | None = None) -> Record:
    """Ask a run to stop; what it finished is kept. A finished run stays as it is.

    The worker answers within about a second; one that does not is ended by a later poll.

    Raises:
        RunError: If there is no such run.
    """
    store = store or Store()
    record = store.ask_to_cancel(run_id)
    dispatch(store)
    return store.get(record.id)


def pause(run_id: str, *, store: Store | None = None) -> Record:
    """Ask a run to stop for now: its checkpoints stay, its worker ends, another run may start.

    The epoch that has begun is done again when the run is resumed. Raises as :func:`cancel` does.
    """
    store = store or Store()
    record = store.ask_to_pause(run_id)
    dispatch(store)
    return store.get(record.id)


def resume(run_id: str, *, store: Store | None = None) -> Record:
    """Let a paused run go on after its last finished epoch, when it is its turn.

    Raises:
        RunError: If there is no such run, or the queue is full.
    """
    store = store or Store()
    record = store.resume(run_id)
    dispatch(store)
    return store.get(record.id)


def forkable(run_id: str, *, store: Store | None = None) -> tuple[int, ...]:
    """Return after which epochs a run can be forked: those whose checkpoints are kept.

    The newest two of a run that is not done, and the ends of its rounds.
    """
    folder = (store or Store()).folder(run_id)
    names = (re.match(r"epoch_(\d+)", path.name) for path in folder.glob("epoch_*.ckpt"))
    return tuple(sorted(int(name[1]) for name in names if name))


def fork(
    run_id: str, epoch: int, recipe: Recipe, *, device: str = "", store: Store | None = None
) -> str:
    """Queue a new run that goes on from an epoch of another; return its id.

    Args:
        run_id: The run to go on from; it stays as it is.
        epoch: One of :func:`forkable`.
        recipe: That run's, but for the settings of fine-tuning and the epochs of the last round.
        device: See :func:`submit`.
        store: The runs; None means those of this server.

    Raises:
        RunError: If nothing is kept of that epoch, the recipes differ in more, or the new run
            would have fewer epochs in that round than are done.
    """
    from pruning_core.runs.checkpoint import (
        checkpoint_files,
        epoch_of,
        epochs_added,
        read_checkpoint,
    )

    store = store or Store()
    _check_disk(store)
    spec = read_spec(store.folder(run_id) / "spec.json")
    parent = spec.recipe
    last = recipe.schedule.last_epochs
    schedule = parent.schedule.model_copy(update={"last_epochs": last})
    if parent.replace(tuning=recipe.tuning, schedule=schedule) != recipe:
        raise RunError(
            f"A fork of run {run_id} can have other settings of fine-tuning, and nothing else that "
            "is different. Use the recipe of that run and change its fine-tuning."
        )
    paths = {epoch_of(path): path for path in checkpoint_files(store.folder(run_id))}
    checkpoint = read_checkpoint(paths[epoch]) if epoch in paths else None
    if checkpoint is None or checkpoint.round == 0:
        kept = ", ".join(map(str, sorted(paths))) or "none"
        raise RunError(
            f"Nothing is kept of epoch {epoch} of run {run_id}; it can be forked after: {kept}."
        )
    done, wanted = int(checkpoint.tuner["epoch"]), recipe.epochs_of_round(checkpoint.round)
    if wanted < done:
        raise RunError(
            f"{done} epochs of round {checkpoint.round} are done, and the fork would have "
            f"{wanted}. Give it {done} epochs or more."
        )
    n_epochs = recipe.n_sparse_epochs + recipe.n_epochs + epochs_added(recipe, checkpoint)
    record = store.add(
        recipe,
        threads=process.default_threads(),
        device=device,
        fork=Fork(run_id, epoch, n_epochs, paths[epoch]),
        tensorboard=spec.tensorboard,
    )
    dispatch(store)
    return record.id


def delete(run_id: str, *, store: Store | None = None) -> None:
    """Remove a finished run and its files.

    Raises:
        RunError: If there is no such run, or it is not finished.
    """
    (store or Store()).delete(run_id)


def job_limit() -> int:
    """Return how many runs may work at once: ``PRUNING_STUDIO_JOBS``, else 1.

    Raises:
        RunError: If the variable is no number from 1 to 64.
    """
    text = os.environ.get("PRUNING_STUDIO_JOBS", "1")
    if not (text.isascii() and text.isdigit() and 1 <= int(text[:9]) <= 64):
        raise RunError(f"PRUNING_STUDIO_JOBS is '{text[:40]}'; it must be a number from 1 to 64.")
    return int(text)


def spawn_worker(store: Store, record: Record) -> "subprocess.Popen[bytes]":
    """Start the worker of ``record`` in a session of its own, its output in ``worker.log``."""
    folder = store.folder(record.id)
    threads = str(read_spec(folder / "spec.json").threads)
    with (folder / "worker.log").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "pruning_core.runs.worker", record.id, str(record.attempt)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            env=helper_environment()
            | {"PRUNING_STUDIO_STATE": str(store.root)}
            | dict.fromkeys(_THREAD_VARIABLES, threads),
        )


def dispatch(store: Store, *, limit: int | None = None, spawn: Spawn = spawn_worker) -> None:
    """Queue the runs of dead workers again, end what ignores a cancel, start what may start.

    Args:
        store: The runs.
        limit: Runs at work at once; None means :func:`job_limit`.
        spawn: Starts the worker of a claimed run.
    """
    limit = job_limit() if limit is None else limit
    with atomic.exclusive(store.root / "dispatcher.lock"):
        active = store.in_state(*WORKING)
        _reap({(record.id, record.attempt) for record in active})
        for record in active:
            with contextlib.suppress(OSError):  # a full disk: it is tried again by the next poll
                _see_to(store, record)
        while (claimed := store.claim(limit)) is not None:
            _start(store, claimed, spawn)
        store.tidy()


def _see_to(store: Store, record: Record) -> None:
    """Act on one active run: leave a living worker alone, otherwise move the run on."""
    alive = process.is_alive(record.pid, record.mark)
    if alive and record.state in {"cancelling", "pausing"}:
        asked = record.cancel_asked or 0.0
        if time.time() - asked > _CANCEL_GRACE_SECONDS and record.pid and record.mark:
            process.kill(record.pid, record.mark)
            alive = False
    if alive:
        return
    if record.state == "cancelling":
        store.finish(record.id, record.attempt, "cancelled")
    elif record.state == "pausing":
        store.pause(record.id, record.attempt)
    elif record.stalled >= STARTS_WITHOUT_EPOCH:
        where = f"epoch {record.epoch + 1}" if record.n_epochs else "the end"
        store.finish(
            record.id,
            record.attempt,
            "failed",
            f"The worker {_how_it_ended(record)} {record.stalled} times before it reached {where}. "
            "Free some memory or make the run smaller, then start it again.",
        )
    else:
        store.requeue(record.id, record.attempt)


def _start(store: Store, record: Record, spawn: Spawn) -> None:
    """Start the worker of a claimed run and record its process."""
    try:
        child = spawn(store, record)
    except (OSError, RunError) as error:
        text = error.strerror if isinstance(error, OSError) else str(error)
        store.finish(record.id, record.attempt, "failed", f"No worker could be started: {text}")
        return
    with _children_lock:
        _children[record.id, record.attempt] = child
    mark = process.start_mark(child.pid)
    if mark is not None:
        store.set_worker(record.id, record.attempt, child.pid, mark)


def _reap(active: Set[tuple[str, int]]) -> None:
    """Let go of our children that have ended, and forget those whose run is no longer active."""
    with _children_lock:
        ended = {key for key, child in _children.items() if child.poll() is not None}
        for key in ended - active:
            del _children[key]


def _how_it_ended(record: Record) -> str:
    """Say how the worker died, as far as this process (its parent or not) can know."""
    with _children_lock:
        child = _children.get((record.id, record.attempt))
    code = child.poll() if child else None
    if code is None:
        return "was ended from outside (or the machine restarted)"
    if code < 0:
        likely = ", most likely because memory ran out," if code == -9 else ""
        return f"was killed by signal {-code}{likely}"
    return f"ended with exit code {code}"
