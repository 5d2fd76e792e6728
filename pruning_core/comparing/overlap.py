"""Which weights two plans of one network take away: both of them, only one, or none; exact."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pruning_core.planning.plan import Plan
from pruning_core.surgery.mask import dense_masks
from pruning_core.tracing.network import Network


@dataclass(frozen=True, slots=True)
class Overlap:
    """How the parameters of a layer fare under two plans; the four counts add up to all of them.

    Attributes:
        layer: Path of the module that owns them; empty for the network itself.
        both: Taken away (or set to zero) by both plans.
        only_first: By the first alone.
        only_second: By the second alone.
        neither: Parameters that stay in both.
    """

    layer: str
    both: int
    only_first: int
    only_second: int
    neither: int


def overlaps(network: Network, first: Plan, second: Plan) -> tuple[Overlap, ...]:
    """Return one count a layer, in the order of the network's parameters.

    Parameters of removed units are found in the dense network by the indices that were kept.

    Args:
        network: The dense network that both plans are of.
        first: One plan.
        second: The other.
    """
    counts: dict[str, NDArray[np.int64]] = {}
    pairs = zip(dense_masks(network, first), dense_masks(network, second), strict=True)
    for (name, one), (_, two) in pairs:
        layer = name.rpartition(".")[0]
        own = np.array(
            [np.count_nonzero(flags) for flags in (~one & ~two, ~one & two, one & ~two, one & two)]
        )
        counts[layer] = counts.get(layer, np.zeros(4, np.int64)) + own
    return tuple(Overlap(layer, *map(int, own)) for layer, own in counts.items())
