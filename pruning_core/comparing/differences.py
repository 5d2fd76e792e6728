"""The settings in which recipes differ, found by themselves."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from pruning_core.planning.recipe import Recipe

ABSENT: Final = "-"
_NAMED: Final = ("layers", "picks", "also")
"""Entries whose members are told apart by name, not by place."""


@dataclass(frozen=True, slots=True)
class Difference:
    """One setting in which recipes differ.

    Attributes:
        setting: Its path in the recipe, e.g. ``tuning.learning_rate``.
        values: Its value in each recipe, as text or JSON; ``-`` where there is no such entry.
    """

    setting: str
    values: tuple[str, ...]


def recipe_differences(recipes: Sequence[Recipe]) -> tuple[Difference, ...]:
    """Return the settings that are not the same in all recipes, in the order of the recipe file.

    Args:
        recipes: At least one.
    """
    flat = [_flat(recipe.model_dump(mode="json")) for recipe in recipes]
    paths = dict.fromkeys(path for entries in flat for path in entries)
    found = []
    for path in paths:
        if any(other.startswith(f"{path}.") for other in paths):
            continue  # absent in one recipe, with entries of its own in another
        values = tuple(entries.get(path, ABSENT) for entries in flat)
        if len(set(values)) > 1:
            found.append(Difference(path, values))
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
            found[path] = value if isinstance(value, str) else json.dumps(value)
    return found
