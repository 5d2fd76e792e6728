"""TensorBoard event files of a run, for those who use TensorBoard; the package is optional."""

import warnings
from pathlib import Path
from types import TracebackType
from typing import Any

from torch import nn

from pruning_core.errors import RunError
from pruning_core.planning.recipe import Recipe
from pruning_core.runs.events import (
    Evaluated,
    Event,
    Finished,
    Note,
    Previewed,
    RoundFinished,
    Shrunk,
)
from pruning_core.tasks.registry import headline
from pruning_core.tuning.finetune import BatchProgress, EpochResult

_TOTALS = {
    "params": "parameters",
    "nonzero": "parameters not zero",
    "macs": "MACs",
    "n_bytes": "bytes",
}


def check_installed() -> None:
    """Refuse to go on without TensorBoard.

    Raises:
        RunError: With the command that installs it.
    """
    _writer_class()


def _writer_class() -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # remarks on packages that TensorBoard does without
            from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise RunError(
            "Event files need the package tensorboard, which is not installed. Install it with: "
            "python -m pip install -r requirements-cluster.txt"
        ) from None
    return SummaryWriter


class EventFiles:
    """Writes what happens in a run as scalars by epoch, and its notes and recipe as text."""

    def __init__(self, folder: Path, recipe: Recipe, *, epoch: int = 0) -> None:
        """Begin a file in ``folder``, which is made if needed.

        Args:
            folder: Several runs are compared when each has a folder of its own below one.
            recipe: Its content is shown as text.
            epoch: Epochs that an earlier call finished and wrote; TensorBoard hides what that one
                wrote about later epochs.

        Raises:
            RunError: If TensorBoard is not installed or the folder cannot be used.
        """
        try:
            self._writer = _writer_class()(str(folder), purge_step=epoch + 1 if epoch else None)
        except OSError as error:
            raise RunError(
                f"The folder for event files, '{folder}', cannot be used: {error.strerror}."
            ) from error
        self._epoch = epoch
        if not epoch:
            indented = "\n".join(f"    {line}" for line in recipe.to_json().splitlines())
            self._writer.add_text("recipe", indented, 0)

    def __enter__(self) -> "EventFiles":
        """Return the files themselves."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Write out what is left."""
        self._writer.close()

    def add(self, event: Event) -> None:
        """Write what an event says; steps are epochs, of batches they are batches."""
        match event:
            case BatchProgress():
                step = (event.epoch - 1) * event.n_batches + event.batch
                self._writer.add_scalar("batch/loss", event.loss, step)
            case EpochResult():
                self._add_epoch(event)
            case Previewed():
                self._add_totals(event)
            case Evaluated():
                metric = headline(event.evaluation.task)
                self._scalar(f"test {metric.name}/{event.moment}", event.evaluation.headline)
                self._scalar(f"test loss/{event.moment}", event.evaluation.loss)
            case Shrunk():
                self._epoch = event.epoch
                self._scalar("sparse training/share of zeros", event.n_zero / max(1, event.n))
            case RoundFinished():
                self._scalar("round/removed", event.removed)
            case Note():
                self._writer.add_text("notes", event.text, self._epoch)
            case Finished():
                self._add_weights(event.result.surgery.module)

    def _add_epoch(self, event: EpochResult) -> None:
        self._epoch = event.epoch
        self._scalar("loss/training", event.loss)
        self._scalar("loss/validation", event.validation_loss)
        name = headline(event.task).name
        self._scalar(f"{name}/training", event.accuracy)
        self._scalar(f"{name}/validation", event.validation_accuracy)
        self._scalar("epoch/learning rate", event.learning_rate)
        self._scalar("epoch/examples per second", event.examples_per_second)
        self._writer.flush()

    def _add_totals(self, event: Previewed) -> None:
        for name, title in _TOTALS.items():
            self._scalar(f"left/{title}", float(getattr(event.after, name)))
        for layer, (before, after) in event.nonzero.items():
            self._scalar(f"sparsity/{layer}", 1 - after / before if before else 0.0)

    def _add_weights(self, module: nn.Module) -> None:
        """Write a histogram of each parameter's numbers that are not zero."""
        for name, parameter in module.named_parameters():
            left = parameter.detach()[parameter.detach() != 0]
            if left.numel():
                self._writer.add_histogram(f"not zero/{name}", left, self._epoch)

    def _scalar(self, tag: str, value: float) -> None:
        self._writer.add_scalar(tag, value, self._epoch)
