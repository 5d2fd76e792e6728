"""Kernels: the slice of a convolution between one input and one output channel."""

from pruning_core.granularities.granularity import GRANULARITIES
from pruning_core.granularities.masking import Sizes, tiled
from pruning_core.granularities.matrix import Box


def _slices(box: Box) -> tuple[Sizes, Sizes]:
    out, inputs, kernel = box
    return (out * inputs, kernel), (1, kernel)


GRANULARITIES.add(
    "kernel",
    tiled(
        key="kernel",
        title="Kernels",
        description="Sets whole kernels of convolutions to zero: the slice that connects one input "
        "channel with one output channel.",
        coarseness=100,
        kind="kernel",
        tiling=_slices,
        convolutions_only=True,
    ),
)
