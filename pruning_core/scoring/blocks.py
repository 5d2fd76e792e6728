"""Element values made block by block, so that a pass over the weights needs little memory."""

from collections.abc import Callable

import torch
from torch import Tensor

from pruning_core.granularities import Combine, Elements, ElementValues

_BLOCK = 1 << 17  # half a megabyte of float32: stays in the cache of one core

Operands = tuple[Tensor, Tensor | None]


class BlockElements(Elements):
    """Values that depend on one element at a time; both axes of a weight are read off together."""

    def __init__(
        self,
        values: ElementValues,
        operands: Callable[[str], Operands],
        value: Callable[[Tensor, Tensor | None], Tensor],
    ) -> None:
        """Combine ``value(weight, gradient)`` without ever holding it for a whole parameter.

        Args:
            values: The same for a whole parameter, for who needs every single value.
            operands: Name of a parameter -> its weight and its gradient, if there is one.
            value: ``(weight, gradient or None) -> value``, element by element, same shape.
        """
        super().__init__(values)
        self._operands = operands
        self._value = value
        self._known: dict[tuple[str, Combine], tuple[Tensor, Tensor]] = {}

    def along(self, name: str, axis: int, combine: Combine) -> Tensor:
        """Combine over all axes of a parameter but one: ``[size of the axis]``, float64."""
        weight, gradient = self._operands(name)
        if weight.ndim < 2:
            return widened(self._value(weight, gradient)).double().cpu()
        if (name, combine) not in self._known:
            self._known[name, combine] = self._rows_and_columns(weight, gradient, combine)
        rows, columns = self._known[name, combine]
        if axis == 0:
            return rows
        others = [other - 1 for other in range(1, weight.ndim) if other != axis]
        return combine.over(columns.reshape(weight.shape[1:]), others)

    def _rows_and_columns(
        self, weight: Tensor, gradient: Tensor | None, combine: Combine
    ) -> tuple[Tensor, Tensor]:
        """Combine over everything but the first axis, and over the first axis: float64."""
        n_rows = weight.shape[0]
        step = max(1, _BLOCK * n_rows // max(weight.numel(), 1))
        rows: list[Tensor] = []
        columns = weight.new_zeros(())
        for start in range(0, n_rows, step):
            block = slice(start, start + step)
            operands = (weight[block], None if gradient is None else gradient[block])
            values = widened(self._value(*operands)).reshape(len(operands[0]), -1)
            rows.append(combine.over(values, [1]))
            part = combine.over(values, [0]).double()
            columns = part if start == 0 else combine.both(columns, part)
        return torch.cat(rows).double().cpu(), columns.cpu()


def widened(values: Tensor) -> Tensor:
    """Return half precision as float32, the rest as it is."""
    return values.to(torch.promote_types(values.dtype, torch.float32))
