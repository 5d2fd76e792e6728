"""Rows and columns: everything one layer computes an output from, or reads an input with."""

from math import prod

from pruning_core.granularities.granularity import GRANULARITIES
from pruning_core.granularities.masking import Sizes, tiled
from pruning_core.granularities.matrix import Box


def _rows(box: Box) -> tuple[Sizes, Sizes]:
    width = prod(box[1:])
    return (box[0], width), (1, width)


def _columns(box: Box) -> tuple[Sizes, Sizes]:
    return box, (box[0], 1, box[2])


GRANULARITIES.add(
    "row",
    tiled(
        key="row",
        title="Rows",
        description="Sets all weights of one output of one layer to zero. Unlike a unit the output "
        "stays, with its bias, and no other layer changes.",
        coarseness=1000,
        kind="row",
        tiling=_rows,
    ),
)
GRANULARITIES.add(
    "column",
    tiled(
        key="column",
        title="Columns",
        description="Sets all weights with which one layer reads one input to zero. Unlike a unit "
        "the input stays for other layers that read it.",
        coarseness=1001,
        kind="column",
        tiling=_columns,
    ),
)
