"""The types of a data set: splits stored compactly, and what a registry entry says of itself."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, Protocol

import torch
from torch import Tensor

from pruning_core.errors import DataError
from pruning_core.tasks import CLASSES
from pruning_core.tasks.registry import CLASSIFICATION, Task

CALIBRATION_SAMPLES = 2_000

Source = Literal["auto", "bundled"]


@dataclass(frozen=True, slots=True, eq=False)
class Split:
    """Examples with their targets; a model sees ``(x / scale - mean) / std`` as float32.

    Attributes:
        inputs: ``[N, ...]`` as stored (uint8 for images); treat it as read-only.
        labels: The targets as the task says: of classes ``[N]`` int64,
            ``0 <= label < number of classes``.
        scale: What the stored values are divided by, so that they lie in 0..1.
        mean: Mean of the scaled training values.
        std: Standard deviation of the scaled training values.
        task: What is to be done with them.
        tokens: True where inputs are numbers of tokens; they are handed over as int64.
    """

    inputs: Tensor
    labels: Tensor
    scale: float
    mean: float
    std: float
    task: Task = CLASSIFICATION
    tokens: bool = False

    def __len__(self) -> int:
        return len(self.labels)

    def batch(
        self, indices: Tensor | slice, device: torch.device | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return normalised float32 inputs ``[B, ...]`` and the targets at ``indices``.

        They lie on ``device``; None means where the split does. Classes are int64, and so are
        tokens.
        """
        stored, labels = self.inputs[indices], self.labels[indices]
        if device is not None:
            stored, labels = stored.to(device), labels.to(device)
        if self.task.has_classes:
            labels = labels.long()
        if self.tokens:
            return stored.long(), labels
        inputs = stored.to(torch.float32, copy=True)
        return inputs.div_(self.scale).sub_(self.mean).div_(self.std), labels

    def as_tokens(self) -> "Split":
        """Return the same examples for a model that reads numbers of tokens.

        Raises:
            DataError: If the inputs are no whole numbers from 0.
        """
        if self.tokens:
            return self
        stored = self.inputs
        if stored.is_floating_point() and bool((stored == stored.floor()).all()):
            stored = stored.long()
        if stored.is_floating_point() or (stored.numel() and int(stored.min()) < 0):
            raise DataError(
                "The model reads tokens, which are whole numbers from 0, and the samples hold "
                "others. Choose the data the model was made for."
            )
        return replace(self, inputs=stored, tokens=True)

    def first(self, n: int | None) -> "Split":
        """Return the first ``n`` examples without copying them; None means all."""
        return self if n is None else replace(self, inputs=self.inputs[:n], labels=self.labels[:n])


@dataclass(frozen=True, slots=True, eq=False)
class Dataset:
    """One data set in three splits that share no example.

    Attributes:
        key: Its name in ``DATASETS``.
        title: Its name on the screen.
        classes: Names of the classes, in the order of the labels; empty where there are none.
        source: Which copy was read: ``bundled subset`` or ``full set``.
        licence: Licence and copyright holder, one line.
        train: What fine-tuning learns from.
        validation: What thresholds and settings are chosen on.
        test: What is reported; nothing is chosen on it.
        calibration: The first examples of the bundled training split whichever copy is read, so
            that importance scores and masks do not depend on the copy.
        input_shape: Shape of one example, without the batch axis.
    """

    key: str
    title: str
    classes: tuple[str, ...]
    source: str
    licence: str
    train: Split
    validation: Split
    test: Split
    calibration: Split
    input_shape: tuple[int, ...]

    def as_tokens(self) -> "Dataset":
        """Return the same data for a model that reads numbers of tokens.

        Raises:
            DataError: If the inputs are no whole numbers from 0.
        """
        names = ("train", "validation", "test", "calibration")
        return replace(self, **{name: getattr(self, name).as_tokens() for name in names})

    @property
    def task(self) -> Task:
        """What is to be done with the examples."""
        return self.train.task


class ReadDataset(Protocol):
    """Reads one data set."""

    def __call__(self, folder: Path | None, source: Source) -> Dataset:
        """Return the data set; ``folder`` is where the user says the full set lies, or None.

        Raises:
            DataError: If files are missing or damaged.
        """
        ...


@dataclass(frozen=True, slots=True)
class DatasetEntry:
    """A data set in the registry.

    Attributes:
        key: Its name in recipes.
        title: Its name on the screen.
        description: One or two sentences for the screen.
        load: Reads it.
        task: Key of its task in ``TASKS``.
    """

    key: str
    title: str
    description: str
    load: ReadDataset
    task: str = CLASSES
