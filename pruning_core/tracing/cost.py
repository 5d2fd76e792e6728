"""Exact cost as arithmetic on kept units: no model is touched to answer a what-if.

Every axis of every tensor and of every costly operator has a vector of labels; its size after
pruning is a constant plus a sum over kept units. Parameters, bytes and MACs are products and sums
of such sizes, computed in 64-bit integers.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from pruning_core.loading.file_size import DenseFileSize
from pruning_core.tracing.analysis import NO_UNIT, Analysis

Counts = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Costs:
    """Costs of ``P`` what-if queries.

    Attributes:
        params: ``[P, n_parameters]`` elements of each parameter.
        macs: ``[P, n_products]`` multiply-accumulates of each costly operator, for one sample.
        zeros: ``[P, n_parameters]`` elements that are zero in the model as it is now.
        n_bytes: ``[P]`` bytes of the dense safetensors file, header included.
    """

    params: Counts
    macs: Counts
    zeros: Counts
    n_bytes: Counts


class CostModel:
    """Answers what a network costs when any set of units is gone."""

    def __init__(
        self, analysis: Analysis, parameters: Sequence[str], stored: Mapping[str, str]
    ) -> None:
        """Compile the label vectors of ``analysis``.

        Args:
            analysis: Labels and units of the traced graph.
            parameters: Names of the parameters, buffers excluded.
            stored: Names in the state dict -> names in ``analysis.tensors``; a tied parameter is
                stored under each of its names.
        """
        vectors = _Vectors(analysis)
        tensors = analysis.tensors
        self.parameters = tuple(parameters)
        self._tensor_axes = _table(
            [[vectors.index(labels) for labels in analysis.axes[name]] for name in tensors]
        )
        self._product_axes = _table(
            [[vectors.index(labels) for labels in p.axes] for p in analysis.products]
        )
        self._sizes, self._use = vectors.compile()
        self._file = DenseFileSize({name: tensors[stored[name]] for name in stored})
        place = {name: number for number, name in enumerate(tensors)}
        self._is_stored = np.array([place[name] for name in stored.values()], np.int64)
        self._is_parameter = np.array([place[name] for name in parameters], np.int64)
        self._zeros = [_ZeroTable.of(analysis, name) for name in parameters]
        self.n_units = analysis.n_units

    def query(self, keep: NDArray[np.bool_]) -> Costs:
        """Return the cost when the units ``keep`` (``[n_units]`` or ``[P, n_units]``) stay."""
        keep = np.atleast_2d(keep)
        removed = (~keep).astype(np.int64)
        sizes = self._sizes - np.asarray(self._use @ removed.T).T
        return self._costs(sizes, [table.count(keep) for table in self._zeros])

    def sweep(self, keep: NDArray[np.bool_], order: NDArray[np.int64], positions: Counts) -> Costs:
        """Return the cost after removing the first ``positions[p]`` units of ``order``.

        Args:
            keep: ``[n_units]`` the starting point, in which the units of ``order`` stay.
            order: Unit numbers in the order they would leave.
            positions: ``[P]`` ascending counts, ``0 <= p <= len(order)``.
        """
        start = self._sizes - np.asarray(self._use @ (~keep).astype(np.int64))
        columns = np.asarray(self._use[:, order].todense(), np.int64)
        gone = np.zeros((len(order) + 1, len(self._sizes)), np.int64)
        np.cumsum(columns.T, axis=0, out=gone[1:])
        leaves_at = np.full(self.n_units, len(order) + 1, np.int64)
        leaves_at[order] = np.arange(len(order))
        leaves_at[~keep] = -1
        zeros = [table.count_along(leaves_at, positions) for table in self._zeros]
        return self._costs(start - gone[positions], zeros)

    def _costs(self, sizes: Counts, zeros: list[Counts]) -> Costs:
        padded = np.concatenate([sizes, np.ones((len(sizes), 1), np.int64)], axis=1)
        shapes = padded[:, self._tensor_axes]
        elements = shapes.prod(axis=2)
        macs = padded[:, self._product_axes].prod(axis=2)
        stacked = np.stack(zeros, axis=1) if zeros else np.zeros((len(sizes), 0), np.int64)
        stored = self._is_stored
        n_bytes = self._file.n_bytes(shapes[:, stored], elements[:, stored])
        return Costs(elements[:, self._is_parameter], macs, stacked, n_bytes)


class _Vectors:
    """Distinct label vectors, each with its dense size and its indices for each unit."""

    def __init__(self, analysis: Analysis) -> None:
        self._unit_of = analysis.unit_of
        self._n_units = analysis.n_units
        self._known: dict[bytes, int] = {}
        self._units: list[NDArray[np.int32]] = []

    def index(self, labels: NDArray[np.int32]) -> int:
        units = self._unit_of[labels.ravel()]
        key = units.tobytes()
        if key not in self._known:
            self._known[key] = len(self._units)
            self._units.append(units)
        return self._known[key]

    def compile(self) -> tuple[Counts, "csr_matrix"]:
        sizes = np.array([len(units) for units in self._units], np.int64)
        rows = np.repeat(np.arange(len(self._units)), sizes)
        columns = np.concatenate(self._units) if self._units else np.zeros(0, np.int32)
        live = columns != NO_UNIT
        ones = np.ones(int(live.sum()), np.int64)
        shape = (len(self._units), self._n_units)
        return sizes, csr_matrix((ones, (rows[live], columns[live])), shape=shape)


def _table(rows: list[list[int]]) -> NDArray[np.int64]:
    """Pad index rows to equal length with -1, which stands for a factor of one."""
    width = max((len(row) for row in rows), default=0)
    table = np.full((len(rows), width), -1, np.int64)
    for number, row in enumerate(rows):
        table[number, : len(row)] = row
    return table


@dataclass(frozen=True, slots=True, eq=False)
class _ZeroTable:
    """How many zeros a parameter holds for each combination of units its axes belong to."""

    units: NDArray[np.int32]  # [combinations, n_axes]
    counts: Counts  # [combinations]

    @classmethod
    def of(cls, analysis: Analysis, name: str) -> "_ZeroTable":
        positions = np.nonzero((analysis.tensors[name].detach() == 0).cpu().numpy())
        columns = [
            analysis.units_along(name, axis)[index]
            for axis, index in enumerate(positions)
            if (analysis.units_along(name, axis) != NO_UNIT).any()
        ]
        n_zeros = len(positions[0]) if positions else 0
        if not columns:
            total = np.array([n_zeros], np.int64) if n_zeros else np.zeros(0, np.int64)
            return cls(np.zeros((len(total), 0), np.int32), total)
        units, counts = np.unique(np.stack(columns, axis=1), axis=0, return_counts=True)
        return cls(units, counts.astype(np.int64))

    def count(self, keep: NDArray[np.bool_]) -> Counts:
        """Return the zeros left for each row of ``keep`` ``[P, n_units]``."""
        if not len(self.counts):
            return np.zeros(len(keep), np.int64)
        padded = np.concatenate([keep, np.ones((len(keep), 1), np.bool_)], axis=1)
        return np.asarray(padded[:, self.units].all(axis=2) @ self.counts, np.int64)

    def count_along(self, leaves_at: Counts, positions: Counts) -> Counts:
        """Return the zeros left at each position; unit ``u`` is gone after ``leaves_at[u] + 1``."""
        if not len(self.counts):
            return np.zeros(len(positions), np.int64)
        never = np.append(leaves_at, np.iinfo(np.int64).max)
        first = never[self.units].min(axis=1, initial=np.iinfo(np.int64).max)
        order = np.argsort(first, kind="stable")
        gone = np.concatenate([[0], np.cumsum(self.counts[order])])
        left = self.counts.sum() - gone[np.searchsorted(first[order], positions, side="left")]
        return np.asarray(left, np.int64)
