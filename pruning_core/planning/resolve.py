"""Resolve a recipe against scores: every wish becomes an exact number of units a layer."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pruning_core.planning.budget import meet_budget
from pruning_core.planning.erk import erk_removed
from pruning_core.planning.mixed import Structure, merged, never_empty
from pruning_core.planning.order import Order
from pruning_core.planning.plan import Plan
from pruning_core.planning.recipe import Budget, Count, Ratio, Recipe, Threshold
from pruning_core.rounding import share
from pruning_core.scoring.ranking import SiteRanking
from pruning_core.scoring.score import Scores
from pruning_core.tracing.network import Network

__all__ = ["Plan", "resolve"]

LayerWish = Ratio | Count | Threshold


@dataclass(frozen=True, slots=True, eq=False)
class Decision:
    """How one part of a recipe was decided.

    Attributes:
        order: In which order units go, and how many may.
        wishes: Site name -> how many units were asked for, by the layer's target or the global one.
        plan: What came of it.
        unrated: Sites the criterion has nothing to say about.
    """

    order: Order
    wishes: Mapping[str, int]
    plan: Plan
    unrated: frozenset[str]


def resolve(recipe: Recipe, network: Network, scores: Scores) -> Plan:
    """Decide exactly which units go.

    Asked for k, k go, unless the minimum kept, the rounding, units picked by hand or the number of
    units stands in the way, which the plan's notes say. A layer with a target of its own, or
    pinned, is left alone by the global target.

    In a mixed recipe every part is decided on the dense network; a budget comes last, and counts
    what the other parts remove.

    Raises:
        InvalidRecipeError: If the recipe names unknown layers or a budget that cannot be reached.
    """
    plans = {prefix: made.plan for prefix, made in decisions(recipe, network, scores).items()}
    if not recipe.also:
        return plans[""]
    return never_empty(merged(recipe, plans), network, scores)


def decisions(recipe: Recipe, network: Network, scores: Scores) -> dict[str, Decision]:
    """Return how each part of the recipe is decided, by prefix; see :func:`resolve`."""
    made: dict[str, Decision] = {}
    with_budget_last = sorted(
        recipe.parts.items(), key=lambda item: isinstance(item[1].target, Budget)
    )
    for prefix, part in with_budget_last:
        others = Structure.of(network, [decision.plan for decision in made.values()])
        made[prefix] = _decided(part, network, scores.part(prefix), others)
    return {prefix: made[prefix] for prefix in recipe.parts}


def _decided(recipe: Recipe, network: Network, scores: Scores, others: Structure) -> Decision:
    """Decide one part, ``others`` being what parts decided earlier leave."""
    order = Order(recipe, network, scores)
    own = [name for name in order.sites if name in recipe.layers or name in recipe.pins]
    wishes = {
        name: _wish(recipe.layers[name], order.ranking(name)) if name in recipe.layers else 0
        for name in own
    } | dict.fromkeys(scores.unrated, 0)
    governed = [name for name in order.sites if name not in wishes]
    notes = {name: [_unrated_note(scores)] for name in order.sites if name in scores.unrated}
    match recipe.target:
        case Budget() as budget:
            counts = {name: order.allowed(name, wish) for name, wish in wishes.items()}
            wishes |= meet_budget(recipe, budget, network, order, counts, others)
        case Ratio() | Count() as target if recipe.scope == "global":
            ranking = order.together(governed)
            wish = _total_wish(target, governed, order, len(ranking), notes)
            wishes |= zip(governed, ranking.counts(wish).tolist(), strict=True)
        case Ratio() | Count() as target if recipe.scope == "erk":
            most = sum(order.most(name) for name in governed)
            wish = _total_wish(target, governed, order, most, notes)
            removed = erk_removed(network, order, governed)(wish)
            wishes |= zip(governed, removed.tolist(), strict=True)
        case target:
            wishes |= {name: _wish(target, order.ranking(name)) for name in governed}
    return Decision(order, wishes, _plan(recipe, order, wishes, notes), scores.unrated)


def _wish(target: LayerWish, ranking: SiteRanking) -> int:
    """Return how many units of one site the target asks to remove."""
    match target:
        case Ratio(value=ratio):
            return share(ratio, len(ranking))
        case Count(value=count):
            return min(count, len(ranking))
        case Threshold(value=threshold):
            return ranking.count_below(threshold)


def _total_wish(
    target: Ratio | Count,
    names: Sequence[str],
    order: Order,
    most: int,
    notes: dict[str, list[str]],
) -> int:
    """Return how many units of all sites together are asked for; at most ``most`` may go."""
    total = sum(order.sites[name].n_units for name in names)
    wish = share(target.value, total) if isinstance(target, Ratio) else target.value
    if wish > most:
        by_hand = " or were picked by hand" if any(order.picks(name).keep for name in names) else ""
        notes.setdefault("", []).append(
            f"{wish:,} units were asked for, {most:,} of {total:,} may go: the rest are the "
            f"minimum kept in each layer{by_hand}."
        )
    return wish


def _plan(
    recipe: Recipe, order: Order, wishes: Mapping[str, int], notes: dict[str, list[str]]
) -> Plan:
    keep, thresholds = {}, {}
    for name in order.sites:
        allowed = order.allowed(name, wishes[name])
        if allowed != wishes[name]:
            notes.setdefault(name, []).append(_limit_note(wishes[name], allowed, name, order))
        ranking = order.ranking(name)
        keep[name] = ranking.kept(allowed)
        thresholds[name] = ranking.threshold(allowed)
    return Plan(recipe, keep, thresholds, {name: tuple(text) for name, text in notes.items()})


def _unrated_note(scores: Scores) -> str:
    return f"The criterion '{scores.criterion}' has nothing to say about these units; all stay."


def _limit_note(wish: int, allowed: int, name: str, order: Order) -> str:
    site, limits, picks = order.sites[name], order.limits, order.picks(name)
    asked = f"{wish:,} of {site.n_units:,} were asked for, {allowed:,} go"
    if limits.pattern is not None:
        n, m = limits.pattern.n, limits.pattern.m
        return (
            f"{asked}: a layer follows the pattern {n}:{m} everywhere or nowhere, and the nearer "
            "of the two is taken."
        )
    clipped = order.clipped(name, wish)
    rules = [
        f"{len(picks.prune):,} were picked by hand to go" if clipped > wish else "",
        f"{len(picks.keep):,} were picked by hand to stay" if clipped < wish else "",
        f"at least {min(limits.min_kept, site.n_units)} must stay"
        if site.n_units - clipped < limits.min_kept
        else "",
        f"the number that stays is rounded up to a multiple of {limits.round_to}"
        if limits.round_to > 1
        else "",
    ]
    return f"{asked}: {' and '.join(rule for rule in rules if rule)}."
