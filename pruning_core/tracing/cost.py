"""Exact cost as arithmetic on kept units: no model is touched to answer a what-if.

Every axis of every tensor and of every costly operator has a vector of labels; its size after
pruning is a constant minus a sum over removed units. Parameters, bytes and MACs are products and
sums of such sizes, computed in 64-bit integers. Units of a group that weigh the same in every
vector are of one *kind* (usually the whole group is), so that counting them by kind is enough.
"""

import copy
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from pruning_core.loading.file_size import DenseFileSize, digits
from pruning_core.tracing.analysis import NO_UNIT, Analysis
from pruning_core.tracing.zeros import ZeroTable

Counts = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Costs:
    """Costs of ``P`` what-if queries.

    Attributes:
        params: ``[P, n_parameters]`` elements of each parameter.
        macs: ``[P, n_products]`` multiply-accumulates of each costly operator, for one sample.
        n_bytes: ``[P]`` bytes of the dense safetensors file, header included.
    """

    params: Counts
    macs: Counts
    n_bytes: Counts


@dataclass(frozen=True, slots=True, eq=False)
class Totals:
    """Costs of the whole network in ``P`` what-ifs: parameters, MACs and bytes, ``[P]`` each."""

    params: Counts
    macs: Counts
    n_bytes: Counts


class CostModel:
    """Answers what a network costs when any set of units is gone.

    Attributes:
        parameters: Names of the parameters, in the order of the columns of :class:`Costs`.
        stored: Names in the state dict -> names of the traced tensors; tied ones have several.
        n_units: Units of all groups together.
        uniform: ``[n_groups]`` True where all units of the group are of one kind.
    """

    def __init__(
        self,
        analysis: Analysis,
        parameters: Sequence[str],
        stored: Mapping[str, str],
        file_names: Mapping[str, str] | None = None,
    ) -> None:
        """Compile the label vectors of ``analysis``.

        Args:
            analysis: Labels and units of the traced graph.
            parameters: Names of the parameters, buffers excluded.
            stored: Names in the state dict -> names in ``analysis.tensors``; a tied parameter is
                stored under each of its names.
            file_names: Names in the state dict -> names in the file, where they differ.
        """
        vectors = _Vectors(analysis)
        tensors = analysis.tensors
        tensor_axes = [
            [vectors.index(labels) for labels in analysis.axes[name]] for name in tensors
        ]
        product_axes = [[vectors.index(labels) for labels in p.axes] for p in analysis.products]
        self.parameters = tuple(parameters)
        self.n_units = analysis.n_units
        self._analysis = analysis
        self._kinds = _Kinds(analysis, vectors)
        self.uniform = self._kinds.per_group == 1
        self._sizes = _Sizes(vectors, self._kinds)
        self._elements = self._sizes.volumes(tensor_axes)
        self._macs = self._sizes.volumes(product_axes)
        self._place = {name: number for number, name in enumerate(tensors)}
        self._tensor_axes = tensor_axes
        self._is_parameter = np.array([self._place[name] for name in parameters], np.int64)
        self._lives = np.ones(len(parameters), np.int64)
        self._file_names = dict(file_names or {})
        self._write(stored)

    def _write(self, stored: Mapping[str, str]) -> None:
        """Compile the size of the file that holds ``stored``."""
        tensors = self._analysis.tensors
        in_file = [self._place[name] for name in stored.values()]
        self.stored = dict(stored)
        self._file = DenseFileSize(
            {self._file_names.get(name, name): tensors[stored[name]] for name in stored}
        )
        self._in_file = np.array(in_file, np.int64)[self._file.order]
        axes = [axis for number in in_file for axis in self._tensor_axes[number]]
        written = np.array(axes, np.int64)
        varies = self._sizes.varies[written]
        self._written = np.bincount(self._sizes.place(written[varies]), minlength=self._sizes.n + 1)
        self._fixed_digits = int(digits(self._sizes.dense[written[~varies]]).sum())

    def without(self, tensors: Collection[str], products: Collection[int]) -> "CostModel":
        """Return the cost of the network without these tensors and costly operators.

        They keep their columns, which are zero; the file loses the tensors.
        """
        self.zero_table  # noqa: B018  (read once, for this model and the other)
        other = copy.copy(self)
        other._elements = self._elements.without([self._place[name] for name in tensors])
        other._macs = self._macs.without(products)
        gone = set(tensors)
        other._write({key: name for key, name in self.stored.items() if name not in gone})
        other._lives = np.array([name not in gone for name in self.parameters], np.int64)
        return other

    def query(self, keep: NDArray[np.bool_]) -> Costs:
        """Return the cost when the units ``keep`` (``[n_units]`` or ``[P, n_units]``) stay."""
        return self._costs(self._kinds.removed(np.atleast_2d(keep)))

    def query_counts(self, kept: Counts) -> Costs:
        """Return the cost when ``kept`` (``[n_groups]`` or ``[P, n_groups]``) units stay.

        Raises:
            ValueError: If the units of some group are not of one kind, see :attr:`uniform`.
        """
        if not self.uniform.all():
            raise ValueError("counts do not decide the cost: units of a group differ in size")
        return self._costs(self._kinds.sizes - np.atleast_2d(kept))

    def sweep(self, keep: NDArray[np.bool_], order: NDArray[np.int64], positions: Counts) -> Costs:
        """Return the cost after removing the first ``positions[p]`` units of ``order``.

        Args:
            keep: ``[n_units]`` the starting point, in which the units of ``order`` stay.
            order: Unit numbers in the order they would leave.
            positions: ``[P]`` ascending counts, ``0 <= p <= len(order)``.
        """
        gone = self._kinds.removed_along(order, positions)
        return self._costs(gone + self._kinds.removed(keep[None]))

    def slides(self, keep: NDArray[np.bool_]) -> tuple[Totals | None, ...]:
        """Return for each group of ``U`` units the totals when ``0..U`` of them are gone.

        Args:
            keep: ``[n_units]`` what stays of the groups that do not move.

        Returns:
            Totals ``[U + 1]``; None for a group that is not :attr:`uniform`.
        """
        removed = self._kinds.removed(keep[None])
        now = self._sizes.after(removed)
        elements, macs = self._elements.of(now)[0], self._macs.of(now)[0]
        first = np.cumsum(self._kinds.per_group) - self._kinds.per_group
        return tuple(
            self._slide(int(kind), int(removed[0, kind]), now[0], elements, macs)
            if is_uniform
            else None
            for kind, is_uniform in zip(first, self.uniform, strict=True)
        )

    def _slide(self, kind: int, gone: int, now: Counts, elements: Counts, macs: Counts) -> Totals:
        """Return totals ``[U + 1]`` for a kind of which ``gone`` units are gone now."""
        change = gone - np.arange(self._kinds.sizes[kind] + 1)
        moved, sizes = self._sizes.along(now, kind, change)
        tensors, tensor_elements = self._elements.along(now, moved, sizes)
        products, product_macs = self._macs.along(now, moved, sizes)
        row = np.full(len(elements), len(tensors), np.int64)
        row[tensors] = np.arange(len(tensors))
        counted = row[self._is_parameter]
        counted = counted[counted < len(tensors)]
        fixed_params = elements[self._is_parameter].sum() - elements[tensors[counted]].sum()
        in_file = row[self._in_file]
        columns = np.flatnonzero(in_file < len(tensors))
        fixed_digits = self._fixed_digits + digits(now) @ self._written
        more_digits = self._written[moved] @ (digits(sizes) - digits(now[moved])[:, None])
        return Totals(
            params=fixed_params + tensor_elements[counted].sum(axis=0),
            macs=macs.sum() - macs[products].sum() + product_macs.sum(axis=0),
            n_bytes=self._file.n_bytes_along(
                elements[self._in_file],
                columns,
                tensor_elements[in_file[columns]],
                fixed_digits + more_digits,
            ),
        )

    @cached_property
    def zero_table(self) -> ZeroTable:
        """Zeros the parameters hold now, by unit; the weights are read when first asked for."""
        tensors = {name: self._analysis.tensors[name] for name in self.parameters}
        return ZeroTable.of(tensors, self._analysis)

    def zeros(self, keep: NDArray[np.bool_]) -> Counts:
        """Return ``[P, n_parameters]`` elements that stay and are zero in the model as it is."""
        return self.zero_table.count(np.atleast_2d(keep)) * self._lives

    def zeros_along(
        self,
        keep: NDArray[np.bool_],
        order: NDArray[np.int64],
        positions: Counts,
        table: ZeroTable | None = None,
    ) -> Counts:
        """Return ``[P, n_parameters]`` zeros along a :meth:`sweep`, or those of another table."""
        leaves_at = np.full(self.n_units, len(order) + 1, np.int64)
        leaves_at[order] = np.arange(len(order))
        leaves_at[~keep] = -1
        if table is not None:
            return table.count_along(leaves_at, positions)
        return self.zero_table.count_along(leaves_at, positions) * self._lives

    def _costs(self, removed: Counts) -> Costs:
        """Return the cost when ``removed`` (``[P, n_kinds]``) units of each kind are gone."""
        sizes = self._sizes.after(removed)
        elements = self._elements.of(sizes)
        shape_digits = digits(sizes) @ self._written + self._fixed_digits
        n_bytes = self._file.n_bytes(elements[:, self._in_file], shape_digits)
        return Costs(elements[:, self._is_parameter], self._macs.of(sizes), n_bytes)


class _Vectors:
    """Distinct label vectors as vectors of units, ``NO_UNIT`` where a position is fixed."""

    def __init__(self, analysis: Analysis) -> None:
        self._unit_of = analysis.unit_of
        self._known: dict[bytes, int] = {}
        self.units: list[NDArray[np.int32]] = []

    def index(self, labels: NDArray[np.int32]) -> int:
        units = self._unit_of[labels.ravel()]
        key = units.tobytes()
        if key not in self._known:
            self._known[key] = len(self.units)
            self.units.append(units)
        return self._known[key]


class _Kinds:
    """Units sorted into kinds: those of a group that occur equally often in every vector.

    Attributes:
        sizes: ``[n_kinds]`` units of each kind.
        per_group: ``[n_groups]`` kinds of each group; kinds are numbered group by group.
        entries: Vector, kind and how often a unit of the kind occurs in the vector: ``[3, E]``,
            sorted by vector.
    """

    def __init__(self, analysis: Analysis, vectors: _Vectors) -> None:
        starts = np.cumsum([0, *analysis.group_sizes])
        touching: list[list[tuple[int, Counts]]] = [[] for _ in analysis.group_sizes]
        for vector, units in enumerate(vectors.units):
            live = np.sort(units[units != NO_UNIT])
            edges = np.searchsorted(live, starts)
            for group in np.flatnonzero(np.diff(edges)).tolist():
                inside = live[edges[group] : edges[group + 1]] - starts[group]
                times = np.bincount(inside, minlength=analysis.group_sizes[group])
                touching[group].append((vector, times))
        self.of_unit = np.zeros(analysis.n_units, np.int64)
        entries: list[tuple[int, int, int]] = []
        per_group: list[int] = []
        for group, touches in enumerate(touching):
            times = np.stack([column for _, column in touches])
            distinct, kind_of = _distinct_columns(times)
            first = sum(per_group)
            self.of_unit[starts[group] : starts[group + 1]] = first + kind_of
            per_group.append(distinct.shape[1])
            for (vector, _), row in zip(touches, distinct.tolist(), strict=True):
                entries += [(vector, first + kind, n) for kind, n in enumerate(row) if n]
        self.per_group = np.array(per_group, np.int64)
        self.entries = np.array(sorted(entries), np.int64).reshape(-1, 3).T
        self.sizes = np.bincount(self.of_unit, minlength=sum(per_group)).astype(np.int64)
        self._starts = np.cumsum(self.sizes) - self.sizes
        order = np.argsort(self.of_unit, kind="stable")
        self._order = None if (np.diff(self.of_unit) >= 0).all() else order

    def removed(self, keep: NDArray[np.bool_]) -> Counts:
        """Return ``[P, n_kinds]`` how many units of each kind are not kept in ``[P, n_units]``."""
        if not len(self.sizes):
            return np.zeros((len(keep), 0), np.int64)
        sorted_keep = keep if self._order is None else keep[:, self._order]
        kept = np.add.reduceat(sorted_keep, self._starts, axis=1, dtype=np.int64)
        return np.asarray(self.sizes - kept, np.int64)

    def removed_along(self, order: NDArray[np.int64], positions: Counts) -> Counts:
        """Return ``[P, n_kinds]`` how many of each kind are first in ``order``."""
        n_kinds = len(self.sizes)
        at = np.searchsorted(positions, np.arange(len(order)), side="right")
        cells = np.bincount(
            at * n_kinds + self.of_unit[order], minlength=(len(positions) + 1) * n_kinds
        )
        steps = cells[: len(positions) * n_kinds].reshape(len(positions), n_kinds)
        return np.cumsum(steps, axis=0, dtype=np.int64)


def _distinct_columns(times: Counts) -> tuple[Counts, NDArray[np.int64]]:
    """Return the distinct columns of ``[V, U]`` and which of them each column is."""
    if (times == times[:, :1]).all():
        return times[:, :1], np.zeros(times.shape[1], np.int64)
    distinct, kind_of = np.unique(times, axis=1, return_inverse=True)
    return distinct, kind_of.astype(np.int64)


class _Sizes:
    """The sizes of the vectors that vary; the others are constants.

    Attributes:
        dense: ``[n_vectors]`` all sizes while nothing is removed.
        varies: ``[n_vectors]`` True where units can leave.
        n: Number of vectors that vary.
    """

    def __init__(self, vectors: _Vectors, kinds: _Kinds) -> None:
        self.dense = np.array([len(units) for units in vectors.units], np.int64)
        vector, self._kind, self._times = kinds.entries
        varying, self._starts = np.unique(vector, return_index=True)
        self.n = len(varying)
        self.varies = np.zeros(len(self.dense), np.bool_)
        self.varies[varying] = True
        self._place = np.zeros(len(self.dense), np.int64)
        self._place[varying] = np.arange(self.n)
        self._start = np.append(self.dense[varying], 1)

    def place(self, vectors: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return where the sizes of ``vectors`` that vary stand in :meth:`after`."""
        return self._place[vectors]

    def after(self, removed: Counts) -> Counts:
        """Return ``[P, n + 1]`` sizes, then a one, when ``[P, n_kinds]`` units are gone."""
        sizes = np.repeat(self._start[None], len(removed), axis=0)
        if self.n:
            lost = self._times * removed[:, self._kind]
            sizes[:, :-1] -= np.add.reduceat(lost, self._starts, axis=1)
        return sizes

    def along(self, now: Counts, kind: int, change: Counts) -> tuple[NDArray[np.int64], Counts]:
        """Return which sizes change with a kind, and what they become.

        Args:
            now: ``[n + 1]`` sizes.
            kind: The kind.
            change: ``[P]`` how many units of it come back, or leave if negative.

        Returns:
            Places ``[M]`` in :meth:`after` and sizes ``[M, P]``.
        """
        entries = np.flatnonzero(self._kind == kind)
        moved = np.searchsorted(self._starts, entries, side="right") - 1
        return moved, now[moved, None] + self._times[entries, None] * change

    def volumes(self, axes: Sequence[Sequence[int]]) -> "_Volumes":
        """Compile products of sizes, one for each list of vectors."""
        varying = [[v for v in vectors if self.varies[v]] for vectors in axes]
        fixed = [
            int(np.prod([self.dense[v] for v in vectors if not self.varies[v]], dtype=np.int64))
            for vectors in axes
        ]
        width = max((len(vectors) for vectors in varying), default=0)
        factors = np.full((width, len(axes)), self.n, np.int64)
        for number, vectors in enumerate(varying):
            factors[: len(vectors), number] = self.place(np.array(vectors, np.int64))
        return _Volumes(np.array(fixed, np.int64), factors)


@dataclass(frozen=True, slots=True, eq=False)
class _Volumes:
    """``T`` products of a constant and some sizes."""

    fixed: Counts  # [T]
    factors: NDArray[np.int64]  # [width, T] places among the sizes

    def without(self, numbers: Collection[int]) -> "_Volumes":
        """Return the same with some of the products zero."""
        fixed = self.fixed.copy()
        fixed[list(numbers)] = 0
        return replace(self, fixed=fixed)

    def of(self, sizes: Counts) -> Counts:
        """Return ``[P, T]`` for ``[P, n + 1]`` sizes."""
        volumes = np.repeat(self.fixed[None], len(sizes), axis=0)
        for places in self.factors:
            volumes *= sizes[:, places]
        return volumes

    def along(
        self, now: Counts, moved: NDArray[np.int64], sizes: Counts
    ) -> tuple[NDArray[np.int64], Counts]:
        """Return which products change, ``[C]``, and ``[C, P]`` what they are.

        Args:
            now: ``[n + 1]`` all sizes.
            moved: ``[M]`` places of the sizes that change.
            sizes: ``[M, P]`` what they change to.
        """
        row = np.full(len(now), len(sizes), np.int64)
        row[moved] = np.arange(len(moved))
        rows = row[self.factors]
        changing = rows < len(sizes)
        touched = np.flatnonzero(changing.any(axis=0))
        still = self.fixed * np.where(changing, 1, now[self.factors]).prod(axis=0)
        volumes = np.repeat(still[touched, None], sizes.shape[1], axis=1)
        for factor in rows[:, touched]:
            those = np.flatnonzero(factor < len(sizes))
            volumes[those] *= sizes[factor[those]]
        return touched, volumes
