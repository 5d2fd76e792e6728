"""Two handles that need measuring: the largest allowed accuracy drop, and a time per batch.

Both look for a ratio of the global target by measuring plans. Neither accuracy nor time falls
evenly, so what is promised is only what was measured: the plan that is returned met the limit.
"""

from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Final

from pruning_core.errors import InvalidRecipeError
from pruning_core.granularities import GRANULARITIES
from pruning_core.planning.plan import Plan
from pruning_core.planning.recipe import Ratio, Recipe
from pruning_core.planning.resolve import resolve
from pruning_core.scoring.score import Scores
from pruning_core.tasks import ACCURACY, Metric
from pruning_core.tracing.network import Network

STEPS: Final = 1000
"""Ratios that are told apart: every 0.1 %."""
_COARSE: Final = 125
_TRIES: Final = 6


@dataclass(frozen=True, slots=True)
class Attempt:
    """One plan that was measured on the way.

    Attributes:
        ratio: The global target, 0 to below 1.
        n_removed: Units that go in all.
        value: What was measured: the drop in percentage points, or milliseconds.
        fits: Whether that is within the limit.
    """

    ratio: float
    n_removed: int
    value: float
    fits: bool


@dataclass(frozen=True, slots=True)
class Search:
    """What a search found.

    Attributes:
        found: The attempt to use; None when the limit cannot be met.
        sentence: What is known about it, or why there is none.
        attempts: Everything measured, in order.
    """

    found: Attempt | None
    sentence: str
    attempts: tuple[Attempt, ...]


Searching = Generator[Attempt, None, Search]
Measure = Callable[[Plan], float]


def largest_within_drop(
    recipe: Recipe,
    network: Network,
    scores: Scores,
    measure: Measure,
    limit: float,
    metric: Metric = ACCURACY,
) -> Searching:
    """Find the largest ratio whose measured drop is at most ``limit`` percentage points.

    Every eighth of the range is measured first, from the top, since a larger ratio may harm less;
    then the range above the largest one that fits is halved down to 0.1 %.

    Args:
        recipe: Its layers and pins stay; its target is replaced.
        network: The traced network.
        scores: Its scores for the recipe.
        measure: Plan -> accuracy lost, in percentage points.
        limit: At least 0.
        metric: What is lost, and in what unit; the accuracy in percentage points.
    """
    trial = _Trials(recipe, network, scores, measure, limit, metric)
    low, high = 0, STEPS
    for step in [*range(STEPS - _COARSE, 0, -_COARSE), 0]:
        attempt = trial.at(step)
        yield attempt
        if attempt.fits:
            low, high = step, min(STEPS, step + _COARSE)
            break
    else:
        least = trial.at(0)
        return trial.none(
            f"Even with nothing removed by the global setting, {least.value:.1f} "
            f"{metric.loss_unit} are lost "
            f"and {limit:g} are allowed: layers that are pinned lose too much. Unpin layers or "
            "allow more."
        )
    while high - low > 1:
        middle = (low + high) // 2
        attempt = trial.at(middle)
        yield attempt
        low, high = (middle, high) if attempt.fits else (low, middle)
    return trial.largest(low)


def smallest_within_time(
    recipe: Recipe, network: Network, scores: Scores, measure: Measure, limit: float
) -> Searching:
    """Find the smallest ratio whose measured median time is at most ``limit`` milliseconds.

    The range is halved down to 0.1 %; then what was found is measured again, and a little more is
    removed until the second measurement is within the limit as well.

    Args:
        recipe: Its layers and pins stay; its target is replaced.
        network: The traced network.
        scores: Its scores for the recipe.
        measure: Plan -> median milliseconds of a batch; called twice for the plan that is returned.
        limit: Above 0.

    Raises:
        InvalidRecipeError: If the recipe only sets weights to zero.
    """
    if not any(GRANULARITIES[part.granularity].removes for part in recipe.parts.values()):
        raise InvalidRecipeError(
            "A time budget cannot be met by setting weights to zero: the same products are "
            "computed. Choose a granularity that removes something, such as units."
        )
    trial = _Trials(recipe, network, scores, measure, limit)
    low, high = 0, STEPS - 1
    most = trial.at(high)
    yield most
    if not most.fits:
        return trial.none(
            f"{limit:g} ms cannot be met: {most.value:.3g} ms are measured when the global setting "
            "removes all it may. Allow more time, lower the minimum that stays in each layer, "
            "unpin layers, or choose another batch size."
        )
    first = trial.at(low)
    yield first
    while not first.fits and high - low > 1:
        middle = (low + high) // 2
        attempt = trial.at(middle)
        yield attempt
        low, high = (low, middle) if attempt.fits else (middle, high)
    step = 0 if first.fits else high
    for _ in range(_TRIES):
        again = trial.again(step)
        yield again
        if again.fits:
            return trial.timed(again)
        step = min(STEPS - 1, step + max(2, step // 20))
    return trial.none(
        f"The time varies so much on this machine that {limit:g} ms could not be confirmed. Close "
        "other programs, or allow more time."
    )


class _Trials:
    """The plans measured so far; the same plan is measured once."""

    def __init__(
        self,
        recipe: Recipe,
        network: Network,
        scores: Scores,
        measure: Measure,
        limit: float,
        metric: Metric = ACCURACY,
    ) -> None:
        self._metric = metric
        self._recipe, self._network, self._scores = recipe, network, scores
        self._measure, self._limit = measure, limit
        self._known: dict[str, float] = {}
        self._attempts: list[Attempt] = []

    def at(self, step: int) -> Attempt:
        """Measure the plan with ``step`` thousandths removed, unless that is known."""
        plan = self._plan(step)
        if plan.fingerprint not in self._known:
            self._known[plan.fingerprint] = self._measure(plan)
        return self._attempt(step, plan, self._known[plan.fingerprint])

    def again(self, step: int) -> Attempt:
        """Measure the plan even if it was measured before."""
        plan = self._plan(step)
        return self._attempt(step, plan, self._measure(plan))

    def none(self, sentence: str) -> Search:
        """Say why there is no plan."""
        return Search(None, sentence, tuple(self._attempts))

    def largest(self, step: int) -> Search:
        """Return what is known of the largest ratio that fits."""
        found = self.at(step)
        above = [a for a in self._attempts if a.ratio > found.ratio and not a.fits]
        if not above:
            text = "Everything that may go, goes: no larger ratio was left to try."
        else:
            nearest = min(above, key=lambda attempt: attempt.ratio)
            text = (
                f"At {100 * nearest.ratio:.1f} % the measured drop is {nearest.value:.1f} "
                f"{self._metric.loss_unit}. {self._metric.capital} does not "
                f"{'fall' if self._metric.higher_is_better else 'rise'} evenly, so a larger ratio "
                "that was not measured may fit as well."
            )
        return Search(found, text, tuple(self._attempts))

    def timed(self, found: Attempt) -> Search:
        """Return what is known of a plan that is quick enough."""
        text = "Nothing has to be removed by the global setting for that."
        if found.ratio:
            text = "Measured twice, and within the budget both times."
            below = [a for a in self._attempts if a.ratio < found.ratio and not a.fits]
            if below:
                nearest = max(below, key=lambda attempt: attempt.ratio)
                text += f" At {100 * nearest.ratio:.1f} % it took {nearest.value:.3g} ms."
        return Search(found, text, tuple(self._attempts))

    def _plan(self, step: int) -> Plan:
        target = Ratio(value=step / STEPS)
        return resolve(self._recipe.replace(target=target), self._network, self._scores)

    def _attempt(self, step: int, plan: Plan, value: float) -> Attempt:
        removed = sum(int((~keep).sum()) for keep in plan.keep.values())
        attempt = Attempt(step / STEPS, removed, value, value <= self._limit)
        self._attempts.append(attempt)
        return attempt
