"""Why one unit goes or stays: its score, its rank, the rule that decided, and what goes with it."""

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from pruning_core.errors import InvalidRecipeError, UnknownNameError
from pruning_core.granularities import GRANULARITIES, Site
from pruning_core.planning.mixed import sites_of
from pruning_core.planning.plan import Plan
from pruning_core.planning.recipe import Budget, Count, Ratio, Recipe, Threshold
from pruning_core.planning.resolve import Decision, decisions
from pruning_core.scoring.ranking import SiteRanking
from pruning_core.scoring.score import Scores
from pruning_core.tracing.coupling import lock_path
from pruning_core.tracing.network import Network


class Rule(StrEnum):
    """What decided that a unit goes or stays."""

    THRESHOLD = "threshold"
    RATIO = "ratio"
    COUNT = "count"
    BUDGET = "budget"
    PATTERN = "pattern"
    PICKED = "picked by hand"
    PINNED = "pinned"
    MINIMUM = "minimum kept"
    ROUNDING = "rounding"
    UNRATED = "not rated"
    OTHER_PARTS = "other parts"
    ROUNDS = "rounds"


@dataclass(frozen=True, slots=True)
class Slice:
    """A part of a tensor that leaves or becomes zero with a unit.

    Attributes:
        tensor: Full name of the parameter or buffer.
        place: Index or range on each axis, e.g. ``[3, :, :, :]``; empty for the whole tensor.
    """

    tensor: str
    place: str


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why one unit goes or stays.

    Attributes:
        site: Name of its site.
        unit: Its number there.
        name: What to call it, e.g. ``channel 3 of 'conv1'``.
        kept: True when it stays.
        score: Its score, after normalisation.
        rank: Its place in the order in which the units of the site go, 1 for the first.
        n_units: Units of the site.
        n_removed: How many of them go.
        threshold: Score of the lowest unit that stays.
        rule: What decided.
        slices: Everything that belongs to the unit, in all coupled layers.
        layers: The layers that change when it goes.
        sentence: All that for a person to read.
    """

    site: str
    unit: int
    name: str
    kept: bool
    score: float
    rank: int
    n_units: int
    n_removed: int
    threshold: float
    rule: Rule
    slices: tuple[Slice, ...]
    layers: tuple[str, ...]
    sentence: str


@dataclass(frozen=True, slots=True)
class Lock:
    """An axis of a parameter that cannot shrink, and why.

    Attributes:
        parameter: Full name.
        axis: Which of its axes.
        reasons: What ties it to something of fixed size, step by step.
    """

    parameter: str
    axis: int
    reasons: tuple[str, ...]


def explain(plan: Plan, network: Network, scores: Scores, site: str, unit: int) -> Explanation:
    """Say why unit number ``unit`` of ``site`` goes or stays.

    Args:
        plan: The plan, resolved from ``scores``.
        network: The traced network.
        scores: What the recipe rates its units with.
        site: Name of a site as in the plan.
        unit: Its number, from 0.

    Raises:
        UnknownNameError: If there is no such site.
        InvalidRecipeError: If it has no such unit.
    """
    where = {found.name: found for found in sites_of(plan.recipe, network)}
    if site not in where:
        raise UnknownNameError("prunable layer", site, where)
    here = where[site]
    if not 0 <= unit < here.n_units:
        raise InvalidRecipeError(
            f"Layer '{site}' has no {here.kind} {unit:,}: they are numbered 0 to "
            f"{here.n_units - 1:,}."
        )
    prefix, name = plan.recipe.locate(site)
    part = plan.recipe.parts[prefix]
    decision = decisions(plan.recipe, network, scores)[prefix]
    case = _Case(part, decision, name, unit, bool(plan.keep[site][unit]))
    rule, because = case.decided()
    called = _name(network, part, here, name, unit)
    layers = tuple(layer for layer in here.layers if layer != here.layer)
    said = f"{called[0].upper()}{called[1:]} {case.fate(here)}: {because}."
    rated = (
        f"Its score is {case.score:.4g}, rank {case.rank:,} of {here.n_units:,} in the order they "
        "go."
    )
    coupled = ""
    if GRANULARITIES[part.granularity].coupled and layers:
        leaves = "would leave" if case.kept else "leaves"
        coupled = f"It {leaves} together with its slices in {_listed(layers)}."
    return Explanation(
        site=site,
        unit=unit,
        name=called,
        kept=case.kept,
        score=case.score,
        rank=case.rank,
        n_units=here.n_units,
        n_removed=plan.n_removed(site),
        threshold=plan.thresholds[site],
        rule=rule,
        slices=_slices(network, part, name, unit),
        layers=here.layers,
        sentence=" ".join(text for text in (said, rated, coupled) if text),
    )


def locks(network: Network, layer: str) -> tuple[Lock, ...]:
    """Return the axes of a layer's parameters that cannot shrink, with the reason for each.

    Raises:
        UnknownNameError: If there is no such layer.
    """
    by_name = {found.name: found for found in network.layers}
    if layer not in by_name:
        raise UnknownNameError("layer", layer, by_name)
    found = []
    for parameter in by_name[layer].parameters:
        for axis in range(network.tensor(parameter).ndim):
            steps = lock_path(network, parameter, axis)
            if steps:
                found.append(Lock(parameter, axis, tuple(step.sentence for step in steps)))
    return tuple(found)


@dataclass(frozen=True, slots=True, eq=False)
class _Case:
    """One unit, and how its fate was decided."""

    recipe: Recipe
    decision: Decision
    site: str
    unit: int
    kept: bool

    @property
    def ranking(self) -> SiteRanking:
        """The units of the site in the order they go."""
        return self.decision.order.ranking(self.site)

    @property
    def score(self) -> float:
        """The unit's score."""
        return float(self.ranking.values[self.unit])

    @property
    def rank(self) -> int:
        """The unit's place in that order, 1 for the first."""
        return 1 + self.ranking.place(self.unit)

    @property
    def wish(self) -> int:
        """How many units of the site were asked for."""
        return self.decision.wishes[self.site]

    @property
    def gone(self) -> int:
        """How many units of the site go."""
        return self.decision.plan.n_removed(self.site)

    def fate(self, site: Site) -> str:
        """Return what becomes of the unit, as a verb."""
        if self.kept:
            return "stays"
        return "becomes zero" if site.parameter else "goes"

    def decided(self) -> tuple[Rule, str]:
        """Return what decided, and why in words."""
        order, picks = self.decision.order, self.decision.order.picks(self.site)
        if bool(self.decision.plan.keep[self.site][self.unit]) != self.kept:
            return self._elsewhere()
        if order.limits.pattern is not None:
            return self._by_pattern()
        if self.unit in (picks.keep if self.kept else picks.prune):
            return Rule.PICKED, f"it was picked by hand to {'stay' if self.kept else 'go'}"
        if any(
            "has nothing to say" in note for note in self.decision.plan.notes.get(self.site, ())
        ):
            return Rule.UNRATED, f"'{self.recipe.criterion}' cannot rate the layer, so all stay"
        if self.kept and self.rank <= order.clipped(self.site, self.wish):
            return self._limited()
        return self._by_target()

    def _elsewhere(self) -> tuple[Rule, str]:
        if self.kept and self.recipe.schedule.rounds == 1:
            return (
                Rule.OTHER_PARTS,
                "the other parts of the recipe leave nothing else of the weight",
            )
        return Rule.ROUNDS, "it was decided in rounds, each with scores of its own"

    def _limited(self) -> tuple[Rule, str]:
        limits = self.decision.order.limits
        n_units = len(self.ranking)
        if n_units - self.rank < min(limits.min_kept, n_units):
            return Rule.MINIMUM, f"at least {limits.min_kept} must stay, those that score highest"
        return Rule.ROUNDING, f"the number that stays is a multiple of {limits.round_to}"

    def _by_pattern(self) -> tuple[Rule, str]:
        pattern = self.decision.order.limits.pattern
        if pattern is None or not self.gone:
            asked = f"{self.wish:,} weights were" if self.wish else "nothing was"
            nearer = ", which is nearer to none" if self.wish else ""
            return Rule.PATTERN, f"the layer does not follow the pattern: {asked} asked for{nearer}"
        some, which = (pattern.n, "highest") if self.kept else (pattern.m - pattern.n, "lowest")
        group = self.unit // pattern.m
        return Rule.PATTERN, f"it is among the {some} {which} of its {pattern.m}, group {group:,}"

    def _by_target(self) -> tuple[Rule, str]:
        own = self.recipe.layers.get(self.site)
        if own is None and self.site in self.recipe.pins:
            return Rule.PINNED, "the layer is pinned and has no target of its own"
        target = own or self.recipe.target
        scope = "layer" if own else self.recipe.scope
        match target:
            case Threshold(value=value):
                side = "not below" if self.kept else "below"
                whose = "the layer's threshold" if own else "the threshold"
                return Rule.THRESHOLD, f"it scores {side} {whose} {value:.4g}"
            case Ratio(value=value):
                return Rule.RATIO, self._among(scope, f"ratio {value:.4g}")
            case Count(value=count):
                return Rule.COUNT, self._among(scope, f"count {count:,}")
            case Budget(kind=kind, value=value):
                wish = f"the fewest that leave at most {value:.1%} of the {kind}"
                return Rule.BUDGET, self._among(scope, wish)

    def _among(self, scope: str, wish: str) -> str:
        inside = "is not" if self.kept else "is"
        if scope != "global":
            spread = {"layer": "of the layer", "local": "of each layer", "erk": "spread by ERK"}
            return f"it {inside} among the {self._lowest(self.gone)} ({wish} {spread[scope]})"
        decision = self.decision
        apart = (*self.recipe.layers, *self.recipe.pins)
        free = [site for site in decision.wishes if site not in apart]
        total = sum(decision.plan.n_removed(site) for site in free)
        n_units = sum(len(decision.order.ranking(site)) for site in free)
        where = "in all layers together" if len(free) > 1 else "there are"
        return f"it {inside} among the {self._lowest(total)} of {n_units:,} {where} ({wish})"

    def _lowest(self, count: int) -> str:
        return f"{count:,} with the lowest scores"


def _name(network: Network, recipe: Recipe, where: Site, site: str, unit: int) -> str:
    if where.unit_names:
        return f"{where.kind} '{where.unit_names[unit]}'"
    if where.parameter:
        (found,) = _slices(network, recipe, site, unit)
        return f"{where.kind} {found.place} of '{where.parameter}'"
    return f"{where.kind} {unit} of '{site}'"


def _slices(network: Network, recipe: Recipe, site: str, unit: int) -> tuple[Slice, ...]:
    """Return everything that belongs to a unit."""
    granularity = GRANULARITIES[recipe.granularity]
    where = next(found for found in granularity.sites(network) if found.name == site)
    if granularity.mask is not None:
        keep = np.ones(where.n_units, np.bool_)
        keep[unit] = False
        elements = np.argwhere(~granularity.mask(network, where, keep))
        shape = network.tensor(where.parameter).shape
        columns = zip(elements.T, shape, strict=True)
        return (Slice(where.parameter, _place([_range(c, size) for c, size in columns])),)
    if not granularity.coupled:
        return tuple(Slice(name, "") for name in network.branches[unit].tensors)
    group = network.group(site)
    number = network.first_unit(group) + unit
    found = []
    for member in group.members:
        shape = network.tensor(member.parameter).shape
        indices = np.flatnonzero(
            network.analysis.units_along(member.parameter, member.axis) == number
        )
        axes = [
            _range(indices, size) if axis == member.axis else ":" for axis, size in enumerate(shape)
        ]
        found.append(Slice(member.parameter, _place(axes)))
    return tuple(found)


def _place(axes: list[str]) -> str:
    return f"[{', '.join(axes)}]"


def _range(indices: NDArray[np.int64], size: int) -> str:
    """Return indices as numbers and ranges: ``3``, ``:``, ``16:32``, ``{5 133 261}``."""
    distinct = np.unique(indices)
    if 1 < len(distinct) == size:
        return ":"
    runs = np.split(distinct, np.flatnonzero(np.diff(distinct) > 1) + 1)
    shown = [str(r[0]) if len(r) == 1 else f"{r[0]}:{r[-1] + 1}" for r in runs[:6]]
    more = " ..." if len(runs) > 6 else ""
    return shown[0] if len(runs) == 1 else f"{{{' '.join(shown)}{more}}}"


def _listed(names: tuple[str, ...]) -> str:
    quoted = [f"'{name}'" if name else "the model itself" for name in names[:8]]
    rest = f" and {len(names) - 8} more" if len(names) > 8 else ""
    return ", ".join(quoted) + rest
