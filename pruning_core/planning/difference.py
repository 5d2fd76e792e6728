"""What differs between two plans of one model: settings, and what stays of each layer."""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from pruning_core.planning.plan import Plan
from pruning_core.planning.recipe import Recipe

ABSENT: Final = "none"
PER_LAYER: Final = ("layers", "pins", "picks", "also")
"""Entries that say what single layers lose; :func:`sites` tells what comes of them."""
_NAMED: Final = ("layers", "picks", "also")
"""Entries whose members are told apart by name, not by place."""


@dataclass(frozen=True, slots=True)
class Difference:
    """One setting in which recipes differ.

    Attributes:
        setting: Its path in the recipe, e.g. ``tuning.learning_rate``.
        values: Its value in each recipe, as text or JSON; ``none`` where there is no such entry.
    """

    setting: str
    values: tuple[str, ...]


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


def settings(recipes: Sequence[Recipe], *, without: Collection[str] = ()) -> tuple[Difference, ...]:
    """Return the settings that are not the same in all recipes, in the order of the recipe file.

    Args:
        recipes: At least one.
        without: Entries of the recipe that are not compared.
    """
    flat = [_flat(recipe.model_dump(mode="json", exclude=set(without))) for recipe in recipes]
    paths = dict.fromkeys(path for entries in flat for path in entries)
    found = []
    for path in paths:
        if any(other.startswith(f"{path}.") for other in paths):
            continue  # absent in one recipe, with entries of its own in another
        values = tuple(entries.get(path, ABSENT) for entries in flat)
        if len(set(values)) > 1:
            found.append(Difference(path, values))
    return tuple(found)


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


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Return path -> value of every entry that is no mapping."""
    found: dict[str, str] = {}
    for name, value in values.items():
        path = f"{prefix}{name}"
        if name == "also" and isinstance(value, list):
            value = {part["granularity"]: part for part in value}
        if isinstance(value, Mapping) and value:
            found |= _flat(value, f"{path}.")
        elif value or name not in _NAMED:
            found[path] = _text(value)
    return found


def _text(value: Any) -> str:
    if value is None:
        return ABSENT
    return value if isinstance(value, str) else json.dumps(value)
