"""Digits: 8 x 8 images of handwritten digits, 17 grey levels.

The test part of "Optical Recognition of Handwritten Digits" (Alpaydin and Kaynak 1998, UCI Machine
Learning Repository, doi:10.24432/C50P49), as scikit-learn ships it.
"""

from pathlib import Path
from typing import Final

from pruning_core.loading.archive import ASSETS, read_archive
from pruning_core.loading.datasets import DATASETS
from pruning_core.loading.split import CALIBRATION_SAMPLES, Dataset, DatasetEntry, Source

KEY: Final = "digits"
TITLE: Final = "Digits"
SCALE: Final = 16.0
MEAN: Final = 0.3051
STD: Final = 0.3762
SIZES: Final = {"train": 1_097, "validation": 200, "test": 500}
PARTITION_SEED: Final = 1998


def load(folder: Path | None, source: Source) -> Dataset:  # noqa: ARG001 - one interface for all sets
    """Return the set; all of it is bundled, so folder and source change nothing."""
    splits = read_archive(ASSETS / f"{KEY}.npz", scale=SCALE, mean=MEAN, std=STD)
    return Dataset(
        key=KEY,
        title=TITLE,
        classes=tuple("0123456789"),
        source="full set",
        licence="CC BY 4.0, Alpaydin and Kaynak 1998",
        train=splits["train"],
        validation=splits["validation"],
        test=splits["test"],
        calibration=splits["train"].first(CALIBRATION_SAMPLES),
        input_shape=(1, 8, 8),
    )


DATASETS.add(
    KEY,
    DatasetEntry(
        key=KEY,
        title=TITLE,
        description=(
            "1,797 images of handwritten digits, 8 x 8 pixels: small enough to train on in seconds."
        ),
        load=load,
    ),
)
