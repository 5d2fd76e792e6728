"""Fashion-MNIST: 28 x 28 grey images of ten kinds of clothing.

Xiao, Rasul and Vollgraf 2017, arXiv:1708.07747; MIT licence, Zalando SE.
"""

from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pruning_core.errors import DataError
from pruning_core.loading.archive import ASSETS, image_split, read_archive
from pruning_core.loading.datasets import DATASETS
from pruning_core.loading.idx import read_idx
from pruning_core.loading.partition import divide
from pruning_core.loading.split import CALIBRATION_SAMPLES, Dataset, DatasetEntry, Source, Split

KEY: Final = "fashion_mnist"
TITLE: Final = "Fashion-MNIST"
CLASSES: Final = (
    "T-shirt/top", "trouser", "pullover", "dress", "coat",
    "sandal", "shirt", "sneaker", "bag", "ankle boot",
)  # fmt: skip
SCALE: Final = 255.0
MEAN: Final = 0.2860
STD: Final = 0.3530

SYSTEM_FOLDER: Final = Path("/usr/share/datasets/fashion-mnist")
FOLDERS: Final = ("", "fashion-mnist", "FashionMNIST/raw")
TRAINING: Final = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte")
TEST: Final = ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")

PARTITION_SEED: Final = 20_170_825
FULL_SIZES: Final = {"train": 55_000, "validation": 5_000, "test": 10_000}
SUBSET_SIZES: Final = {"train": 9_000, "validation": 3_000, "test": 5_000}

Arrays = tuple[NDArray[np.uint8], NDArray[np.uint8]]


def find_files(folder: Path) -> Path | None:
    """Return the folder at or below ``folder`` that holds the four files, gzipped or plain."""
    for below in FOLDERS:
        place = folder / below
        if all(_file(place, name).is_file() for name in (*TRAINING, *TEST)):
            return place
    return None


def read_full(folder: Path) -> dict[str, Arrays]:
    """Return images ``[N, 28, 28]`` and labels ``[N]`` of the splits of the full set.

    The 60,000 training images are divided into train and validation; each split is in an order
    that is balanced over the classes, and the bundled subset is the beginning of each.

    Args:
        folder: What ``find_files`` returned.

    Raises:
        DataError: If a file is damaged or is not of Fashion-MNIST's size.
    """
    n_train, n_validation = FULL_SIZES["train"], FULL_SIZES["validation"]
    images, labels = _read_pair(folder, TRAINING, n_train + n_validation)
    validation, train = divide(labels, (n_validation, n_train), PARTITION_SEED)
    test_images, test_labels = _read_pair(folder, TEST, FULL_SIZES["test"])
    (test,) = divide(test_labels, (FULL_SIZES["test"],), PARTITION_SEED)
    return {
        "train": (images[train], labels[train]),
        "validation": (images[validation], labels[validation]),
        "test": (test_images[test], test_labels[test]),
    }


def load(folder: Path | None, source: Source) -> Dataset:
    """Return the full set where it is found, otherwise the bundled subset."""
    bundled = read_archive(ASSETS / f"{KEY}.npz", scale=SCALE, mean=MEAN, std=STD)
    found = None
    if source == "auto":
        found = (find_files(folder) if folder else None) or find_files(SYSTEM_FOLDER)
    splits = bundled
    if found:
        splits = {
            name: image_split(*arrays, scale=SCALE, mean=MEAN, std=STD)
            for name, arrays in read_full(found).items()
        }
    return _dataset(splits, bundled["train"], "full set" if found else "bundled subset")


def _dataset(splits: dict[str, Split], bundled_train: Split, source: str) -> Dataset:
    return Dataset(
        key=KEY,
        title=TITLE,
        classes=CLASSES,
        source=source,
        licence="MIT, copyright 2017 Zalando SE",
        train=splits["train"],
        validation=splits["validation"],
        test=splits["test"],
        calibration=bundled_train.first(CALIBRATION_SAMPLES),
        input_shape=(1, 28, 28),
    )


def _file(folder: Path, name: str) -> Path:
    """Return the gzipped file if it exists, otherwise the plain one."""
    gzipped = folder / f"{name}.gz"
    return gzipped if gzipped.is_file() else folder / name


def _read_pair(folder: Path, names: tuple[str, str], n: int) -> Arrays:
    images = read_idx(_file(folder, names[0]), 3)
    labels = read_idx(_file(folder, names[1]), 1)
    if images.shape != (n, 28, 28) or labels.shape != (n,):
        raise DataError(
            f"'{folder}' holds images {images.shape} and labels {labels.shape}; Fashion-MNIST has "
            f"({n}, 28, 28) and ({n},)."
        )
    if labels.max() >= len(CLASSES):
        raise DataError(
            f"'{folder}' holds the label {labels.max()}; Fashion-MNIST has 0 to {len(CLASSES) - 1}."
        )
    return images, labels


DATASETS.add(
    KEY,
    DatasetEntry(
        key=KEY,
        title=TITLE,
        description=(
            "28 x 28 grey images of ten kinds of clothing. A balanced subset is bundled; the full "
            "70,000 images are used where they are installed."
        ),
        load=load,
    ),
)
