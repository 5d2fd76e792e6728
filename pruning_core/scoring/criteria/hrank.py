"""Rank of the feature maps (HRank)."""

import numpy as np
import torch
from torch import Tensor, fx

from pruning_core.scoring.criterion import CRITERIA, Criterion, Evidence, PerUnit, Rates
from pruning_core.scoring.material import Material
from pruning_core.scoring.reading import NodeReader, units_along


def mean_ranks(material: Material) -> list[Tensor | None]:
    """Return the mean rank of each channel's maps, None where units have no maps."""
    read_by = NodeReader(material.network)
    sizes = [site.n_units for site in material.sites]
    total, count = torch.zeros(2, sum(sizes), dtype=torch.float64)
    chosen = _maps(read_by, sizes, [site.kind == "channel" for site in material.sites])

    def see(node: fx.Node, maps: Tensor) -> None:
        units = units_along(read_by.analysis, node, 1)
        wanted = torch.isin(units, chosen[node])
        ranks = torch.linalg.matrix_rank(maps[:, wanted]).double()  # [B, C]
        total.index_add_(0, units[wanted], ranks.sum(dim=0))
        count.index_add_(0, units[wanted], torch.full_like(ranks[0], len(ranks)))

    for inputs, _ in material.batches():
        read_by.run_seeing(inputs, chosen, see)
    pairs = zip(torch.split(total, sizes), torch.split(count, sizes), strict=True)
    return [ranks / n if bool((n > 0).all()) else None for ranks, n in pairs]


def _maps(read_by: NodeReader, sizes: list[int], rated: list[bool]) -> dict[fx.Node, Tensor]:
    """Return where the units' maps are looked at, and the units that are looked at there.

    For each site it is the last of its largest maps: behind normalisation, addition and ReLU, and
    before any pooling.
    """
    starts = np.cumsum([0, *sizes])
    best: dict[int, tuple[int, fx.Node]] = {}
    for node in read_by.nodes:
        value = node.meta["val"]
        if not isinstance(value, Tensor) or value.ndim != 4 or min(value.shape[2:]) < 2:
            continue
        units = set(units_along(read_by.analysis, node, 1).tolist())
        area = value.shape[2] * value.shape[3]
        for site, (start, size) in enumerate(zip(starts.tolist(), sizes, strict=False)):
            has_all = units.issuperset(range(start, start + size))
            if rated[site] and has_all and area >= best.get(site, (0, node))[0]:
                best[site] = (area, node)
    chosen: dict[fx.Node, list[Tensor]] = {}
    for site, (_, node) in best.items():
        chosen.setdefault(node, []).append(torch.arange(starts[site], starts[site + 1]))
    return {node: torch.cat(units) for node, units in chosen.items()}


CRITERIA.add(
    "hrank",
    Criterion(
        key="hrank",
        title="Rank of feature maps (HRank)",
        formula=r"s_u = \frac{1}{N} \sum_{n=1}^{N} \mathrm{rank}\, A_u^{(n)}",
        description="The mean rank of the maps a channel makes, behind ReLU and before pooling: "
        "maps of low rank hold little. Only channels of 2-D convolutions are rated; all else stays "
        "whole. Meant for large maps: in the bundled networks (7 to 28 pixels) ranks lie close "
        "together, do not follow the Taylor score (rank correlation -0.45 to 0.36), and accuracy "
        "falls below that of random choice.",
        source="Lin et al. 2020, arXiv:2002.10179",
        needs=frozenset({Evidence.ACTIVATIONS}),
        rates=Rates.UNITS,
        rule=PerUnit(mean_ranks),
    ),
)
