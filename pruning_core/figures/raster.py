"""A matrix as a small raster for quick pictures: the numbers of a heatmap without its drawing."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pruning_core.figures.heatmap import finding, pool_max, pool_share


@dataclass(frozen=True, slots=True, eq=False)
class Raster:
    """What a picture of a matrix ``[out, in]`` shows.

    Attributes:
        cells: ``[R, C]``, at most 128 a side; each is the exact maximum of its block.
        gone: ``[R, C]``, 0 (all of the block stays) to 255 (all of it leaves); None when nothing
            leaves.
        shape: ``(out, in)`` of the whole matrix.
        title: The finding, in a sentence.
    """

    cells: NDArray[np.float32]
    gone: NDArray[np.uint8] | None
    shape: tuple[int, int]
    title: str

    @property
    def is_pooled(self) -> bool:
        """True when a cell stands for several values."""
        return self.cells.shape != self.shape


def rasterise(matrix: NDArray[np.float32], removed: NDArray[np.bool_] | None, value: str) -> Raster:
    """Return the raster of ``matrix``.

    Args:
        matrix: ``[out, in]``.
        removed: ``[out, in]``, True where the value leaves; None keeps all.
        value: What a cell is, e.g. ``|w|``.
    """
    gone = None
    if removed is not None and removed.any():
        share = pool_share(removed)
        gone = np.where(share == 1, 255, np.minimum(np.ceil(254 * share), 254)).astype(np.uint8)
    n_out, n_in = matrix.shape
    return Raster(pool_max(matrix), gone, (n_out, n_in), finding(matrix, removed, value))
