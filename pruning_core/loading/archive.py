"""Bundled data sets: one compressed NumPy archive of three splits each."""

import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from pruning_core.errors import DataError
from pruning_core.loading.split import Split

ASSETS = Path(__file__).parent / "assets"
SPLITS = ("train", "validation", "test")


def write_archive(
    path: Path, splits: Mapping[str, tuple[NDArray[np.uint8], NDArray[np.uint8]]]
) -> None:
    """Write inputs ``[N, H, W]`` and labels ``[N]`` of every split to ``path``."""
    arrays: dict[str, NDArray[np.uint8]] = {}
    for name in SPLITS:
        arrays[f"{name}_inputs"], arrays[f"{name}_labels"] = splits[name]
    with path.open("wb") as file:
        np.savez_compressed(file, allow_pickle=False, **arrays)


def read_archive(path: Path, *, scale: float, mean: float, std: float) -> dict[str, Split]:
    """Return the splits of an archive; images get a channel axis, ``[N, 1, H, W]``.

    Raises:
        DataError: If the file is missing or damaged.
    """
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return {
                name: image_split(
                    arrays[f"{name}_inputs"],
                    arrays[f"{name}_labels"],
                    scale=scale,
                    mean=mean,
                    std=std,
                )
                for name in SPLITS
            }
    except (OSError, EOFError, KeyError, ValueError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(
            f"The bundled data file '{path.name}' cannot be read: {str(error)[:160]}. Install "
            "Pruning Studio again."
        ) from None


def image_split(
    images: NDArray[np.uint8],
    labels: NDArray[np.uint8],
    *,
    scale: float,
    mean: float,
    std: float,
) -> Split:
    """Return grey images ``[N, H, W]`` and labels ``[N]`` as a split with a channel axis."""
    return Split(
        inputs=torch.from_numpy(np.array(images, np.uint8))[:, None],
        labels=torch.from_numpy(labels.astype(np.int64)),
        scale=scale,
        mean=mean,
        std=std,
    )
