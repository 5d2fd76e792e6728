"""Reading IDX files, the format of MNIST and its relatives, from sources one need not trust."""

import gzip
import math
import zlib
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from pruning_core.errors import DataError

MAX_VALUES = 1_000_000_000
_UNSIGNED_BYTE = 0x08


def read_idx(path: Path, n_axes: int) -> NDArray[np.uint8]:
    """Return the values of an IDX file of unsigned bytes, plain or gzipped (by its ``.gz`` suffix).

    The header is read first; no more than one byte beyond what it announces is ever unpacked.

    Args:
        path: The file.
        n_axes: Axes it must have: 3 for images, 1 for labels.

    Raises:
        DataError: If the file is missing, is no such IDX file, or is longer or shorter than its
            header says.
    """
    try:
        with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as file:
            return _read(file, path, n_axes)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(
            f"'{path}' cannot be read: {str(error)[:160]}. Install the data set again."
        ) from None


def _read(file: BinaryIO | gzip.GzipFile, path: Path, n_axes: int) -> NDArray[np.uint8]:
    header = file.read(4 + 4 * n_axes)
    if len(header) < 4 + 4 * n_axes or header[:4] != bytes((0, 0, _UNSIGNED_BYTE, n_axes)):
        raise DataError(
            f"'{path}' is no IDX file of unsigned bytes with {n_axes} axes: it begins with "
            f"{header[:4].hex() or 'nothing'}."
        )
    shape = tuple(int(size) for size in np.frombuffer(header, ">u4", offset=4))
    expected = math.prod(shape)
    if not 0 < expected <= MAX_VALUES:
        raise DataError(
            f"'{path}' announces {expected:,} values; between 1 and {MAX_VALUES:,} are read."
        )
    values = file.read(expected + 1)
    if len(values) != expected:
        found = f"only {len(values):,}" if len(values) < expected else "more"
        raise DataError(f"'{path}' announces {expected:,} values but holds {found}.")
    return np.frombuffer(values, np.uint8).reshape(shape)
