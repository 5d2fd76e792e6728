"""Iterative pruning: how much of the target each round reaches, and in whose units.

Plans are always in units of the dense network, so that a ratio, a count or a budget means the same
in every round; scores and surgery see the network as it is after the rounds before.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, TypeAlias, assert_never

import numpy as np
from numpy.typing import NDArray

from pruning_core.errors import InvalidRecipeError, RunError
from pruning_core.granularities import GRANULARITIES
from pruning_core.planning.pace import gone_at
from pruning_core.planning.recipe import (
    Budget,
    Count,
    Ratio,
    Recipe,
    Schedule,
    Target,
    Threshold,
)
from pruning_core.scoring.normalise import comparable
from pruning_core.scoring.score import Scores
from pruning_core.surgery.prune import Pruned

Keep: TypeAlias = Mapping[str, NDArray[np.bool_]]

SMALLEST_STEP: Final = 1 / 64


@dataclass(frozen=True, slots=True)
class Walk:
    """How far an adaptive schedule came; both are shares of the way to the target.

    Attributes:
        reached: Where the last round that held the accuracy got to.
        step: How much further the next round tries to go.
    """

    reached: float
    step: float

    @property
    def aim(self) -> float:
        """Where the next round tries to get to."""
        return min(1.0, self.reached + self.step)

    @property
    def is_over(self) -> bool:
        """True at the target, and when steps have become too small to be worth a round."""
        return self.reached >= 1 or self.step < SMALLEST_STEP


def walk(first_step: float, verdicts: Sequence[bool]) -> Walk:
    """Return where an adaptive schedule stands after rounds that held the accuracy, or did not.

    A round that held it doubles the step, unless the one before did not: then the place where it
    fell is tried again in two steps. A round that did not hold it is undone and halves the step.

    Args:
        first_step: Of the recipe.
        verdicts: By finished round, True where it held the accuracy.
    """
    now, fell = Walk(0.0, first_step), False
    for held in verdicts:
        if held:
            now = Walk(now.aim, now.step if fell else 2 * now.step)
        else:
            now = Walk(now.reached, now.step / 2)
        fell = not held
    return now


def check_rounds(recipe: Recipe) -> None:
    """Refuse what cannot be done in several rounds: thresholds, and mixed recipes.

    A threshold cannot be reached little by little. Nor can weights be rewound that are not trained
    again, or in the middle of one training. Adaptive rounds need something to follow.

    Raises:
        InvalidRecipeError: Naming every place a threshold stands.
    """
    _check_weights(recipe)
    _check_adaptive(recipe.schedule)
    if recipe.schedule.rounds == 1:
        return
    if recipe.also:
        raise InvalidRecipeError(
            f"A recipe that prunes in several ways at once (also: "
            f"{', '.join(part.granularity for part in recipe.also)}) works in one round only, and "
            f"schedule.rounds is {recipe.schedule.rounds}. Set rounds to 1, or prune in one way."
        )
    places = ["target"] if isinstance(recipe.target, Threshold) else []
    places += [
        f"layers.{name}" for name, target in recipe.layers.items() if isinstance(target, Threshold)
    ]
    if places:
        shown = ", ".join(places[:10]) + (" ..." if len(places) > 10 else "")
        raise InvalidRecipeError(
            f"A threshold works in one round only, and schedule.rounds is "
            f"{recipe.schedule.rounds}. Set rounds to 1, or give a ratio or a count instead at: "
            f"{shown}."
        )


def _check_weights(recipe: Recipe) -> None:
    schedule = recipe.schedule
    if schedule.weights == "keep":
        return
    if schedule.gradual:
        raise InvalidRecipeError(
            f"Gradual pruning is one training, and schedule.weights is '{schedule.weights}', which "
            "starts a new one after each round. Set weights to 'keep', or gradual to false."
        )
    if recipe.epochs_of_round(1) == 0 or recipe.n_epochs == 0:
        raise InvalidRecipeError(
            f"schedule.weights is '{schedule.weights}', and tuning.epochs is "
            f"{recipe.tuning.epochs}: the network would be handed out untrained. Set epochs to 1 "
            "or more, or weights to 'keep'."
        )


def _check_adaptive(schedule: Schedule) -> None:
    if schedule.first_step is None:
        return
    without = "Adaptive rounds (schedule.first_step) follow the validation accuracy, and schedule."
    if schedule.max_drop is None:
        raise InvalidRecipeError(
            f"{without}max_drop is not set. Say how many percentage points may be lost."
        )
    if schedule.rounds == 1:
        raise InvalidRecipeError(
            f"{without}rounds is 1. Say how many rounds may be tried, 2 or more."
        )
    if schedule.gradual:
        raise InvalidRecipeError(
            f"{without}gradual asks for one training, in which no round can be undone. Set gradual "
            "to false, or leave first_step out."
        )
    if schedule.last_epochs is not None:
        raise InvalidRecipeError(
            f"{without}last_epochs is {schedule.last_epochs}: which round is the last is not known "
            "beforehand. Leave it out."
        )


def progress_of(schedule: Schedule, number: int, verdicts: Sequence[bool]) -> float:
    """Return how much of the way is done after round ``number`` (1-based), from 0 to 1.

    Args:
        schedule: Of the recipe.
        number: Which round.
        verdicts: By earlier round, True where it held the accuracy; adaptive rounds depend on it.
    """
    if schedule.first_step is not None:
        return walk(schedule.first_step, verdicts).aim
    return number / schedule.rounds


def round_recipe(recipe: Recipe, progress: float, n_units: Mapping[str, int]) -> Recipe:
    """Return the recipe of a round: every target scaled, all else the same.

    The targets at the end are the recipe's own, to the bit.

    Args:
        recipe: The whole recipe.
        progress: How much of the way is done after the round.
        n_units: Units of the dense network by site; a count is a share of them.
    """
    if progress == 1:
        return recipe
    governed = [
        n for site, n in n_units.items() if site not in recipe.layers and site not in recipe.pins
    ]
    total = min(governed, default=1) if recipe.scope == "local" else sum(governed)
    layers = {}
    for name, target in recipe.layers.items():
        scaled = _scaled(target, recipe.schedule, progress, n_units.get(name, 1))
        if not isinstance(scaled, Budget):
            layers[name] = scaled
    whole = _scaled(recipe.target, recipe.schedule, progress, total)
    return recipe.replace(target=whole, layers=layers)


def _scaled(target: Target, schedule: Schedule, progress: float, n_units: int) -> Target:
    match target:
        case Ratio(value=value):
            return Ratio(value=gone_at(schedule, progress, value))
        case Count(value=value):
            n_units = max(n_units, value + 1)  # what cannot all leave is refused by the last round
            return Count(value=round(n_units * gone_at(schedule, progress, value / n_units)))
        case Budget(kind=kind, value=value):
            return Budget(kind=kind, value=1 - gone_at(schedule, progress, 1 - value))
        case Threshold():
            return target
        case _:
            assert_never(target)


def in_dense_units(scores: Scores, kept: Keep, recipe: Recipe) -> Scores:
    """Return scores for all units of the dense network, from scores of the network as it is now.

    Units that are gone rank below all others, so a plan that removes at least as much as the last
    one removes them again. They take no part in the normalisation.

    Args:
        scores: Neither normalised nor reversed; by site ``[U]``, or ``[kept]`` where the units
            really left.
        kept: By site bool ``[U]``, True for the units that are still there.
        recipe: Its normalisation and order are applied.

    Raises:
        RunError: If the network no longer has the sites of the dense one.
    """
    removes = GRANULARITIES[scores.granularity].removes
    present: dict[str, NDArray[np.float32]] = {}
    for site, stays in kept.items():
        n_left = int(stays.sum())
        if removes and n_left == 1:
            # It stays; the trace may not even see it as a unit.
            present[site] = np.zeros(1, np.float32)
            continue
        values = scores.by_site.get(site)
        if values is None or values.size != (n_left if removes else stays.size):
            raise RunError(
                f"After a round of pruning the units of '{site}' cannot be told apart any more. "
                "Prune in one round."
            )
        living = values if removes else values[stays]
        present[site] = comparable(living, recipe)
    lowest = min((float(values.min()) for values in present.values()), default=0.0)
    below = np.float32(lowest - 1 - abs(lowest))
    dense = {}
    for site, stays in kept.items():
        dense[site] = np.full(stays.size, below, dtype=np.float32)
        dense[site][stays] = present[site]
    return replace(scores, by_site=dense)


def in_present_units(keep: Keep, kept: Keep | None, *, removes: bool) -> Keep:
    """Return which of the units that are still there stay; sites with one unit left are left out.

    Args:
        keep: By site bool ``[U]`` over the units of the dense network.
        kept: What stayed after the round before; None in the first round.
        removes: True when units that do not stay really leave.
    """
    if kept is None or not removes:
        return keep
    return {site: stays[kept[site]] for site, stays in keep.items() if int(kept[site].sum()) > 1}


def composed(before: Pruned, now: Pruned) -> Pruned:
    """Return ``now`` as pruned from the dense network, of which ``before`` is what was left.

    Once a graph stands in for the user's class, later rounds keep it.
    """
    indices = dict(before.kept)
    for name, axes in now.kept.items():
        earlier = before.kept.get(name, (None,) * len(axes))
        indices[name] = tuple(
            inner if outer is None else outer if inner is None else outer[inner]
            for outer, inner in zip(earlier, axes, strict=True)
        )
    if before.form == "graph":
        return replace(now, form="graph", reason=before.reason, kept=indices)
    return replace(now, kept=indices)
