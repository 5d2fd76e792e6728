"""What picking units by hand means for the recipe: pure functions from a recipe to the next one."""

from collections.abc import Iterable
from typing import Literal

from pruning_core.planning.recipe import Picks, Recipe

Wish = Literal["keep", "prune", "auto"]
_NOTHING = Picks()


def with_picks(recipe: Recipe, site: str, units: Iterable[int], wish: Wish) -> Recipe:
    """Pick ``units`` of ``site`` to stay or to go; ``auto`` leaves them to the target again."""
    changed, picks = set(units), recipe.picks.get(site, _NOTHING)
    keep, prune = set(picks.keep) - changed, set(picks.prune) - changed
    if wish == "keep":
        keep |= changed
    elif wish == "prune":
        prune |= changed
    others = {name: own for name, own in recipe.picks.items() if name != site}
    if not keep and not prune:
        return recipe.replace(picks=others)
    own = Picks(keep=tuple(sorted(keep)), prune=tuple(sorted(prune)))
    return recipe.replace(picks={**others, site: own})


def without_picks(recipe: Recipe, site: str) -> Recipe:
    """Leave every unit of ``site`` to the target again."""
    return recipe.replace(picks={name: own for name, own in recipe.picks.items() if name != site})


def wish_for(recipe: Recipe, site: str, unit: int) -> Wish:
    """Return what was picked for a unit."""
    picks = recipe.picks.get(site, _NOTHING)
    return "keep" if unit in picks.keep else "prune" if unit in picks.prune else "auto"
