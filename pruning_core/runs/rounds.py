"""Iterative pruning: how much of the target each round reaches, and in whose units.

Plans are always in units of the dense network, so that a ratio, a count or a budget means the same
in every round; scores and surgery see the network as it is after the rounds before.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import TypeAlias, assert_never

import numpy as np
from numpy.typing import NDArray

from pruning_core.errors import InvalidRecipeError, RunError
from pruning_core.granularities import GRANULARITIES
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


def check_rounds(recipe: Recipe) -> None:
    """Refuse what cannot be done in several rounds: thresholds, and mixed recipes.

    A threshold cannot be reached little by little.

    Raises:
        InvalidRecipeError: Naming every place a threshold stands.
    """
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


def reached(schedule: Schedule, number: int) -> float:
    """Return the share of the target that round ``number`` (1-based) reaches, 0 to 1.

    Linear: ``r / R``. Cubic (much at first, little at the end): ``1 - (1 - r / R) ** 3``, the
    schedule of Zhu and Gupta 2017, arXiv:1710.01878.
    """
    progress = number / schedule.rounds
    match schedule.shape:
        case "linear":
            return progress
        case "cubic":
            return 1 - (1 - progress) ** 3
        case _:
            assert_never(schedule.shape)


def round_recipe(recipe: Recipe, number: int) -> Recipe:
    """Return the recipe of round ``number`` (1-based): every target scaled, all else the same.

    The last round's targets are the recipe's own, to the bit.
    """
    if number == recipe.schedule.rounds:
        return recipe
    share = reached(recipe.schedule, number)
    layers = {}
    for name, target in recipe.layers.items():
        scaled = _scaled(target, share)
        if not isinstance(scaled, Budget):
            layers[name] = scaled
    return recipe.replace(target=_scaled(recipe.target, share), layers=layers)


def _scaled(target: Target, share: float) -> Target:
    match target:
        case Ratio(value=value):
            return Ratio(value=value * share)
        case Count(value=value):
            return Count(value=round(value * share))
        case Budget(kind=kind, value=value):
            return Budget(kind=kind, value=1 - (1 - value) * share)
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
