"""What differs between two plans of one model: settings, and what stays of each layer."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from pruning_core.planning.plan import Plan
from pruning_core.planning.recipe import Recipe

_PER_LAYER = {"layers", "pins", "picks", "also"}


@dataclass(frozen=True, slots=True)
class Setting:
    """A setting that differs: its path in the recipe, and both values as text."""

    path: str
    first: str
    second: str


@dataclass(frozen=True, slots=True)
class SiteDifference:
    """A site of which two plans keep different units.

    Attributes:
        site: Its name, as in the plans.
        n_units: Units of the site.
        first: Units that the first plan keeps.
        second: Units that the second plan keeps.
        only_first: Units that only the first keeps.
        only_second: Units that only the second keeps.
    """

    site: str
    n_units: int
    first: int
    second: int
    only_first: int
    only_second: int


def settings(first: Recipe, second: Recipe) -> tuple[Setting, ...]:
    """Return the settings of the whole model that differ; what layers lose is in :func:`sites`."""
    found = (
        _flat(recipe.model_dump(mode="json", exclude=_PER_LAYER)) for recipe in (first, second)
    )
    left, right = (dict(pairs) for pairs in found)
    return tuple(
        Setting(path, left.get(path, "none"), right.get(path, "none"))
        for path in dict.fromkeys([*left, *right])
        if left.get(path) != right.get(path)
    )


def sites(first: Plan, second: Plan) -> tuple[SiteDifference, ...]:
    """Return the sites of which the plans keep different units; one that only one has is whole.

    Both plans prune by the same granularities.
    """
    found = []
    for site in dict.fromkeys([*first.keep, *second.keep]):
        known = first.keep.get(site, second.keep.get(site))
        whole = np.ones_like(known, dtype=np.bool_)
        a, b = first.keep.get(site, whole), second.keep.get(site, whole)
        if not np.array_equal(a, b):
            counts = (a.sum(), b.sum(), (a & ~b).sum(), (b & ~a).sum())
            found.append(SiteDifference(site, a.size, *map(int, counts)))
    return tuple(found)


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield prefix + key, "none" if value is None else str(value)
