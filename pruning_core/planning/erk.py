"""Erdos-Renyi-Kernel: small and narrow layers keep more, as in RigL (arXiv:1911.11134)."""

from collections.abc import Callable, Sequence
from math import prod

import numpy as np
from numpy.typing import NDArray

from pruning_core.granularities import Site
from pruning_core.planning.order import Order
from pruning_core.tracing.network import Network

Counts = NDArray[np.int64]


def erk_shares(network: Network, sites: Sequence[Site]) -> NDArray[np.float64]:
    """Return ``[S]`` what the density of each site is in proportion to.

    For a weight ``[out, in, height, width]`` that is ``(out + in + height + width) / (out * in *
    height * width)``. Sites of units go by the largest weight of the layer that makes the units.
    """
    largest = {layer.name: layer.weight_shape for layer in network.layers}
    shapes = [
        tuple(network.tensor(site.parameter).shape) if site.parameter else largest.get(site.layer)
        for site in sites
    ]
    return np.array([sum(shape) / prod(shape) if shape else 1.0 for shape in shapes])


def erk_removed(network: Network, order: Order, names: Sequence[str]) -> Callable[[int], Counts]:
    """Return the function from units that go over all ``names`` to ``[S]`` units of each."""
    sites = [order.sites[name] for name in names]
    shares = erk_shares(network, sites)
    sizes = np.array([site.n_units for site in sites], np.int64)
    least = np.array([order.least(name) for name in names], np.int64)
    most = np.array([order.most(name) for name in names], np.int64)
    return lambda n_removed: spread(shares, sizes, (least, most), n_removed)


def spread(
    shares: NDArray[np.float64], sizes: Counts, limits: tuple[Counts, Counts], n_removed: int
) -> Counts:
    """Return ``[S]`` how many units go, ``n_removed`` in all (or as many as may go).

    Densities are ``epsilon * shares``, at most 1, with one ``epsilon`` for all sites: what a site
    that is whole already does not take falls to the others. Numbers are rounded to halves, as by
    divisors (Webster), so that the total is exact; of equal claims the first site's is met.

    Args:
        shares: ``[S]`` from :func:`erk_shares`.
        sizes: ``[S]`` units of each site.
        limits: ``[S]`` how many of them go at least, and ``[S]`` at most.
        n_removed: How many go over all sites.
    """
    fewest, most = sizes - limits[1], sizes - limits[0]
    n_kept = min(max(int(sizes.sum()) - n_removed, int(fewest.sum())), int(most.sum()))

    def kept(epsilon: float) -> Counts:
        return np.clip(np.floor(epsilon * shares * sizes + 0.5), fewest, most).astype(np.int64)

    low, high = 0.0, float(2 / shares.min(initial=1.0))
    while low < (middle := (low + high) / 2) < high:
        low, high = (middle, high) if kept(middle).sum() <= n_kept else (low, middle)
    result = kept(low)
    more = np.flatnonzero(kept(high) > result)[: n_kept - int(result.sum())]
    result[more] += 1
    return sizes - result
