"""How large the safetensors file of a state dict will be, for many sets of shapes at once."""

import json
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from pruning_core.loading.weights import TYPE_NAMES, TYPE_ORDER

Counts = NDArray[np.int64]


class DenseFileSize:
    """Size of the safetensors file of a state dict, from shapes alone.

    The format is 8 bytes of length, a JSON header padded to 8 bytes, then the tensors, ordered by
    descending type (larger elements first) and then by name. A file with text metadata is larger.
    """

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        """Compile names, types and numbers of axes of ``tensors``; their sizes come later."""
        names = list(tensors)
        self._item = np.array([tensors[name].element_size() for name in names], np.int64)
        self._ndim = np.array([tensors[name].ndim for name in names], np.int64)
        self._order = np.array(
            sorted(
                range(len(names)), key=lambda i: (-TYPE_ORDER[tensors[names[i]].dtype], names[i])
            ),
            np.int64,
        )
        entries = {
            name: {
                "dtype": TYPE_NAMES[tensors[name].dtype],
                "shape": [],
                "data_offsets": ["", ""],
            }
            for name in names
        }
        text = json.dumps(entries, separators=(",", ":"), ensure_ascii=False)
        quotes = 4 * len(names)  # the placeholders above are quoted, numbers are not
        commas = int(np.maximum(self._ndim - 1, 0).sum())
        self._constant = len(text.encode()) - quotes + commas

    def n_bytes(self, shapes: Counts, elements: Counts) -> Counts:
        """Return ``[P]`` bytes for ``shapes`` ``[P, T, A]`` (ones beyond a tensor's own axes)."""
        ends = np.cumsum((elements * self._item)[:, self._order], axis=1)
        starts = np.concatenate([np.zeros((len(ends), 1), np.int64), ends[:, :-1]], axis=1)
        own = np.arange(shapes.shape[2]) < self._ndim[:, None]
        digits = (_digits(shapes) * own).sum(axis=(1, 2))
        header = self._constant + digits + _digits(starts).sum(axis=1) + _digits(ends).sum(axis=1)
        total = ends[:, -1] if ends.shape[1] else np.zeros(len(ends), np.int64)
        return np.asarray(8 + (header + 7) // 8 * 8 + total, np.int64)


def _digits(numbers: Counts) -> Counts:
    """Return how many decimal digits each number >= 0 has."""
    powers = 10 ** np.arange(1, 19, dtype=np.int64)
    return 1 + np.searchsorted(powers, numbers, side="right").astype(np.int64)
