"""Sensitivity scan: how the accuracy falls when one layer alone is pruned, layer by layer.

Source: Han et al. 2015, arXiv 1506.02626, and Li et al. 2017, arXiv 1608.08710. What single layers
lose does not add up: a plan that prunes several loses another amount, which only measuring tells.
"""

from collections.abc import Callable, Collection, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from pruning_core.evaluation.whatif import WhatIf
from pruning_core.granularities import GRANULARITIES
from pruning_core.planning.plan import Plan
from pruning_core.planning.recipe import Ratio, Recipe
from pruning_core.planning.resolve import resolve
from pruning_core.scoring.score import Scores
from pruning_core.tasks import ACCURACY, Metric
from pruning_core.tracing.network import Network

RATIOS: Final = (0.5, 0.9, 0.7, 0.3, 0.8, 0.6, 0.4, 0.2, 0.1, 0.95)
"""In the order of measuring, so that every layer has a rough curve soon."""

Claim = Callable[[str, int, int], bool]
"""Site, units that would go, units it has -> whether to measure that."""

Curves = Mapping[str, tuple[Sequence[float], Sequence[float]]]


@dataclass(frozen=True, slots=True)
class Point:
    """One layer pruned alone.

    Attributes:
        site: Its name.
        n_removed: Units that went.
        n_units: Units it has.
        accuracy: Share of right answers right after pruning, 0..1, or the headline metric of
            another task.
        lost: Examples that only the dense model names correctly.
        gained: Examples that only the pruned one does.
    """

    site: str
    n_removed: int
    n_units: int
    accuracy: float
    lost: int
    gained: int

    @property
    def ratio(self) -> float:
        """The share of its units that went, 0..1."""
        return self.n_removed / self.n_units


def alone(recipe: Recipe, site: str, ratio: float) -> Recipe:
    """Return the recipe that takes ``ratio`` of the units of ``site`` and nothing else."""
    own = {site: Ratio(value=ratio)} if ratio else {}
    return recipe.parts[""].replace(target=Ratio(value=0.0), layers=own, pins=(), picks={})


def scan(
    recipe: Recipe,
    network: Network,
    scores: Scores,
    measure: Callable[[Plan], WhatIf],
    known: Collection[Point] = (),
    claim: Claim | None = None,
) -> Generator[tuple[float, Point], None, None]:
    """Measure every layer at every ratio; yields the share of the scan that is done and the point.

    Layers that lose nothing at a ratio (too few units, pinned by couplings, not rated) have no
    point there, and two ratios that take the same number of units have one.

    Args:
        recipe: What is pruned and how it is rated; targets and pins do not matter.
        network: The traced network.
        scores: Its scores for the recipe.
        measure: Plan -> accuracy beside that of the dense model.
        known: Points of an earlier, unfinished scan.
        claim: Asked before each measurement; False leaves it to somebody else.
    """
    granularity = GRANULARITIES[recipe.granularity]
    ratios: tuple[float, ...] = RATIOS
    if granularity.pattern is not None:  # a pattern is there or not
        ratios = (1 - granularity.pattern.n / granularity.pattern.m,)
    places = [(ratio, site.name) for ratio in ratios for site in granularity.sites(network)]
    seen = {(point.site, point.n_removed) for point in known}
    for number, (ratio, site) in enumerate(places, start=1):
        plan = resolve(alone(recipe, site, ratio), network, scores)
        n_removed = plan.n_removed(site)
        if not n_removed or (site, n_removed) in seen:
            continue
        seen.add((site, n_removed))
        if claim is not None and not claim(site, n_removed, plan.keep[site].size):
            continue
        found = measure(plan)
        yield (
            number / len(places),
            Point(site, n_removed, plan.keep[site].size, found.accuracy, found.lost, found.gained),
        )


def curves(points: Iterable[Point], dense: float) -> Curves:
    """Return by site the ratios in rising order, 0 first, and the accuracy at each.

    Args:
        points: In any order.
        dense: Accuracy of the dense model on the same examples.
    """
    by_site: dict[str, dict[float, float]] = {}
    for point in points:
        by_site.setdefault(point.site, {0.0: dense})[point.ratio] = point.accuracy
    return {
        site: ([*sorted(found)], [found[ratio] for ratio in sorted(found)])
        for site, found in by_site.items()
    }


def tolerated(found: Curves, drop: float, metric: Metric = ACCURACY) -> dict[str, float]:
    """Return by site the largest measured ratio up to which no point loses more than ``drop``.

    Args:
        found: From :func:`curves`.
        drop: Share of the examples, 0..1, below the accuracy of the dense model; of another metric
            a hundredth of what :meth:`Metric.lost` says.
        metric: What was measured.
    """
    ratios = {}
    for site, (shares, accuracies) in found.items():
        within = 0.0
        for share, accuracy in zip(shares, accuracies, strict=True):
            if metric.lost(accuracies[0], accuracy) > 100 * drop + 1e-10:
                break
            within = share
        ratios[site] = within
    return ratios
