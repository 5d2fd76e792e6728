"""A plan as a word in the address of a page; one too long for that is kept on the server."""

import base64
import json
import zlib
from typing import Final

from pruning_core.errors import InvalidRecipeError, PruningError
from pruning_core.planning.recipe import MAX_RECIPE_BYTES, Recipe
from pruning_core.runs.plans import Plans

LONGEST: Final = 1800  # longer addresses are cut by mail programs and chats
_INLINE: Final = "z."
KEPT: Final = "k."


def encode(recipe: Recipe) -> str:
    """Return the word that :func:`decode` reads back to an equal recipe; empty for a fresh one."""
    if recipe == Recipe(model=recipe.model):
        return ""
    word = inline(recipe)
    return word if len(word) <= LONGEST else KEPT + Plans().keep(recipe)


def inline(recipe: Recipe) -> str:
    """Return the word that holds the whole recipe, however long; it works on every server."""
    values = recipe.model_dump(mode="json")
    usual = Recipe(model=recipe.model).model_dump(mode="json")
    needed = {"version", "model"}
    changed = {key: value for key, value in values.items() if key in needed or value != usual[key]}
    packed = zlib.compress(json.dumps(changed, separators=(",", ":")).encode(), level=9)
    return _INLINE + base64.urlsafe_b64encode(packed).decode().rstrip("=")


def decode(word: str) -> Recipe:
    """Return the recipe that ``word`` stands for.

    Raises:
        PruningError: If it is damaged, or kept on another server.
    """
    if word.startswith(KEPT):
        return Plans().find(word.removeprefix(KEPT))
    try:
        text = word.removeprefix(_INLINE)
        packed = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        raw = zlib.decompressobj().decompress(packed, MAX_RECIPE_BYTES + 1)
        return Recipe.from_json(raw)
    except (ValueError, zlib.error, InvalidRecipeError) as error:
        raise PruningError(
            f"The plan in this address cannot be read ({len(word):,} characters; was it cut?). "
            "Ask for the recipe file, or copy the whole address."
        ) from error
