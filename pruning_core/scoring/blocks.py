"""Element values made block by block, so that a pass over the weights needs little memory."""

from collections.abc import Callable, Collection, Mapping
from itertools import cycle

import torch
from torch import Tensor

from pruning_core.granularities import Combine, Elements
from pruning_core.scoring.criterion import PerElement

_BLOCK = 1 << 18  # a megabyte of float32: stays in the cache of one core

Operands = tuple[Tensor, Tensor | None]


class BlockElements(Elements):
    """Values that depend on one element at a time; all axes of a weight are read off together."""

    def __init__(
        self,
        rule: PerElement,
        operands: Callable[[str], Operands],
        axes: Mapping[str, Collection[int]],
    ) -> None:
        """Combine the values of ``rule`` without ever holding them for a whole parameter.

        Args:
            rule: What a value is, from a weight and its gradient.
            operands: Name of a parameter -> its weight and its gradient, if there is one.
            axes: Name of a parameter -> every axis that will be asked for.
        """
        super().__init__(lambda name: rule.value(*operands(name)).cpu())
        self._rule = rule
        self._operands = operands
        self._axes = axes
        self._known: dict[str, tuple[Tensor, Tensor]] = {}
        self._scratch = torch.empty(0)

    def along(self, name: str, axis: int, combine: Combine) -> Tensor:
        """Combine over all axes of a parameter but one: ``[size of the axis]``, float64."""
        weight, gradient = self._operands(name)
        if weight.ndim < 2:
            return widened(self._rule.value(weight, gradient)).double().cpu()
        if name not in self._known:
            self._known[name] = self._rows_and_columns(name, weight, gradient)
        rows, columns = self._known[name]
        if axis == 0:
            return rows
        others = [other - 1 for other in range(1, weight.ndim) if other != axis]
        return combine.over(columns.reshape(weight.shape[1:]), others)

    def _rows_and_columns(
        self, name: str, weight: Tensor, gradient: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Combine over everything but the first axis, and over the first axis: float64.

        What will not be asked for is left empty.
        """
        combine, axes = self._rule.combine, set(self._axes[name])
        flat = weight.reshape(len(weight), -1)
        wide = torch.promote_types(weight.dtype, torch.float32)
        if self._rule.power == 2 and axes == {0}:
            norms = torch.linalg.vector_norm(flat, dim=1, dtype=wide)
            return norms.double().square().cpu(), flat.new_zeros(0)
        step = max(1, _BLOCK // max(flat.shape[1], 1))
        parts = [None] if gradient is None else torch.split(gradient.reshape(flat.shape), step)
        over = torch.sum if combine is Combine.SUM else torch.amax
        rows: list[Tensor] = []
        columns = torch.zeros(flat.shape[1] if axes != {0} else 0, dtype=torch.float64)
        columns = columns.to(flat.device)
        for block, part in zip(torch.split(flat, step), cycle(parts), strict=False):
            values = self._values(block, part, wide)
            if 0 in axes:
                rows.append(over(values, 1))
            if axes != {0}:
                columns = combine.both(columns, over(values, 0))
        return torch.cat(rows or [columns[:0]]).double().cpu(), columns.cpu()

    def _values(self, weight: Tensor, gradient: Tensor | None, wide: torch.dtype) -> Tensor:
        """Return the values of a block; where their formula is known, in memory that is reused."""
        if self._rule.power is None:
            return widened(self._rule.value(weight, gradient))
        if self._scratch.dtype != wide or self._scratch.numel() < weight.numel():
            self._scratch = torch.empty(max(_BLOCK, weight.numel()), dtype=wide)
        if self._scratch.device != weight.device:
            self._scratch = self._scratch.to(weight.device)
        scratch = self._scratch[: weight.numel()].view(weight.shape)
        if weight.dtype != wide:
            weight = scratch.copy_(weight)
        return (torch.abs if self._rule.power == 1 else torch.square)(weight, out=scratch)


def widened(values: Tensor) -> Tensor:
    """Return half precision as float32, the rest as it is."""
    return values.to(torch.promote_types(values.dtype, torch.float32))
