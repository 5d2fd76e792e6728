"""N:M patterns: of every M consecutive inputs of one output, at most N weights stay.

Groups run along the input axis, at the same output and kernel position: the layout that sparse
tensor cores read (Mishra et al. 2021, arXiv:2104.08378; Zhou et al. 2021, arXiv:2102.04010). A tail
shorter than M stays whole. A weight follows the pattern everywhere or nowhere.
"""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from pruning_core.granularities.granularity import (
    GRANULARITIES,
    Combine,
    Elements,
    Granularity,
    Keep,
    Pattern,
    Site,
)
from pruning_core.granularities.masking import site_of
from pruning_core.granularities.matrix import Matrix, matrices, matrix
from pruning_core.tracing.network import Network

_SOURCE = "Groups of {m} consecutive inputs of one output (and kernel position) keep the {n} most "
_USE = {
    (2, 4): "important weights; the pattern that sparse tensor cores run faster.",
    (1, 4): "important weight.",
    (4, 8): "important weights; looser than 2:4 at the same sparsity.",
}


def _pattern(n: int, m: int, coarseness: int) -> Granularity:
    def grouped(found: Matrix) -> int:
        return found.box[1] // m * m

    def sites(network: Network) -> tuple[Site, ...]:
        """Return one site for each weight that has a whole group; all grouped weights are units."""
        sizes = [
            (found, found.box[0] * grouped(found) * found.box[2]) for found in matrices(network)
        ]
        return tuple(site_of(found, "weight", size) for found, size in sizes if size)

    def gather(
        network: Network,
        site: Site,
        values: Elements,
        combine: Combine,  # noqa: ARG001
    ) -> Iterator[Tensor]:
        """Every grouped weight is a unit, numbered by output, kernel position, and input."""
        found = matrix(network, site.parameter)
        elements = found.boxed(values.of(site.parameter).float().numpy())[:, : grouped(found)]
        yield torch.from_numpy(np.ascontiguousarray(elements.swapaxes(1, 2)).reshape(-1))

    def mask(network: Network, site: Site, keep: Keep) -> Keep:
        """Put what stays where it belongs; the tail stays."""
        found = matrix(network, site.parameter)
        out, _, kernel = found.box
        stays = np.ones(found.box, np.bool_)
        stays[:, : grouped(found)] = keep.reshape(out, kernel, grouped(found)).swapaxes(1, 2)
        return np.asarray(found.unboxed(stays), np.bool_)

    return Granularity(
        key=f"{n}:{m}",
        title=f"Pattern {n}:{m}",
        description=_SOURCE.format(n=n, m=m) + _USE[n, m],
        coarseness=coarseness,
        removes=False,
        sites=sites,
        gather=gather,
        mask=mask,
        single_weights=True,
        pattern=Pattern(n, m),
    )


for _coarseness, (_n, _m) in enumerate(_USE, start=1):
    GRANULARITIES.add(f"{_n}:{_m}", _pattern(_n, _m, _coarseness))
