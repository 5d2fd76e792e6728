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

    Attributes:
        order: ``[T]`` the tensors, by their place in the mapping, in the order of the file.
    """

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        """Compile names, types and numbers of axes of ``tensors``; their sizes come later."""
        names = list(tensors)
        order = sorted(
            range(len(names)), key=lambda i: (-TYPE_ORDER[tensors[names[i]].dtype], names[i])
        )
        self.order = np.array(order, np.int64)
        self._item = np.array([tensors[names[i]].element_size() for i in order], np.int64)
        # Each end is written as the start of the next tensor too, and the first start is "0".
        self._written = np.full(len(names), 2, np.int64)
        self._written[-1:] = 1
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
        commas = sum(max(tensor.ndim - 1, 0) for tensor in tensors.values())
        self._constant = len(text.encode()) - quotes + commas + min(len(names), 1)

    def n_bytes(self, elements: Counts, shape_digits: Counts) -> Counts:
        """Return ``[P]`` bytes.

        Args:
            elements: ``[P, T]`` of each tensor, the tensors taken in :attr:`order`.
            shape_digits: ``[P]`` decimal digits of all sizes in all shapes.
        """
        ends = np.cumsum(elements * self._item, axis=1)
        header = self._constant + shape_digits + digits(ends) @ self._written
        total = ends[:, -1] if ends.shape[1] else np.zeros(len(ends), np.int64)
        return np.asarray(8 + (header + 7) // 8 * 8 + total, np.int64)

    def n_bytes_along(
        self, elements: Counts, columns: Counts, remaining: Counts, shape_digits: Counts
    ) -> Counts:
        """Return ``[P]`` bytes while a few tensors shrink and all others stay as they are.

        Args:
            elements: ``[T]`` of each tensor, in :attr:`order`, as they are.
            columns: ``[F]`` places of the tensors that shrink, ascending.
            remaining: ``[F, P]`` their elements, falling.
            shape_digits: ``[P]`` decimal digits of all sizes in all shapes.
        """
        ends = np.cumsum(elements * self._item)
        lost = np.zeros((len(columns) + 1, remaining.shape[1]), np.int64)
        lost[1:] = (elements[columns, None] - remaining) * self._item[columns, None]
        np.cumsum(lost, axis=0, out=lost)
        before = np.searchsorted(columns, np.arange(len(ends)), side="right")
        # Ends fall from row to row: only where the first and the last differ the others matter.
        first = digits(ends - lost[before, 0])
        differ = np.flatnonzero(first != digits(ends - lost[before, -1]))
        written = self._written[differ]
        offset_digits = written @ digits(ends[differ, None] - lost[before[differ]])
        header = self._constant + shape_digits + offset_digits
        header += first @ self._written - first[differ] @ written
        return np.asarray(8 + (header + 7) // 8 * 8 + ends[-1] - lost[-1], np.int64)


_POWERS = 10 ** np.arange(1, 19, dtype=np.int64)


def digits(numbers: Counts) -> Counts:
    """Return how many decimal digits each number >= 0 has."""
    return 1 + np.searchsorted(_POWERS, numbers, side="right").astype(np.int64)
