"""Plans between accuracy and cost: what can be varied, and which of the measured plans are best.

A plan is on the *front* when no measured plan is both at least as accurate and at most as costly,
and better in one of the two (Pareto 1906).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final, Literal

from pruning_core.granularities import GRANULARITIES
from pruning_core.planning.recipe import Ratio, Recipe
from pruning_core.tasks import ACCURACY, Metric
from pruning_core.tracing.network import Network

Cost = Literal["params", "nonzero", "macs", "n_bytes", "milliseconds"]
COSTS: Final[Mapping[Cost, str]] = {
    "params": "parameters",
    "nonzero": "non-zeros",
    "macs": "MACs",
    "n_bytes": "file bytes",
    "milliseconds": "milliseconds",
}
LARGEST: Final = 0.95
STEP: Final = 0.05
_MOST_KNOBS: Final = 40


@dataclass(frozen=True, slots=True)
class Trial:
    """One plan that was measured.

    Attributes:
        number: From 0, in the order of measuring.
        ratios: Share that every layer was asked to lose, by layer.
        accuracy: Share of right answers on validation examples right after pruning, 0..1, or the
            headline metric of another task.
        params: Parameters left.
        nonzero: Of them not zero.
        macs: Multiply-accumulates of one sample.
        n_bytes: Of the dense weights file.
        milliseconds: Median time of one sample; None unless time is the cost.
        plan: Fingerprint of the masks.
    """

    number: int
    ratios: Mapping[str, float]
    accuracy: float
    params: int
    nonzero: int
    macs: int
    n_bytes: int
    milliseconds: float | None
    plan: str

    def cost(self, name: Cost) -> float:
        """Return what the plan costs, in units of ``COSTS[name]``."""
        value = getattr(self, name)
        return float("inf") if value is None else float(value)


def knobs(recipe: Recipe, network: Network) -> tuple[tuple[str, ...], ...]:
    """Return the layers that are varied, together where they stand together.

    Pinned layers are left as they are. Of more than 40 layers, neighbours share one ratio: a search
    has too few trials to tell more of them apart.
    """
    sites = [
        site.name
        for site in GRANULARITIES[recipe.granularity].sites(network)
        if site.name not in recipe.pins
    ]
    n_knobs = min(_MOST_KNOBS, len(sites))
    ends = [len(sites) * place // n_knobs for place in range(n_knobs + 1)] if sites else [0]
    return tuple(tuple(sites[a:b]) for a, b in pairwise(ends))


def choices(recipe: Recipe) -> tuple[float, ...]:
    """Return the ratios that a layer may be asked to lose."""
    pattern = GRANULARITIES[recipe.granularity].pattern
    if pattern is not None:
        return (0.0, 1 - pattern.n / pattern.m)
    return tuple(round(STEP * step, 2) for step in range(round(LARGEST / STEP) + 1))


def varied(recipe: Recipe, ratios: Mapping[str, float]) -> Recipe:
    """Return the recipe in which each layer of ``ratios`` loses that share; pins stay."""
    pinned = {name: own for name, own in recipe.layers.items() if name in recipe.pins}
    own = {name: Ratio(value=share) for name, share in ratios.items() if name not in recipe.pins}
    return recipe.replace(target=Ratio(value=0.0), layers={**pinned, **own})


def front(trials: Sequence[Trial], cost: Cost, metric: Metric = ACCURACY) -> tuple[Trial, ...]:
    """Return the trials that no other one beats, the cheapest first; equal ones once.

    ``metric`` says which accuracies are better.
    """
    best: list[Trial] = []
    for trial in sorted(
        trials, key=lambda one: (one.cost(cost), -metric.merit(one.accuracy), one.number)
    ):
        if not best or metric.is_better(trial.accuracy, best[-1].accuracy):
            best.append(trial)
    return tuple(best)
