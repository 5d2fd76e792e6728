"""What all granularities share that set weights to zero: units are tiles of a weight.

A granularity says into which tiles it cuts a weight ``[out, in, kernel]``; the sums of a criterion,
the mask, the preview and the pictures follow from that. No index array is made: tiles are summed
and spread axis by axis.
"""

from collections.abc import Callable, Iterator
from math import prod

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pruning_core.granularities.granularity import (
    Combine,
    Elements,
    Granularity,
    Keep,
    Site,
)
from pruning_core.granularities.matrix import Box, Matrix, matrices, matrix
from pruning_core.tracing.network import Network

Sizes = tuple[int, ...]
Tiling = Callable[[Box], tuple[Sizes, Sizes]]
"""From the sizes of a weight ``(out, in, kernel)`` to the sizes of the same values seen as another
box, and the sizes of one tile in it; the last tiles of an axis may be smaller."""


def tiled(
    *,
    key: str,
    title: str,
    description: str,
    coarseness: int,
    kind: str,
    tiling: Tiling,
    convolutions_only: bool = False,
) -> Granularity:
    """Return the granularity whose units are the tiles that ``tiling`` cuts.

    Weights that are a single tile are no sites: a tile of each weight stays.

    Args:
        key: Name in recipes.
        title: Name on screen.
        description: One sentence for the person who chooses.
        coarseness: Where it stands between fine and coarse.
        kind: The word for one tile.
        tiling: How a weight is cut.
        convolutions_only: True leaves the weights of matrix products alone.
    """

    def fits(found: Matrix) -> bool:
        return found.is_convolution or not convolutions_only

    def sites(network: Network) -> tuple[Site, ...]:
        """Return one site for each weight that has two tiles or more."""
        counts = [
            (found, prod(_counts(*tiling(found.box)))) for found in matrices(network) if fits(found)
        ]
        return tuple(site_of(found, kind, n_units) for found, n_units in counts if n_units > 1)

    def gather(
        network: Network, site: Site, values: Elements, combine: Combine
    ) -> Iterator[Tensor]:
        """Combine over the elements of each tile."""
        found = matrix(network, site.parameter)
        box, tile = tiling(found.box)
        elements = values.of(site.parameter).double().numpy()
        tiles = _combined(found.boxed(elements).reshape(box), tile, combine)
        yield torch.from_numpy(tiles.reshape(-1))

    def mask(network: Network, site: Site, keep: Keep) -> Keep:
        """Spread what stays over the elements of each tile."""
        found = matrix(network, site.parameter)
        box, tile = tiling(found.box)
        spread = _spread(keep.reshape(_counts(box, tile)), box, tile)
        return np.asarray(found.unboxed(spread), np.bool_)

    return Granularity(
        key=key,
        title=title,
        description=description,
        coarseness=coarseness,
        removes=False,
        sites=sites,
        gather=gather,
        mask=mask,
    )


def site_of(found: Matrix, kind: str, n_units: int) -> Site:
    """Return the site of one weight."""
    return Site(found.site, kind, n_units, found.owner, (found.owner,), found.parameter)


def _counts(box: Sizes, tile: Sizes) -> Sizes:
    """Return how many tiles lie along each axis."""
    return tuple(-(-size // step) for size, step in zip(box, tile, strict=True))


def _combined(values: NDArray[np.generic], tile: Sizes, combine: Combine) -> NDArray[np.float64]:
    over = np.add if combine is Combine.SUM else np.maximum
    for axis, step in enumerate(tile):
        if step >= values.shape[axis] > 1:
            values = over.reduce(values, axis=axis, keepdims=True)
        elif step > 1:
            values = over.reduceat(values, np.arange(0, values.shape[axis], step), axis=axis)
    return np.ascontiguousarray(values, np.float64)


def _spread(flags: Keep, box: Sizes, tile: Sizes) -> Keep:
    for axis, (size, step) in enumerate(zip(box, tile, strict=True)):
        if step > 1:
            flags = np.repeat(flags, step, axis=axis).take(range(size), axis=axis)
    return flags
