"""The records of runs: one SQLite file and one folder per run, shared by pages, workers and tests.

State folder (``PRUNING_STUDIO_STATE``, else the XDG state home)::

    jobs.sqlite3                          one row per run
    runs/<id>/spec.json                   what was asked for; enough to rebuild the row
    runs/<id>/epoch_00007.ckpt            checkpoints, see runs/checkpoint.py
    runs/<id>/log.jsonl                   events, see runs/log.py
    runs/<id>/result.json                 how it ended; written before the row says so
    runs/<id>/export/                     the files to download
    runs/<id>/tensorboard/                event files, where they are asked for

A run moves ``queued -> running -> done | failed``; ``queued -> cancelled``; ``running ->
cancelling -> cancelled``; ``running -> pausing -> paused -> queued``; and ``running -> queued``
when its worker died. Every change a worker makes carries its attempt number, so that a worker that
was given up can change nothing any more.
"""

import json
import re
import secrets
import shutil
import sqlite3
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Final, Literal

from pruning_core.errors import PruningError, RunError
from pruning_core.exporting.titles import title_of
from pruning_core.folders import state_folder
from pruning_core.loading.intake.store import IN_USE
from pruning_core.planning.recipe import Recipe
from pruning_core.runs import atomic
from pruning_core.runs.events import Moment
from pruning_core.tasks import CLASSES

State = Literal[
    "queued", "running", "pausing", "paused", "cancelling", "cancelled", "done", "failed"
]

MOMENTS: Final[tuple[Moment, ...]] = ("dense", "pruned", "tuned")
SCHEMA_VERSION: Final = 4
QUEUE_LIMIT: Final = 20
_LEAST_BYTES: Final = 100_000
FORK_FILE: Final = "fork.ckpt"
FINISHED: Final[frozenset[str]] = frozenset({"cancelled", "done", "failed"})
WORKING: Final[tuple[State, ...]] = ("running", "pausing", "cancelling")
"""A run in one of these has a worker, or had one that died."""
_WORKING: Final = "('running', 'pausing', 'cancelling')"
_ID: Final = re.compile(r"[0-9]{8}-[0-9]{6}-[0-9a-f]{6}")
_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS runs (
    id TEXT PRIMARY KEY, created REAL NOT NULL, title TEXT NOT NULL, fingerprint TEXT NOT NULL,
    n_epochs INTEGER NOT NULL, state TEXT NOT NULL, stage TEXT NOT NULL DEFAULT '',
    epoch INTEGER NOT NULL DEFAULT 0, attempt INTEGER NOT NULL DEFAULT 0,
    stalled INTEGER NOT NULL DEFAULT 0, pid INTEGER, mark TEXT, cancel_asked REAL,
    started REAL, finished REAL, error TEXT NOT NULL DEFAULT ''
) STRICT;
CREATE INDEX IF NOT EXISTS runs_by_state ON runs (state, created, id);
CREATE TABLE IF NOT EXISTS notices (time REAL NOT NULL, text TEXT NOT NULL) STRICT;
"""
_ADDED: Final[Mapping[int, str]] = {
    2: """
ALTER TABLE runs ADD COLUMN group_id TEXT NOT NULL DEFAULT '';
ALTER TABLE runs ADD COLUMN label TEXT NOT NULL DEFAULT '';
ALTER TABLE runs ADD COLUMN parent TEXT NOT NULL DEFAULT '';
ALTER TABLE runs ADD COLUMN parent_epoch INTEGER NOT NULL DEFAULT 0;
ALTER TABLE runs ADD COLUMN paused_attempt INTEGER NOT NULL DEFAULT 0;
CREATE INDEX runs_by_recipe ON runs (fingerprint, state);
CREATE INDEX runs_by_group ON runs (group_id)
""",
    3: """
ALTER TABLE runs ADD COLUMN dense REAL;
ALTER TABLE runs ADD COLUMN pruned REAL;
ALTER TABLE runs ADD COLUMN tuned REAL
""",
    4: f"ALTER TABLE runs ADD COLUMN task TEXT NOT NULL DEFAULT '{CLASSES}'",
}
"""What each later version of the schema added; the first is ``_SCHEMA``."""


@dataclass(frozen=True, slots=True)
class Record:
    """One run as the page lists it.

    Attributes:
        id: Our own name for it, ``YYYYMMDD-HHMMSS-xxxxxx`` (UTC).
        created: When it was queued, Unix seconds.
        title: One line for the screen.
        fingerprint: Fingerprint of the recipe.
        n_epochs: Epochs of sparse training and of fine-tuning over all rounds.
        state: See the module text.
        stage: What it is doing now, or did last.
        epoch: Epochs finished.
        attempt: How many workers were started for it.
        stalled: Workers started since an epoch was last finished.
        pid: Process id of the worker; None when there is none.
        mark: Which process that is, see :func:`pruning_core.runs.process.start_mark`.
        cancel_asked: When cancelling was asked for, Unix seconds; None when it was not.
        started: When its first worker was started, Unix seconds; None before.
        finished: When it ended, Unix seconds; None before.
        error: Why it failed, or what a finished run could not write; empty otherwise.
        group_id: What runs that were started together have in common; empty for a single run.
        label: What tells it apart in its group.
        parent: The run it was forked from; empty otherwise.
        parent_epoch: After which epoch of that run.
        paused_attempt: The attempt that was last paused; 0 before any was.
        dense: Test accuracy of the dense network, share of one, or what another task is judged by;
            None where it was not measured.
        pruned: The same right after pruning.
        tuned: The same after fine-tuning.
        task: Key of what was measured.
    """

    id: str
    created: float
    title: str
    fingerprint: str
    n_epochs: int
    state: State
    stage: str
    epoch: int
    attempt: int
    stalled: int
    pid: int | None
    mark: str | None
    cancel_asked: float | None
    started: float | None
    finished: float | None
    error: str
    group_id: str
    label: str
    parent: str
    parent_epoch: int
    paused_attempt: int
    dense: float | None
    pruned: float | None
    tuned: float | None
    task: str = CLASSES

    @property
    def is_finished(self) -> bool:
        """True when nothing will happen to the run any more."""
        return self.state in FINISHED


@dataclass(frozen=True, slots=True)
class Fork:
    """Where a run goes on from.

    Attributes:
        parent: The run whose checkpoint it is.
        epoch: After which epoch.
        n_epochs: Epochs of the new run in all, those of the parent included.
        checkpoint: The file.
    """

    parent: str
    epoch: int
    n_epochs: int
    checkpoint: Path


@dataclass(frozen=True, slots=True)
class Spec:
    """What a worker needs to carry a run out: ``spec.json``.

    Attributes:
        id: The run.
        created: When it was queued, Unix seconds.
        threads: Threads torch uses, the same in every attempt (other counts give other bits).
        recipe: The recipe.
        device: Where it computes, the same in every attempt; empty asks the worker's environment.
        group_id: See :class:`Record`.
        label: See :class:`Record`.
        parent: See :class:`Record`; its checkpoint lies in the folder as ``FORK_FILE``.
        parent_epoch: See :class:`Record`.
        n_epochs: Epochs in all; None means those of the recipe.
        tensorboard: Whether TensorBoard event files are written, to ``tensorboard`` in the folder.
    """

    id: str
    created: float
    threads: int
    recipe: Recipe
    device: str = ""
    group_id: str = ""
    label: str = ""
    parent: str = ""
    parent_epoch: int = 0
    n_epochs: int | None = None
    tensorboard: bool = False

    def to_json(self) -> str:
        """Return the document that :func:`read_spec` reads."""
        document = {
            "version": SCHEMA_VERSION,
            "id": self.id,
            "created": self.created,
            "threads": self.threads,
            "device": self.device,
            "group_id": self.group_id,
            "label": self.label,
            "parent": self.parent,
            "parent_epoch": self.parent_epoch,
            "n_epochs": self.n_epochs,
            "tensorboard": self.tensorboard,
            "recipe": self.recipe.model_dump(mode="json"),
        }
        return json.dumps(document, indent=2) + "\n"


def read_spec(path: Path) -> Spec:
    """Read ``spec.json``.

    Raises:
        RunError: If the file is missing or damaged.
    """
    try:
        document = json.loads(path.read_bytes())
        recipe = Recipe.from_json(json.dumps(document["recipe"]))
        n_epochs = document.get("n_epochs")
        return Spec(
            str(document["id"]),
            float(document["created"]),
            int(document["threads"]),
            recipe,
            device=str(document.get("device", "")),
            group_id=str(document.get("group_id", "")),
            label=str(document.get("label", "")),
            parent=str(document.get("parent", "")),
            parent_epoch=int(document.get("parent_epoch", 0)),
            n_epochs=None if n_epochs is None else int(n_epochs),
            tensorboard=document.get("tensorboard") is True,
        )
    except (OSError, ValueError, KeyError, TypeError, PruningError) as error:
        reason = (isinstance(error, OSError) and error.strerror) or error  # no path
        raise RunError(
            f"The description of run {path.parent.name} cannot be read ({reason}). "
            "Delete the run and start it again."
        ) from error


def new_id(now: float) -> str:
    """Return a fresh run id; ``now`` is in Unix seconds."""
    return f"{time.strftime('%Y%m%d-%H%M%S', time.gmtime(now))}-{secrets.token_hex(3)}"


def epochs_of(recipe: Recipe) -> int:
    """Return the epochs of sparse training and of fine-tuning over all rounds."""
    return recipe.n_sparse_epochs + recipe.n_epochs


class Store:
    """The runs in one state folder. Cheap to make; every call opens and closes the database."""

    def __init__(self, folder: Path | None = None) -> None:
        """Open (or make, private to the user) the state folder; None means :func:`state_folder`.

        Raises:
            RunError: If the folder cannot be used, or a newer version of this program wrote it.
        """
        self.root = (folder or state_folder()).absolute()
        self._database = self.root / "jobs.sqlite3"
        try:
            self.root.mkdir(parents=True, exist_ok=True, mode=0o700)
            if self.root.stat().st_mode & 0o077:
                self.root.chmod(0o700)
            (self.root / "runs").mkdir(exist_ok=True, mode=0o700)
        except OSError as error:
            raise RunError(
                f"The folder for runs, '{self.root.name}', cannot be used: {error.strerror}. Set "
                "PRUNING_STUDIO_STATE to a folder of yours that can be written to."
            ) from error
        self._prepare()

    def folder(self, run_id: str) -> Path:
        """Return the folder of a run.

        Raises:
            RunError: If ``run_id`` is not one of ours (it may come from an address).
        """
        if not _ID.fullmatch(run_id):
            raise RunError(f"No run is called '{run_id[:60]}'. Choose one from the list of runs.")
        return self.root / "runs" / run_id

    def add(
        self,
        recipe: Recipe,
        *,
        threads: int,
        device: str = "",
        group_id: str = "",
        label: str = "",
        fork: Fork | None = None,
        tensorboard: bool = False,
    ) -> Record:
        """Write the run's ``spec.json`` and queue it; afterwards it cannot get lost.

        Args:
            recipe: What to do.
            threads: Threads to compute with.
            device: See :class:`Spec`.
            group_id: See :class:`Record`.
            label: See :class:`Record`.
            fork: What it goes on from; None for a run from the beginning.
            tensorboard: See :class:`Spec`.

        Raises:
            RunError: If the queue is full or the disk refuses.
        """
        now = time.time()
        spec = Spec(new_id(now), now, threads, recipe, device, group_id=group_id, label=label)
        spec = replace(spec, tensorboard=tensorboard)
        if fork is not None:
            spec = replace(
                spec, parent=fork.parent, parent_epoch=fork.epoch, n_epochs=fork.n_epochs
            )
        folder = self.folder(spec.id)
        self.check_room(1)
        try:
            folder.mkdir(mode=0o700)
            if fork is not None:
                atomic.write_bytes(folder / FORK_FILE, fork.checkpoint.read_bytes())
            atomic.write_bytes(folder / "spec.json", spec.to_json().encode())
            with self._write() as connection:
                (waiting,) = connection.execute(
                    "SELECT count(*) FROM runs WHERE state = 'queued'"
                ).fetchone()
                if waiting >= QUEUE_LIMIT:
                    raise _queue_is_full()
                _insert(connection, spec, "queued")
        except (OSError, RunError) as error:
            shutil.rmtree(folder, ignore_errors=True)
            if isinstance(error, OSError):
                raise RunError(f"The run could not be queued: {error.strerror}.") from error
            raise
        return self.get(spec.id)

    def adopt(
        self,
        recipe: Recipe,
        export: Path,
        *,
        label: str,
        accuracy: Mapping[str, float | None],
        task: str = CLASSES,
    ) -> Record:
        """List a run that was carried out elsewhere as done, and take its files.

        Args:
            recipe: What was done.
            export: The folder of its files; it is moved. On the same disk as the state folder.
            label: See :class:`Record`.
            accuracy: Test accuracy at each moment, share of one, or what another task is judged by.
            task: Key of what was measured.

        Raises:
            RunError: If the disk refuses.
        """
        now = time.time()
        spec = Spec(new_id(now), now, 1, recipe, label=label)
        folder = self.folder(spec.id)
        result = {"version": SCHEMA_VERSION, "state": "done", "error": "", "finished": now}
        result |= {"stage": "done", "epoch": epochs_of(recipe), "attempt": 0, "started": None}
        result |= {moment: accuracy.get(moment) for moment in MOMENTS} | {"task": task}
        try:
            folder.mkdir(mode=0o700)
            export.rename(folder / "export")
            atomic.write_bytes(folder / "result.json", json.dumps(result, indent=2).encode())
            atomic.write_bytes(folder / "spec.json", spec.to_json().encode())
            with self._write() as connection:
                _restore(connection, folder / "spec.json")
        except (OSError, RunError) as error:
            shutil.rmtree(folder, ignore_errors=True)
            if isinstance(error, OSError):
                raise RunError(f"The run could not be kept: {error.strerror}.") from error
            raise
        return self.get(spec.id)

    def check_room(self, n_runs: int) -> None:
        """Refuse to queue more runs than the queue takes.

        Raises:
            RunError: If fewer than ``n_runs`` places are free.
        """
        if self.n_in("queued") + n_runs > QUEUE_LIMIT:
            raise _queue_is_full()

    def get(self, run_id: str) -> Record:
        """Return the record of a run.

        Raises:
            RunError: If there is no such run.
        """
        self.folder(run_id)
        found = self._select("WHERE id = ?", run_id)
        if not found:
            raise RunError(f"No run is called '{run_id}'. It may have been deleted.")
        return found[0]

    def all(self) -> tuple[Record, ...]:
        """Return every record, the newest first."""
        return self._select("ORDER BY created DESC, id DESC")

    def done(self, fingerprint: str) -> tuple[Record, ...]:
        """Return the finished runs of one recipe, the newest first.

        Forks are left out: their first epochs obeyed another recipe.
        """
        return self._select(
            "WHERE fingerprint = ? AND state = 'done' AND parent = '' "
            "ORDER BY created DESC, id DESC",
            fingerprint,
        )

    def group(self, group_id: str) -> tuple[Record, ...]:
        """Return the runs of one group, the oldest first."""
        return self._select("WHERE group_id = ? ORDER BY created, id", group_id)

    def in_state(self, *states: State) -> tuple[Record, ...]:
        """Return the records in any of ``states``, the oldest first."""
        marks = ", ".join("?" * len(states))
        return self._select(f"WHERE state IN ({marks}) ORDER BY created, id", *states)

    def n_in(self, *states: State) -> int:
        """Return how many runs are in any of ``states``."""
        return len(self.in_state(*states))

    def notices(self) -> tuple[str, ...]:
        """Return what the user must know about the store itself, e.g. that it was rebuilt."""
        with self._read() as connection:
            rows = connection.execute("SELECT text FROM notices ORDER BY time").fetchall()
        return tuple(text for (text,) in rows)

    def claim(self, limit: int) -> Record | None:
        """Move the oldest queued run to running, unless ``limit`` runs are; None when none moved.

        Whatever number of processes claim at once, each run is claimed by one.
        """
        with self._write() as connection:
            (active,) = connection.execute(
                f"SELECT count(*) FROM runs WHERE state IN {_WORKING}"
            ).fetchone()
            if active >= limit:
                return None
            row = connection.execute(
                "UPDATE runs SET state = 'running', stage = 'start', attempt = attempt + 1, "
                "stalled = stalled + 1, pid = NULL, mark = NULL, "
                "started = coalesce(started, ?) WHERE id = (SELECT id FROM runs "
                "WHERE state = 'queued' ORDER BY created, id LIMIT 1) RETURNING id",
                (time.time(),),
            ).fetchone()
        return self.get(row[0]) if row else None

    def set_worker(self, run_id: str, attempt: int, pid: int, mark: str) -> bool:
        """Record which process works on the run; False when this attempt was given up."""
        return self._change(run_id, attempt, "pid = ?, mark = ?", pid, mark)

    def set_stage(self, run_id: str, attempt: int, stage: str) -> bool:
        """Record what the run is doing; False when this attempt was given up."""
        return self._change(run_id, attempt, "stage = ?", stage)

    def set_epoch(self, run_id: str, attempt: int, epoch: int) -> bool:
        """Record a finished epoch (1-based); False when this attempt was given up."""
        return self._change(
            run_id,
            attempt,
            "stalled = CASE WHEN ?1 > epoch THEN 0 ELSE stalled END, epoch = max(epoch, ?1)",
            epoch,
        )

    def set_accuracy(
        self, run_id: str, attempt: int, moment: Moment, accuracy: float, task: str = CLASSES
    ) -> bool:
        """Record a test accuracy, a share of one, or what another task is judged by.

        False when this attempt was given up.
        """
        return self._change(run_id, attempt, f"{moment} = ?, task = ?", accuracy, task)

    def is_cancelling(self, run_id: str, attempt: int) -> bool:
        """Tell whether the worker of this attempt should stop: asked to, or given up."""
        with self._read() as connection:
            row = connection.execute(
                "SELECT state, attempt FROM runs WHERE id = ?", (run_id,)
            ).fetchone()
        return row is None or row[0] != "running" or row[1] != attempt

    def finish(self, run_id: str, attempt: int, state: State, error: str = "") -> bool:
        """Write ``result.json``, then end the run; False when this attempt was given up.

        Args:
            run_id: The run.
            attempt: The attempt that ended; the record must still be at it.
            state: ``done``, ``failed`` or ``cancelled``.
            error: One sentence, see :class:`Record`.
        """
        record = self.get(run_id)
        if record.attempt != attempt or record.is_finished:
            return False
        now = time.time()
        result = {
            "version": SCHEMA_VERSION,
            "state": state,
            "error": error,
            "finished": now,
            "stage": record.stage,
            "epoch": record.epoch,
            "attempt": attempt,
            "started": record.started,
            "dense": record.dense,
            "pruned": record.pruned,
            "tuned": record.tuned,
            "task": record.task,
        }
        path = self.folder(run_id) / "result.json"
        atomic.write_bytes(path, (json.dumps(result, indent=2) + "\n").encode())
        with self._write() as connection:
            changed = connection.execute(
                "UPDATE runs SET state = ?, error = ?, finished = ?, pid = NULL, mark = NULL "
                "WHERE id = ? AND attempt = ? AND state NOT IN ('done', 'failed', 'cancelled')",
                (state, error, now, run_id, attempt),
            ).rowcount
        return bool(changed)

    def requeue(self, run_id: str, attempt: int) -> bool:
        """Put a run whose worker died back into the queue; False when someone else did."""
        with self._write() as connection:
            changed = connection.execute(
                "UPDATE runs SET state = 'queued', stage = 'wait', pid = NULL, mark = NULL "
                "WHERE id = ? AND attempt = ? AND state = 'running'",
                (run_id, attempt),
            ).rowcount
        return bool(changed)

    def ask_to_cancel(self, run_id: str) -> Record:
        """Cancel a run without worker at once, mark a working one; others stay as they are.

        Raises:
            RunError: If there is no such run.
        """
        record = self.get(run_id)
        waits = record.state in {"queued", "paused"}
        if waits and self.finish(run_id, record.attempt, "cancelled"):
            return self.get(run_id)
        with self._write() as connection:
            connection.execute(
                "UPDATE runs SET state = 'cancelling', cancel_asked = ? "
                "WHERE id = ? AND state IN ('running', 'pausing')",
                (time.time(), run_id),
            )
        return self.get(run_id)

    def ask_to_pause(self, run_id: str) -> Record:
        """Pause a queued run at once, mark a running one for its worker; others stay as they are.

        Raises:
            RunError: If there is no such run.
        """
        with self._write() as connection:
            connection.execute(
                "UPDATE runs SET state = CASE state WHEN 'queued' THEN 'paused' ELSE 'pausing' END,"
                " cancel_asked = ? WHERE id = ? AND state IN ('queued', 'running')",
                (time.time(), run_id),
            )
        return self.get(run_id)

    def pause(self, run_id: str, attempt: int, reason: str = "") -> bool:
        """Let go of the worker of a run that was asked to pause; False when it was not.

        With a ``reason`` the run is paused without having been asked to.
        """
        with self._write() as connection:
            changed = connection.execute(
                "UPDATE runs SET state = 'paused', pid = NULL, mark = NULL, paused_attempt = ?2, "
                "error = ?3 WHERE id = ?1 AND attempt = ?2 "
                "AND (state = 'pausing' OR (state = 'running' AND ?3 != ''))",
                (run_id, attempt, reason),
            ).rowcount
        return bool(changed)

    def resume(self, run_id: str) -> Record:
        """Queue a paused run again; others stay as they are.

        Raises:
            RunError: If there is no such run, or the queue is full.
        """
        if self.get(run_id).state == "paused":
            self.check_room(1)
        with self._write() as connection:
            connection.execute(
                "UPDATE runs SET state = 'queued', stage = 'wait', stalled = 0, error = '', "
                "cancel_asked = NULL WHERE id = ? AND state = 'paused'",
                (run_id,),
            )
        return self.get(run_id)

    def delete(self, run_id: str) -> None:
        """Remove a finished run and its files.

        Raises:
            RunError: If there is no such run, or it is not finished.
        """
        record = self.get(run_id)
        with self._write() as connection:
            gone = connection.execute(
                "DELETE FROM runs WHERE id = ? AND state IN ('done', 'failed', 'cancelled')",
                (run_id,),
            ).rowcount
            if not gone:
                raise RunError(f"Run {run_id} is {record.state}. Cancel it before you delete it.")
            # Without its description a half-deleted run is never rebuilt.
            (self.folder(run_id) / "spec.json").unlink(missing_ok=True)
        shutil.rmtree(self.folder(run_id), ignore_errors=True)

    def tidy(self) -> None:
        """Fold the write-ahead log back when it has grown; only the dispatcher calls this."""
        log = self._database.with_name(self._database.name + "-wal")
        try:
            n_bytes = log.stat().st_size
        except FileNotFoundError:  # whoever closes the file last takes the log away
            return
        if n_bytes > 1_000_000:
            with closing(self._connect()) as connection:
                connection.execute("PRAGMA wal_checkpoint(PASSIVE)")

    def _change(self, run_id: str, attempt: int, assignment: str, *values: Any) -> bool:
        place = len(values)
        with self._write() as connection:
            changed = connection.execute(
                f"UPDATE runs SET {assignment} WHERE id = ?{place + 1} AND attempt = ?{place + 2} "
                f"AND state IN {_WORKING}",
                (*values, run_id, attempt),
            ).rowcount
        return bool(changed)

    def _select(self, clause: str, *values: Any) -> tuple[Record, ...]:
        columns = ", ".join(field.name for field in fields(Record))
        with self._read() as connection:
            rows = connection.execute(f"SELECT {columns} FROM runs {clause}", values).fetchall()
        return tuple(Record(*row) for row in rows)

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._database, timeout=10, isolation_level=None)
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA wal_autocheckpoint = 0")
        return connection

    @contextmanager
    def _read(self) -> Iterator[sqlite3.Connection]:
        """Yield a connection; a database that turns out to be damaged is rebuilt, and said so."""
        try:
            with closing(self._connect()) as connection:
                yield connection
        except sqlite3.OperationalError as error:
            why = str(error)
            if shutil.disk_usage(self.root).free < _LEAST_BYTES:
                why = "the disk is full. Delete something and try again"
            raise RunError(f"The list of runs cannot be used just now: {why}.") from error
        except sqlite3.DatabaseError as error:
            self._prepare()
            raise RunError(
                "The list of runs was damaged and had to be rebuilt from the runs' folders. "
                "Try again."
            ) from error

    @contextmanager
    def _write(self) -> Iterator[sqlite3.Connection]:
        """Yield a connection inside BEGIN IMMEDIATE; commit when the block ends well."""
        with self._read() as connection:
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
            except BaseException:
                connection.execute("ROLLBACK")
                raise
            connection.execute("COMMIT")

    def _prepare(self) -> None:
        """Make the tables, refuse a newer schema, and rebuild a damaged database."""
        with atomic.exclusive(self.root / "store.lock"):
            try:
                with closing(self._connect()) as connection:
                    self._check_or_create(connection)
            except sqlite3.OperationalError as error:
                raise RunError(f"The list of runs cannot be opened: {error}.") from error
            except sqlite3.DatabaseError:
                self._rebuild()

    def _check_or_create(self, connection: sqlite3.Connection) -> None:
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if version > SCHEMA_VERSION:
            raise RunError(
                f"The runs in '{self.root.name}' were written by a newer version (schema "
                f"{version}; this program knows {SCHEMA_VERSION}). Update the program, or set "
                "PRUNING_STUDIO_STATE to another folder."
            )
        if version:
            _check_whole(connection)
        else:
            connection.execute("PRAGMA journal_mode = WAL")
        _bring_up_to_date(connection, version)

    def _rebuild(self) -> None:
        """Move the damaged database aside and write a new one from the runs' folders."""
        aside = f"jobs.broken-{time.time_ns()}.sqlite3"
        for suffix in ("", "-wal", "-shm"):
            part = self._database.with_name(self._database.name + suffix)
            if part.exists():
                part.replace(self.root / (aside + suffix))
        specs = sorted((self.root / "runs").glob("*/spec.json"))
        with closing(self._connect()) as connection:
            connection.execute("PRAGMA journal_mode = WAL")
            _bring_up_to_date(connection, 0)
            connection.execute("BEGIN IMMEDIATE")
            n_found = sum(_restore(connection, path) for path in specs)
            connection.execute(
                "INSERT INTO notices VALUES (?, ?)",
                (
                    time.time(),
                    f"The list of runs was damaged; it was moved aside as '{aside}' and rebuilt "
                    f"with the {n_found} runs found in their folders. Runs that were not finished "
                    "are queued again and go on from their last finished epoch.",
                ),
            )
            connection.execute("COMMIT")


def _bring_up_to_date(connection: sqlite3.Connection, version: int) -> None:
    """Make the tables, or add what the versions after ``version`` added."""
    if version == SCHEMA_VERSION:
        return
    statements = [] if version else _SCHEMA.split(";")
    for number in range(max(version, 1) + 1, SCHEMA_VERSION + 1):
        statements += _ADDED[number].split(";")
    connection.execute("BEGIN IMMEDIATE")
    for statement in statements:
        connection.execute(statement)
    connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
    connection.execute("COMMIT")


def _check_whole(connection: sqlite3.Connection) -> None:
    """Raise sqlite3.DatabaseError when pages of the file contradict each other."""
    (verdict,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    if verdict != "ok":
        raise sqlite3.DatabaseError(verdict)


def _insert(connection: sqlite3.Connection, spec: Spec, state: State) -> None:
    recipe = spec.recipe
    connection.execute(
        "INSERT INTO runs (id, created, title, fingerprint, n_epochs, state, stage, group_id, "
        "label, parent, parent_epoch, epoch) VALUES (?, ?, ?, ?, ?, ?, 'wait', ?, ?, ?, ?, ?)",
        (
            spec.id,
            spec.created,
            title_of(recipe),
            recipe.fingerprint,
            epochs_of(recipe) if spec.n_epochs is None else spec.n_epochs,
            state,
            spec.group_id,
            spec.label,
            spec.parent,
            spec.parent_epoch,
            spec.parent_epoch,
        ),
    )


def _restore(connection: sqlite3.Connection, path: Path) -> int:
    """Write the row of the run with this ``spec.json``; return 1, or 0 when it cannot be read."""
    try:
        spec = read_spec(path)
    except RunError:
        return 0
    if spec.id != path.parent.name:
        return 0
    _insert(connection, spec, "queued")
    try:
        result = json.loads((path.parent / "result.json").read_bytes())
        if result["state"] in FINISHED:
            names = ("state", "error", "finished", "stage", "epoch", "attempt", "started")
            values = [*(result[name] for name in names), *map(result.get, MOMENTS)]
            columns = (*names, *MOMENTS, "task")
            connection.execute(
                f"UPDATE runs SET {', '.join(f'{name} = ?' for name in columns)} WHERE id = ?",
                (*values, result.get("task", CLASSES), spec.id),
            )
    except (OSError, ValueError, KeyError, TypeError, sqlite3.IntegrityError):
        pass  # no result: it was not finished, and stays queued
    return 1


def _queue_is_full() -> RunError:
    return RunError(
        f"{QUEUE_LIMIT} runs are waiting already. Cancel one, or wait until one has finished."
    )


def _unfinished() -> str:
    """Return what the runs that are still to be carried out were asked for."""
    store = Store()
    texts = []
    for record in store.all():
        if not record.is_finished:
            with suppress(OSError):
                spec = store.folder(record.id) / "spec.json"
                texts.append(spec.read_text(encoding="utf-8"))
    return " ".join(texts)


IN_USE.append(_unfinished)
