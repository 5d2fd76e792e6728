"""The checkpoints of a run that a command carries out: in its output folder, until it is done."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from pruning_core.errors import RunError
from pruning_core.planning.recipe import Recipe
from pruning_core.runs import atomic
from pruning_core.runs.checkpoint import (
    Checkpoint,
    checkpoint_files,
    checkpoint_in,
    newest_checkpoint,
    save_checkpoint,
)
from pruning_core.runs.events import Event
from pruning_core.team import Team

FOLDER: Final = "checkpoints"


class Keeper:
    """Keeps the checkpoints of one run, so that the same command goes on where it was ended.

    Attributes:
        epoch: The epoch after which the run can go on; 0 before there is one.
    """

    def __init__(self, out: Path, team: Team, tell: Callable[[str], None]) -> None:
        """Keep them in a folder of ``out``; of a team only the first process touches it.

        Args:
            out: The output folder of the run.
            team: The processes that carry it out.
            tell: Is given lines for a person.
        """
        self._folder = out / FOLDER
        self._team = team
        self._tell = tell
        self._is_full = False
        self.epoch = 0

    def newest(self, recipe: Recipe, *, afresh: bool) -> Checkpoint | None:
        """Return where an earlier call was, in every process; None at the beginning.

        Args:
            recipe: What is carried out now.
            afresh: True throws away what was kept.

        Raises:
            RunError: If what is kept belongs to another recipe.
        """
        content = self._team.first(lambda: self._content(recipe, afresh=afresh))
        found = None if content is None else checkpoint_in(content)
        if found is not None:
            self.epoch = found.epoch
            self._tell(
                f"Going on after epoch {found.epoch} of an earlier call (begin anew with "
                "--overwrite)."
            )
        return found

    def _content(self, recipe: Recipe, *, afresh: bool) -> bytes | None:
        if afresh:
            self.clear()
        if not self._folder.is_dir():
            return None
        atomic.sweep(self._folder)
        found, damaged = newest_checkpoint(self._folder)
        if damaged:
            self._tell(f"Damaged and therefore not used: {', '.join(damaged)}.")
        if found is None:
            return None
        if found.fingerprint != recipe.fingerprint:
            raise RunError(
                f"The output folder '{self._folder.parent}' holds an unfinished run of another "
                "recipe. Choose another --out, or add --overwrite."
            )
        names = [path for path in checkpoint_files(self._folder) if path.name not in damaged]
        return names[-1].read_bytes()

    def note(self, event: Event) -> None:
        """Keep a checkpoint; a disk that refuses is mentioned once, and the run goes on."""
        if not isinstance(event, Checkpoint) or not self._team.is_first:
            return
        try:
            self._folder.mkdir(exist_ok=True)
            save_checkpoint(self._folder, event)
            self.epoch = event.epoch
        except OSError as error:
            if not self._is_full:
                self._tell(f"  note: no checkpoint can be kept ({error.strerror}).")
            self._is_full = True

    def clear(self) -> None:
        """Remove all that was kept: the run is done."""
        if not self._team.is_first or not self._folder.is_dir():
            return
        atomic.sweep(self._folder)
        for path in checkpoint_files(self._folder):
            path.unlink(missing_ok=True)
        if not any(self._folder.iterdir()):
            self._folder.rmdir()

    @contextmanager
    def remembered(self) -> Iterator[None]:
        """Say how the run can go on when the block is left early."""
        try:
            yield
        except BaseException:
            if self._team.is_first:
                with suppress(OSError):  # it holds something, or was never made
                    self._folder.rmdir()
            if self.epoch:
                self._tell(
                    f"What was finished is kept: the same command goes on after epoch {self.epoch}."
                )
            raise
