"""The types of a data set: splits stored compactly, and what a registry entry says of itself."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, Protocol

import torch
from torch import Tensor

CALIBRATION_SAMPLES = 2_000

Source = Literal["auto", "bundled"]


@dataclass(frozen=True, slots=True, eq=False)
class Split:
    """Labelled examples; a model sees ``(x / scale - mean) / std`` as float32.

    Attributes:
        inputs: ``[N, ...]`` as stored (uint8 for images); treat it as read-only.
        labels: ``[N]`` int64, ``0 <= label < number of classes``.
        scale: What the stored values are divided by, so that they lie in 0..1.
        mean: Mean of the scaled training values.
        std: Standard deviation of the scaled training values.
    """

    inputs: Tensor
    labels: Tensor
    scale: float
    mean: float
    std: float

    def __len__(self) -> int:
        return len(self.labels)

    def batch(
        self, indices: Tensor | slice, device: torch.device | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return normalised float32 inputs ``[B, ...]`` and int64 labels ``[B]`` at ``indices``.

        They lie on ``device``; None means where the split does.
        """
        stored, labels = self.inputs[indices], self.labels[indices]
        if device is not None:
            stored, labels = stored.to(device), labels.to(device)
        inputs = stored.to(torch.float32, copy=True)
        return inputs.div_(self.scale).sub_(self.mean).div_(self.std), labels

    def first(self, n: int | None) -> "Split":
        """Return the first ``n`` examples without copying them; None means all."""
        return self if n is None else replace(self, inputs=self.inputs[:n], labels=self.labels[:n])


@dataclass(frozen=True, slots=True, eq=False)
class Dataset:
    """One data set in three splits that share no example.

    Attributes:
        key: Its name in ``DATASETS``.
        title: Its name on the screen.
        classes: Names of the classes, in the order of the labels.
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
    """

    key: str
    title: str
    description: str
    load: ReadDataset
