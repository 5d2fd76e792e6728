"""One attempt at a run: carries the recipe out and stores all that is reported on the way."""

import contextlib
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from typing import Final

from pruning_core.errors import RunError
from pruning_core.evaluation.stopping import StoppedError
from pruning_core.loading.permitted import is_permitted
from pruning_core.runs import atomic
from pruning_core.runs.checkpoint import (
    ROOM_BYTES,
    Checkpoint,
    newest_checkpoint,
    read_checkpoint,
    save_checkpoint,
)
from pruning_core.runs.events import (
    Evaluated,
    Event,
    Finished,
    Loaded,
    Note,
    Previewed,
    RoundFinished,
    Shrunk,
    StageStarted,
)
from pruning_core.runs.log import Log
from pruning_core.runs.pipeline import RunResult, execute, write_run
from pruning_core.runs.store import FORK_FILE, Spec, Store
from pruning_core.tasks.registry import TASKS
from pruning_core.tuning.finetune import BatchProgress, EpochResult

METRICS: Final = ("accuracy", "precision", "recall", "f1", "loss", "n")
_SPARE_BYTES: Final = 50_000_000
_KINDS: Final = {Shrunk: "shrunk", EpochResult: "epoch", RoundFinished: "round"}


class Attempt:
    """Runs the pipeline and turns its events into log lines, checkpoints and the record.

    Only the worker makes one; it holds the run's lock meanwhile.
    """

    def __init__(
        self, store: Store, spec: Spec, number: int, log: Log, stop: threading.Event
    ) -> None:
        self._store = store
        self._spec = spec
        self._number = number
        self._log = log
        self._stop = stop
        self._folder = store.folder(spec.id)
        self._begun = time.monotonic()
        self._last_batch = 0.0

    def run(self) -> str | None:
        """Carry the run out and write its files.

        Returns:
            A sentence on the files that could not be written, empty when all were; None when the
            run was stopped before its end.

        Raises:
            PruningError: If the recipe cannot be carried out.
        """
        atomic.sweep(self._folder)
        resume, damaged = newest_checkpoint(self._folder)
        if damaged:
            self._note(f"Damaged and therefore not used: {', '.join(damaged)}.")
        if resume is None and self._spec.parent:
            resume = self._parents()
        elif self._number > 1:
            where = f"on after epoch {resume.epoch}" if resume else "back to the beginning"
            paused = self._store.get(self._spec.id).paused_attempt == self._number - 1
            why = "Resumed" if paused else "The worker before this one ended early"
            self._note(f"{why}; going {where}.")
        events = execute(
            self._spec.recipe,
            allow_python=is_permitted(self._spec.recipe.model),
            resume=resume,
            threads=self._spec.threads,
            device=self._spec.device,
            should_stop=self._stop.is_set,
        )
        with (
            self._event_files(resume) as write,
            contextlib.closing(events),
            contextlib.suppress(StoppedError),
        ):
            for event in events:
                write(event)
                if isinstance(event, Finished):
                    return self._write(event.result)
                self._store_event(event)
                if self._stop.is_set():
                    break
        return None

    @contextlib.contextmanager
    def _event_files(self, resume: Checkpoint | None) -> Iterator[Callable[[Event], None]]:
        """Yield what writes an event to TensorBoard, where the run is asked to."""
        if not self._spec.tensorboard:
            yield lambda _: None
            return
        from pruning_core.runs.event_files import EventFiles

        epoch = resume.epoch if resume and not resume.is_fork else 0
        with EventFiles(self._folder / "tensorboard", self._spec.recipe, epoch=epoch) as files:
            for known in resume.epochs if resume and resume.is_fork else ():
                files.add(known)
            yield files.add

    def _parents(self) -> Checkpoint:
        """Return the checkpoint the run was forked from, and take its measurements over.

        Raises:
            RunError: If it is damaged.
        """
        checkpoint = read_checkpoint(self._folder / FORK_FILE)
        if checkpoint is None:
            raise RunError(
                f"The checkpoint this run was forked from is damaged. Fork run {self._spec.parent} "
                "again."
            )
        self._note(f"Forked from run {self._spec.parent} after epoch {self._spec.parent_epoch}.")
        for epoch in checkpoint.epochs:
            self._store_event(epoch)
        if checkpoint.dense is not None:
            self._store_event(Evaluated("dense", checkpoint.dense))
        if checkpoint.pruned is not None:
            self._store_event(Evaluated("pruned", checkpoint.pruned))
        return replace(checkpoint, is_fork=True)

    def _write(self, result: RunResult) -> str:
        self._enter(StageStarted("export", 0, 1))
        folder = self._folder / "export"
        folder.mkdir(exist_ok=True, mode=0o700)
        return " ".join(write_run(result, folder).problems.values())

    def _store_event(self, event: Event) -> None:
        """Store one event; a batch only now and then."""
        match event:
            case BatchProgress():
                self._batch(event)
            case Checkpoint():
                save_checkpoint(self._folder, event)
                self._still_ours(self._store.set_epoch(self._spec.id, self._number, event.epoch))
            case StageStarted():
                self._enter(event)
            case Loaded():
                self._log.add("loaded", **asdict(event))
                self._check_room(event.n_bytes)
            case Note():
                self._note(event.text)
            case Shrunk() | EpochResult() | RoundFinished():
                self._log.add(_KINDS[type(event)], **asdict(event))
            case Previewed():
                self._log.add("preview", **asdict(event))
            case Evaluated():
                found = event.evaluation
                values = {name: getattr(found, name) for name in METRICS}
                if not TASKS[found.task].counts_classes:
                    values = {"accuracy": found.headline, "loss": found.loss, "n": found.n}
                self._log.add("evaluation", moment=event.moment, task=found.task, **values)
                self._store.set_accuracy(
                    self._spec.id, self._number, event.moment, found.headline, found.task
                )

    def _enter(self, event: StageStarted) -> None:
        self._log.add("stage", stage=event.stage, title=event.title, round=event.round)
        self._still_ours(self._store.set_stage(self._spec.id, self._number, event.stage))

    def _note(self, text: str) -> None:
        self._log.add("note", text=text)

    def _batch(self, event: BatchProgress) -> None:
        """Log twice a second at first and at last every five seconds, so that logs stay small."""
        now = time.monotonic()
        interval = min(5.0, max(0.5, (now - self._begun) / 1200))
        if now - self._last_batch >= interval:
            self._last_batch = now
            self._log.add("batch", **asdict(event))

    def _still_ours(self, changed: bool) -> None:
        """Stop when the record belongs to a later attempt."""
        if not changed:
            self._stop.set()

    def _check_room(self, n_bytes: int) -> None:
        """Refuse to start a run whose files will not fit.

        Raises:
            RunError: If less is free than checkpoints (weights, two optimiser moments and the best
                weights where they are kept, three files at once) and exports of a model of
                ``n_bytes`` need.
        """
        n_copies = 4 if self._spec.recipe.tuning.restore_best else 3
        n_rounds = self._spec.recipe.schedule.rounds
        ends = min(ROOM_BYTES, (n_rounds - 1) * n_copies * n_bytes)
        needed = (3 * n_copies + 4) * n_bytes + ends + _SPARE_BYTES
        free = shutil.disk_usage(self._folder).free
        if free < needed:
            raise RunError(
                f"This run needs about {needed / 1e6:.0f} MB for its checkpoints and files, and "
                f"{free / 1e6:.0f} MB are free. Delete old runs or make room."
            )
