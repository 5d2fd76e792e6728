"""Write the bundled data: a subset of Fashion-MNIST, and scikit-learn's digits, in seeded splits.

Usage: python -m scripts.make_subset [--source FOLDER]
"""

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import load_digits

from pruning_core.errors import DataError, PruningError
from pruning_core.loading.archive import ASSETS, write_archive
from pruning_core.loading.datasets import digits, fashion_mnist
from pruning_core.loading.partition import divide

Arrays = tuple[NDArray[np.uint8], NDArray[np.uint8]]


def fashion_mnist_splits(folder: Path) -> dict[str, Arrays]:
    """Return the beginning of every split of the full set.

    Raises:
        DataError: If the folder does not hold Fashion-MNIST.
    """
    found = fashion_mnist.find_files(folder)
    if found is None:
        raise DataError(
            f"'{folder}' does not hold {', '.join((*fashion_mnist.TRAINING, *fashion_mnist.TEST))} "
            "(plain or .gz). Install Debian's dataset-fashion-mnist or name a folder."
        )
    return {
        name: (images[:n], labels[:n])
        for (name, n), (images, labels) in zip(
            fashion_mnist.SUBSET_SIZES.items(),
            fashion_mnist.read_full(found).values(),
            strict=True,
        )
    }


def digits_splits() -> dict[str, Arrays]:
    """Return scikit-learn's digits, divided into the splits."""
    values, labels = load_digits(return_X_y=True)
    images = values.astype(np.uint8).reshape(-1, 8, 8)
    indices = divide(labels, tuple(digits.SIZES.values()), digits.PARTITION_SEED)
    return {
        name: (images[chosen], labels[chosen].astype(np.uint8))
        for name, chosen in zip(digits.SIZES, indices, strict=True)
    }


def main() -> None:
    """Read the sources and write both archives."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--source", type=Path, default=fashion_mnist.SYSTEM_FOLDER)
    folder = parser.parse_args().source
    try:
        sets = {fashion_mnist.KEY: fashion_mnist_splits(folder), digits.KEY: digits_splits()}
    except PruningError as error:
        raise SystemExit(str(error)) from None
    for key, splits in sets.items():
        path = ASSETS / f"{key}.npz"
        write_archive(path, splits)
        sizes = ", ".join(f"{name} {len(labels):,}" for name, (_, labels) in splits.items())
        print(f"{path.name}: {sizes}; {path.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
