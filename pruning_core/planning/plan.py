"""The plan: a recipe resolved against scores; which units stay, and why a wish was limited."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from pruning_core.granularities import GRANULARITIES, depth, unit
from pruning_core.planning.recipe import Recipe
from pruning_core.tracing.branches import Branch
from pruning_core.tracing.network import Network

Keep = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Plan:
    """Which units stay.

    Attributes:
        recipe: What was asked for.
        keep: Site name -> ``[U]`` True for the units that stay; every site is listed. In a mixed
            plan the sites of the other parts are called ``granularity/site``.
        thresholds: Site name -> score of the lowest unit that stays.
        notes: Site name -> sentences that say why a wish was limited; ``""`` is the whole plan.
    """

    recipe: Recipe
    keep: Mapping[str, Keep]
    thresholds: Mapping[str, float]
    notes: Mapping[str, tuple[str, ...]]

    def n_removed(self, site: str) -> int:
        """Return how many units of ``site`` go."""
        if site not in self._removed:
            keep = self.keep[site]
            self._removed[site] = keep.size - int(np.count_nonzero(keep))
        return self._removed[site]

    @cached_property
    def _removed(self) -> dict[str, int]:
        """What :meth:`n_removed` has counted."""
        return {}

    def ratio(self, site: str) -> float:
        """Return the share of units of ``site`` that go, 0..1."""
        return self.n_removed(site) / len(self.keep[site])

    @property
    def fingerprint(self) -> str:
        """SHA-256 (hex) of all masks; equal plans prune the same units."""
        digest = hashlib.sha256()
        for name in sorted(self.keep):
            digest.update(f"{name}\0{len(self.keep[name])}\0".encode())
            digest.update(np.packbits(self.keep[name]).tobytes())
        return digest.hexdigest()

    def part(self, granularity: str) -> Mapping[str, Keep]:
        """Return what stays of one granularity, by the names of its sites; empty if not pruned."""
        places = [(self.recipe.locate(site), keep) for site, keep in self.keep.items()]
        parts = self.recipe.parts
        return {
            name: keep
            for (prefix, name), keep in places
            if parts[prefix].granularity == granularity
        }

    def unit_keep(self, network: Network) -> Keep:
        """Return ``[n_units]`` which units of all groups stay; all unless units are pruned."""
        kept = self.part(unit.KEY)
        parts = [kept.get(group.name, np.ones(group.n_units, np.bool_)) for group in network.groups]
        return np.concatenate([np.ones(0, np.bool_), *parts])

    def cut(self, network: Network) -> tuple[Branch, ...]:
        """Return the residual branches that go; none unless branches are pruned."""
        keep = self.part(depth.KEY).get(depth.SITE)
        if keep is None:
            return ()
        return tuple(b for b, stays in zip(network.branches, keep, strict=True) if not stays)

    def masks(self, network: Network) -> dict[str, Keep]:
        """Return parameter name -> which of its elements are not set to zero, in dense shapes."""
        masks: dict[str, Keep] = {}
        for part in self.recipe.parts.values():
            granularity = GRANULARITIES[part.granularity]
            if granularity.mask is None:
                continue
            kept = self.part(part.granularity)
            for site in granularity.sites(network):
                mask = granularity.mask(network, site, kept[site.name])
                known = masks.get(site.parameter)
                masks[site.parameter] = mask if known is None else known & mask
        return masks
