"""What the log of a run says so far: a pure function from log entries to what the page shows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Entry = Mapping[str, Any]


@dataclass(frozen=True, slots=True, eq=False)
class Progress:
    """A run as its log tells it.

    Attributes:
        stage: What it is doing, in words; empty before it started.
        fraction: Share of the fine-tuning that is done, 0 to 1.
        epochs: The finished epochs, in order, as they were logged.
        accuracy: Test accuracy by moment (``dense``, ``pruned``, ``tuned``), share of one.
        n_test: Test examples behind them; 0 before the first.
        batch_loss: Loss of the last batch that was logged; None before the first.
        examples_per_second: Of the last finished epoch; None before.
        seconds_left: Of the fine-tuning, from the mean time of an epoch; None before the first.
        notes: Sentences for the user.
    """

    stage: str
    fraction: float
    epochs: tuple[Entry, ...]
    accuracy: Mapping[str, float]
    n_test: int
    batch_loss: float | None
    examples_per_second: float | None
    seconds_left: float | None
    notes: tuple[str, ...]

    def series(self, name: str) -> NDArray[np.float64]:
        """Return one value of every finished epoch, ``[E]``."""
        return np.array([entry[name] for entry in self.epochs], np.float64)


def summarise(entries: Sequence[Entry], n_epochs: int) -> Progress:
    """Return what ``entries`` say; an epoch repeated after a restart counts once.

    Args:
        entries: The log, oldest first.
        n_epochs: Epochs of the whole run.
    """
    epochs = {int(entry["epoch"]): entry for entry in entries if entry["kind"] == "epoch"}
    finished = tuple(epochs[number] for number in sorted(epochs))
    stages = [entry for entry in entries if entry["kind"] == "stage"]
    measured = [entry for entry in entries if entry["kind"] == "evaluation"]
    batches = [entry for entry in entries if entry["kind"] == "batch"]
    last = batches[-1] if batches else None
    done = float(len(finished))
    if last is not None and last["epoch"] == len(finished) + 1:
        done += last["batch"] / max(1, last["n_batches"])
    seconds = float(np.mean([entry["seconds"] for entry in finished])) if finished else None
    return Progress(
        stage=str(stages[-1]["title"]) if stages else "",
        fraction=min(1.0, done / n_epochs) if n_epochs else 0.0,
        epochs=finished,
        accuracy={entry["moment"]: float(entry["accuracy"]) for entry in measured},
        n_test=int(measured[-1]["n"]) if measured else 0,
        batch_loss=float(last["loss"]) if last else None,
        examples_per_second=finished[-1]["examples_per_second"] if finished else None,
        seconds_left=None if seconds is None else max(0.0, (n_epochs - done) * seconds),
        notes=tuple(str(entry["text"]) for entry in entries if entry["kind"] in {"note", "error"}),
    )
