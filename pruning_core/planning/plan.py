"""The plan: a recipe resolved against scores; which units stay, and why a wish was limited."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pruning_core.granularities import GRANULARITIES, depth
from pruning_core.planning.recipe import Recipe
from pruning_core.tracing.branches import Branch
from pruning_core.tracing.network import Network

Keep = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """Which units stay.

    Attributes:
        recipe: What was asked for.
        keep: Site name -> ``[U]`` True for the units that stay; every site is listed.
        thresholds: Site name -> score of the lowest unit that stays.
        notes: Site name -> sentences that say why a wish was limited; ``""`` is the whole plan.
    """

    recipe: Recipe
    keep: Mapping[str, Keep]
    thresholds: Mapping[str, float]
    notes: Mapping[str, tuple[str, ...]]

    def n_removed(self, site: str) -> int:
        """Return how many units of ``site`` go."""
        return int((~self.keep[site]).sum())

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

    def unit_keep(self, network: Network) -> Keep:
        """Return ``[n_units]`` which units of all groups stay; all unless units are pruned."""
        stays = [np.ones(group.n_units, np.bool_) for group in network.groups]
        if GRANULARITIES[self.recipe.granularity].coupled:
            stays = [
                self.keep.get(group.name, all_of_it)
                for group, all_of_it in zip(network.groups, stays, strict=True)
            ]
        return np.concatenate([np.ones(0, np.bool_), *stays])

    def cut(self, network: Network) -> tuple[Branch, ...]:
        """Return the residual branches that go; none unless branches are pruned."""
        keep = self.keep.get(depth.SITE)
        if self.recipe.granularity != depth.KEY or keep is None:
            return ()
        return tuple(b for b, stays in zip(network.branches, keep, strict=True) if not stays)
