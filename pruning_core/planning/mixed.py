"""Mixed plans: several granularities at once, each decided on the dense network."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from pruning_core.granularities import GRANULARITIES, Combine, Elements, Site
from pruning_core.planning.order import ranking_of
from pruning_core.planning.plan import Plan
from pruning_core.planning.recipe import Recipe
from pruning_core.scoring.score import Scores
from pruning_core.tracing.analysis import staying
from pruning_core.tracing.branches import Branch
from pruning_core.tracing.network import Network

Keep = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class Structure:
    """What really leaves a network.

    Attributes:
        keep: ``[n_units]`` True for the units that stay.
        cut: Residual branches that go.
    """

    keep: Keep
    cut: tuple[Branch, ...]

    @classmethod
    def whole(cls, network: Network) -> "Structure":
        """Return the structure of the dense network."""
        return cls(np.ones(network.cost.n_units, np.bool_), ())

    @classmethod
    def of(cls, network: Network, plans: Iterable[Plan]) -> "Structure":
        """Return what ``plans`` leave together."""
        found = cls.whole(network)
        for plan in plans:
            keep, cut = plan.unit_keep(network), plan.cut(network)
            found = cls(found.keep & keep, (*found.cut, *cut))
        return found

    @property
    def gone(self) -> frozenset[str]:
        """Parameters and buffers that leave with the branches."""
        return frozenset(name for branch in self.cut for name in branch.tensors)

    def survivors(self, network: Network, parameter: str) -> Keep:
        """Return which elements of a parameter are left, bool of its shape."""
        shape = tuple(network.tensor(parameter).shape)
        left = np.full(shape, parameter not in self.gone)
        if not self.keep.all():
            for axis in range(len(shape)):
                stays = staying(network.analysis.units_along(parameter, axis), self.keep)
                left &= stays.reshape([-1 if i == axis else 1 for i in range(len(shape))])
        return left


def sites_of(recipe: Recipe, network: Network) -> tuple[Site, ...]:
    """Return the sites of all parts, named as in a plan."""
    return tuple(
        replace(site, name=prefix + site.name)
        for prefix, part in recipe.parts.items()
        for site in GRANULARITIES[part.granularity].sites(network)
    )


def merged(recipe: Recipe, plans: Mapping[str, Plan]) -> Plan:
    """Return the plans of all parts, by prefix, as one."""
    notes: dict[str, tuple[str, ...]] = {}
    for prefix, plan in plans.items():
        for name, texts in plan.notes.items():
            key = prefix + name if name else ""
            said = (
                tuple(f"{prefix[:-1]}: {text}" for text in texts) if key == "" != prefix else texts
            )
            notes[key] = (*notes.get(key, ()), *said)
    return Plan(
        recipe=recipe,
        keep={prefix + name: keep for prefix, p in plans.items() for name, keep in p.keep.items()},
        thresholds={
            prefix + name: value
            for prefix, p in plans.items()
            for name, value in p.thresholds.items()
        },
        notes=notes,
    )


def never_empty(plan: Plan, network: Network, scores: Scores) -> Plan:
    """Return ``plan`` with a unit more of what would leave a weight without a single element.

    Each part leaves something of every weight, but masks and removals may leave different things.
    """
    structure = Structure.of(network, [plan])
    keep, notes = dict(plan.keep), dict(plan.notes)
    left: dict[str, Keep] = {}
    for prefix, part in plan.recipe.parts.items():
        granularity = GRANULARITIES[part.granularity]
        if granularity.mask is None:
            continue
        for site in granularity.sites(network):
            name = prefix + site.name
            if keep[name].all() or site.parameter in structure.gone:
                continue
            known = left.get(site.parameter)
            alive = structure.survivors(network, site.parameter) if known is None else known
            if not (alive & granularity.mask(network, site, keep[name])).any():
                keep[name] = _one_more(part, network, scores.part(prefix), site, keep[name], alive)
                text = (
                    "More stays than asked for: the other parts of the recipe leave nothing else."
                )
                notes[name] = (*notes.get(name, ()), text)
            left[site.parameter] = alive & granularity.mask(network, site, keep[name])
    return replace(plan, keep=keep, notes=notes)


def _one_more(
    part: Recipe, network: Network, scores: Scores, site: Site, keep: Keep, alive: Keep
) -> Keep:
    """Return ``keep`` and the highest unit that has an element ``alive``; a pattern is given up."""
    granularity = GRANULARITIES[part.granularity]
    if granularity.pattern is not None:
        return np.ones_like(keep)
    elements = Elements(lambda _: torch.from_numpy(alive))
    (n_alive,) = granularity.gather(network, site, elements, Combine.SUM)
    order = ranking_of(part, scores, site.name).order
    kept = keep.copy()
    kept[order[n_alive.numpy()[order] > 0][-1]] = True
    return kept
