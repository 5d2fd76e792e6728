"""Four calls that carry a recipe out somewhere: submit, poll, cancel, fetch."""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from pruning_core.errors import RunError
from pruning_core.planning.recipe import Recipe
from pruning_core.runs import dispatcher
from pruning_core.runs.store import FINISHED, State, Store


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run is.

    Attributes:
        id: Its name.
        state: As in :mod:`pruning_core.runs.store`.
        epoch: Epochs finished.
        n_epochs: Epochs in all.
        error: Why it failed, or what could not be written; empty otherwise.
    """

    id: str
    state: State
    epoch: int
    n_epochs: int
    error: str

    @property
    def is_finished(self) -> bool:
        """True when nothing will happen to the run any more."""
        return self.state in FINISHED


class Runner(Protocol):
    """Carries recipes out, beside this process or elsewhere; runs outlive this process."""

    def submit(self, recipe: Recipe, *, device: str = "") -> str:
        """Queue a run and return its id.

        Raises:
            RunError: If it cannot be queued.
        """
        ...

    def poll(self, run_id: str) -> Progress:
        """Return how far a run is.

        Raises:
            RunError: If there is no such run.
        """
        ...

    def cancel(self, run_id: str) -> Progress:
        """Ask a run to stop; a finished one stays as it is.

        Raises:
            RunError: If there is no such run.
        """
        ...

    def fetch(self, run_id: str, folder: Path) -> tuple[Path, ...]:
        """Copy the files of a finished run to ``folder`` and return their paths.

        Raises:
            RunError: If there is no such run, or it is not done.
        """
        ...


class Here:
    """Runs of this machine, one process each; the page shows the same ones."""

    def __init__(self, store: Store | None = None, *, tensorboard: bool = False) -> None:
        """Use the runs of ``store`` (None: of this server); new ones may write event files."""
        self._store = store or Store()
        self._tensorboard = tensorboard

    def submit(self, recipe: Recipe, *, device: str = "") -> str:
        """See :class:`Runner`."""
        return dispatcher.submit(
            recipe, device=device, tensorboard=self._tensorboard, store=self._store
        )

    def poll(self, run_id: str) -> Progress:
        """See :class:`Runner`."""
        record = dispatcher.poll(run_id, store=self._store)
        return Progress(record.id, record.state, record.epoch, record.n_epochs, record.error)

    def cancel(self, run_id: str) -> Progress:
        """See :class:`Runner`."""
        dispatcher.cancel(run_id, store=self._store)
        return self.poll(run_id)

    def fetch(self, run_id: str, folder: Path) -> tuple[Path, ...]:
        """See :class:`Runner`."""
        return copied(self.poll(run_id), self._store.folder(run_id) / "export", folder)


def copied(progress: Progress, export: Path, folder: Path) -> tuple[Path, ...]:
    """Copy the files in ``export`` of a run to ``folder``.

    Raises:
        RunError: If the run is not done, or the files cannot be copied.
    """
    if progress.state != "done":
        raise RunError(
            f"Run {progress.id} is {progress.state}; its files are there once it is done."
            + (f" {progress.error}" if progress.error else "")
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return tuple(
            Path(shutil.copy2(path, folder / path.name))
            for path in sorted(export.iterdir())
            if path.is_file()
        )
    except OSError as error:
        raise RunError(
            f"The files of run {progress.id} cannot be copied to '{folder}': {error.strerror}. "
            "Choose another folder."
        ) from error
