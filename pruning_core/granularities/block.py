"""Blocks: tiles of the weight matrix ``[out, in x kernel]``, as block-sparse kernels read them."""

from math import prod

from pruning_core.granularities.granularity import GRANULARITIES
from pruning_core.granularities.masking import Sizes, tiled
from pruning_core.granularities.matrix import Box


def _cut(rows: int, columns: int) -> None:
    def tiling(box: Box) -> tuple[Sizes, Sizes]:
        return (box[0], prod(box[1:])), (rows, columns)

    GRANULARITIES.add(
        key := f"block_{rows}x{columns}",
        tiled(
            key=key,
            title=f"Blocks {rows} x {columns}",
            description=f"Sets tiles of {rows} by {columns} of the weight matrix to zero (outputs "
            "by inputs and kernel positions), as block-sparse kernels read them. Tiles at the "
            "edge may be smaller.",
            coarseness=10 + rows * columns,
            kind="block",
            tiling=tiling,
        ),
    )


for _shape in ((1, 4), (4, 4), (16, 16)):
    _cut(*_shape)
