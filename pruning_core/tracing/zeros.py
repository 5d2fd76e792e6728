"""Zeros that a model's parameters hold already, counted by the units that take them away."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pruning_core.tracing.analysis import NO_UNIT, Analysis

Counts = NDArray[np.int64]
_BLOCK = 1 << 20


@dataclass(frozen=True, slots=True, eq=False)
class ZeroTable:
    """How many zeros the parameters hold for each combination of units along their axes.

    Attributes:
        n_parameters: Number of all parameters.
        holders: ``[Z]`` numbers of the parameters that hold zeros.
        owner: ``[E]`` which of the holders a combination belongs to, ascending.
        units: ``[E, A]`` the units of a combination, ``NO_UNIT`` for what is fixed.
        counts: ``[E]`` zeros that leave with any of these units.
    """

    n_parameters: int
    holders: NDArray[np.int64]
    owner: NDArray[np.int64]
    units: NDArray[np.int32]
    counts: Counts

    @classmethod
    def of(cls, tensors: Mapping[str, Tensor], analysis: Analysis) -> "ZeroTable":
        """Read ``tensors``, by the names of parameters of their shapes, once.

        Tensors without data (on the meta device) hold no zeros.
        """
        holders = [number for number, tensor in enumerate(tensors.values()) if _has_zero(tensor)]
        names = list(tensors)
        tables = [
            _combinations(analysis, names[number], tensors[names[number]]) for number in holders
        ]
        width = max((1, *(units.shape[1] for units, _ in tables)))  # without any unit: one fixed
        units = np.full((sum(len(counts) for _, counts in tables), width), NO_UNIT, np.int32)
        start = 0
        for own, _ in tables:
            units[start : start + len(own), : own.shape[1]] = own
            start += len(own)
        return cls(
            n_parameters=len(tensors),
            holders=np.array(holders, np.int64),
            owner=np.repeat(np.arange(len(tables)), [len(counts) for _, counts in tables]),
            units=units,
            counts=np.concatenate([counts for _, counts in tables] or [np.zeros(0, np.int64)]),
        )

    def count(self, keep: NDArray[np.bool_]) -> Counts:
        """Return ``[P, n_parameters]`` zeros left when ``keep`` ``[P, n_units]`` stays."""
        left = np.zeros((len(keep), self.n_parameters), np.int64)
        if len(self.holders):
            starts = np.searchsorted(self.owner, np.arange(len(self.holders)))
            padded = np.concatenate([keep, np.ones((len(keep), 1), np.bool_)], axis=1)
            stays = np.logical_and.reduce([padded[:, column] for column in self.units.T])
            left[:, self.holders] = np.add.reduceat(stays * self.counts, starts, axis=1)
        return left

    def count_along(self, leaves_at: Counts, positions: Counts) -> Counts:
        """Return ``[P, n_parameters]`` zeros left when units leave one after the other.

        Args:
            leaves_at: ``[n_units]`` unit ``u`` is gone at every position above ``leaves_at[u]``.
            positions: ``[P]`` ascending.
        """
        left = np.zeros((len(positions), self.n_parameters), np.int64)
        if len(self.holders):
            never = np.append(leaves_at, np.iinfo(np.int64).max)
            first = never[self.units].min(axis=1, initial=np.iinfo(np.int64).max)
            gone_from = np.searchsorted(positions, first, side="right")
            width = len(positions) + 1
            cells = np.zeros(len(self.holders) * width, np.int64)
            np.add.at(cells, self.owner * width + gone_from, self.counts)
            rows = cells.reshape(len(self.holders), width)
            left[:, self.holders] = (rows.sum(axis=1, keepdims=True) - rows.cumsum(axis=1)).T[:-1]
        return left


def _has_zero(tensor: Tensor) -> bool:
    return not tensor.is_meta and int(tensor.detach().count_nonzero()) < tensor.numel()


def _combinations(
    analysis: Analysis, name: str, tensor: Tensor
) -> tuple[NDArray[np.int32], Counts]:
    """Return units ``[E, axes with units]`` and the zeros ``[E]`` of each combination."""
    tensor = tensor.detach()
    along = {axis: analysis.units_along(name, axis) for axis in range(tensor.ndim)}
    live = [axis for axis, units in along.items() if (units != NO_UNIT).any()]
    if not live:
        n_zeros = tensor.numel() - int(tensor.count_nonzero())
        return np.zeros((1, 0), np.int32), np.array([n_zeros], np.int64)
    sides = [np.unique(along[axis], return_inverse=True) for axis in live]
    places = [torch.from_numpy(inverse.astype(np.int64)) for _, inverse in sides]
    others = [axis for axis in range(tensor.ndim) if axis not in live]
    table = torch.zeros([len(units) for units, _ in sides], dtype=torch.int64)
    step = max(1, _BLOCK * tensor.shape[0] // max(tensor.numel(), 1))
    for start in range(0, tensor.shape[0], step):
        zeros = (tensor[start : start + step] == 0).cpu().to(torch.int64)
        block = zeros.sum(others) if others else zeros
        own = [
            place[start : start + step] if axis == 0 else place
            for axis, place in zip(live, places, strict=True)
        ]
        for axis, place in enumerate(own):
            merged = torch.zeros(
                (*block.shape[:axis], table.shape[axis], *block.shape[axis + 1 :]),
                dtype=torch.int64,
            )
            block = merged.index_add_(axis, place, block)
        table += block
    entries = np.nonzero(table.numpy())
    columns = [units[index] for (units, _), index in zip(sides, entries, strict=True)]
    return np.stack(columns, axis=1), table.numpy()[entries]
