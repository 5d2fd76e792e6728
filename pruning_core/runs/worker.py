"""The process that carries one run out: ``python -m pruning_core.runs.worker RUN_ID ATTEMPT``.

It only adds to the run's folder and record. It may be killed at any moment: the next attempt goes
on from the newest whole checkpoint. PyTorch is imported only after the page can see it started.
"""

import contextlib
import errno
import importlib
import logging
import os
import sqlite3
import sys
import threading
from pathlib import Path
from typing import Final

from pruning_core.errors import PruningError, RunError
from pruning_core.runs import atomic, process
from pruning_core.runs.dispatcher import dispatch
from pruning_core.runs.log import Log
from pruning_core.runs.store import State, Store, read_spec

_WATCH_SECONDS: Final = 0.1
_GRACE_SECONDS: Final = 0.25
_log: Final = logging.getLogger("pruning_core.runs.worker")


def main(arguments: list[str]) -> int:
    """Carry out the run named by ``arguments`` (id, attempt); return the exit code."""
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s", level=logging.INFO)
    run_id, attempt = arguments[0], int(arguments[1])
    store = Store()
    folder = store.folder(run_id)
    _be_modest()
    mark = process.start_mark(os.getpid()) or ""
    if not store.set_worker(run_id, attempt, os.getpid(), mark):
        return 0
    watch = Watch(store, run_id, attempt)
    watch.start()
    with (
        atomic.exclusive(folder / "worker.lock"),
        Log(folder / "log.jsonl", attempt) as log,
    ):
        state, error = _outcome(store, run_id, attempt, log, watch.stop)
        watch.leave()
        with contextlib.suppress(OSError):
            if error:
                log.add("error", text=error)
        _end(store, run_id, attempt, state, error)
    dispatch(store)
    return 0


def _end(store: Store, run_id: str, attempt: int, state: State, error: str) -> None:
    """Record how the attempt ended; nothing when the disk refuses even that.

    The run then looks like one whose worker died, and goes on when there is room.
    """
    with contextlib.suppress(OSError, RunError):
        if state == "paused":
            store.pause(run_id, attempt, error)
        elif state == "cancelled" and store.pause(run_id, attempt):
            pass
        elif store.finish(run_id, attempt, state, error) and state == "done":
            checkpoints = importlib.import_module("pruning_core.runs.checkpoint")
            checkpoints.tidy_checkpoints(store.folder(run_id))


class Watch:
    """A thread that sees the wish to stop, also while the main thread is deep in one operation.

    Attributes:
        stop: Set when the run was cancelled or paused, or this attempt given up. A main thread
            that does not end by itself soon after is ended: every file is whole or absent, so
            nothing is lost.
    """

    def __init__(self, store: Store, run_id: str, attempt: int) -> None:
        self.stop: Final = threading.Event()
        self._left: Final = threading.Event()
        self._store = store
        self._id = run_id
        self._attempt = attempt

    def start(self) -> None:
        """Begin to look at the record several times a second."""
        threading.Thread(target=self._look, name="cancel-watch", daemon=True).start()

    def leave(self) -> None:
        """Stop looking: the run has ended by itself."""
        self._left.set()

    def _look(self) -> None:
        while not self._is_asked():
            if self._left.wait(_WATCH_SECONDS):
                return
        self.stop.set()
        if self._left.wait(_GRACE_SECONDS):
            return
        _log.info("stopped in the middle of an operation")
        with contextlib.suppress(PruningError, OSError):
            if not self._store.pause(self._id, self._attempt):
                self._store.finish(self._id, self._attempt, "cancelled")
            dispatch(self._store)
        os._exit(0)

    def _is_asked(self) -> bool:
        try:
            return self._store.is_cancelling(self._id, self._attempt)
        except RunError:
            return False  # the database is busy just now; it is asked again soon


def _be_modest() -> None:
    """Let the page have the processor first, and be the first to go when memory runs out."""
    with contextlib.suppress(OSError):
        os.nice(10)
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("500", encoding="ascii")


def _outcome(
    store: Store, run_id: str, attempt: int, log: Log, stop: threading.Event
) -> tuple[State, str]:
    """Carry the run out; return its last state, and why it failed or what is missing."""
    try:
        store.set_stage(run_id, attempt, "start")
        log.add("stage", stage="start", title="starting the worker", round=0)
        spec = read_spec(store.folder(run_id) / "spec.json")
        attempts = importlib.import_module("pruning_core.runs.attempt")
        missing = attempts.Attempt(store, spec, attempt, log, stop).run()
    except MemoryError:
        return "failed", "The memory ran out. Free some, or choose a smaller batch size."
    except Exception as error:
        if _is_full(error):
            return "paused", (
                "The disk is full. What was finished is kept: delete old runs or make room, then "
                "resume it."
            )
        if isinstance(error, PruningError):
            return "failed", str(error)
        _log.exception("the run failed")
        return "failed", (
            f"An error inside the program ended the run while it was in its stage "
            f"'{store.get(run_id).stage}' ({type(error).__name__}). The details are in the file "
            "worker.log of the run."
        )
    return ("cancelled", "") if missing is None else ("done", missing)


def _is_full(error: BaseException | None) -> bool:
    """Tell whether an error comes from a disk without room, also through others' wrappers."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in {errno.ENOSPC, errno.EDQUOT}:
            return True
        if isinstance(error, sqlite3.OperationalError) and "disk is full" in str(error):
            return True
        error = error.__cause__ or error.__context__
    return False


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
