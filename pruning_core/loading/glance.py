"""A first look at a model before PyTorch is imported."""

import json
from math import prod
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from pruning_core.errors import DataError
from pruning_core.loading.card import ModelCard, weights_path

_LONGEST_HEADER: Final = 8_000_000


def count_values(path: Path) -> int:
    """Return how many values a safetensors file holds by its header; 0 where it has none."""
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if length > _LONGEST_HEADER:
                return 0
            header = json.loads(file.read(length))
        return sum(prod(entry["shape"]) for name, entry in header.items() if name[:2] != "__")
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return 0  # whoever opens it says what is wrong


def first_weights(card: ModelCard) -> NDArray[np.float32]:
    """Return the magnitudes of the first layer's weights, ``[out, in]`` with kernels laid flat.

    Raises:
        DataError: If the file is missing or damaged, or the card names no first layer.
    """
    path = weights_path(card.name)
    try:
        with safe_open(path, framework="numpy") as file:
            weights = np.asarray(file.get_tensor(card.first_layer), np.float32)
    except (OSError, SafetensorError) as error:
        raise DataError(
            f"The weights '{path.name}' of a bundled model cannot be read ({error}). Install "
            "Pruning Studio again."
        ) from None
    magnitudes: NDArray[np.float32] = np.abs(weights).reshape(weights.shape[0], -1)
    return magnitudes
