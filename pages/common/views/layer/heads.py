"""The attention heads of the whole model as one grid: layer by head."""

from typing import TYPE_CHECKING, Any, Final

import streamlit as st

from pages.common import cache, inbox, picks, state
from pages.common.components import mount_heads
from pages.common.views.layer import units

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pruning_core.granularities import Site
    from pruning_core.planning.plan import Plan

KIND: Final = "head"
_KEY: Final = "heads"


def show(plan: "Plan", site: "Site", unit: int) -> None:
    """Draw the grid; a click selects the layer and looks at the head."""
    data = grid(plan, site, unit)
    total = sum(len(row["keep"]) for row in data["rows"])
    pruned = total - sum(sum(row["keep"]) for row in data["rows"])
    st.markdown(f"**Attention heads of the model: {pruned:,} of {total:,} pruned**")
    mount_heads(
        key=_KEY,
        data=data | {"done": inbox.done(_KEY)},
        on_wishes_change=lambda: state.attempt(lambda: inbox.carry_out(_KEY, _act)),
    )
    st.caption("Arrow keys move, Enter shows a head, K keeps it, P prunes it, A takes that back.")


def grid(plan: "Plan", site: "Site", unit: int) -> dict[str, Any]:
    """Return the scores of all heads, and which stay, as plain data."""
    recipe = plan.recipe
    found = [other for other in cache.sites(recipe).values() if other.kind == KIND]
    scores = cache.scores(recipe).by_site
    return {
        "corner": "layer \\ head",
        "criterion": cache.registry("criteria")[recipe.criterion].title,
        "alt": f"Scores of the heads of {len(found):,} attention layers, pruned ones crossed out",
        "site": site.name,
        "unit": unit,
        "low": min(float(scores[other.name].min()) for other in found),
        "high": max(float(scores[other.name].max()) for other in found),
        "rows": [
            {
                "site": other.name,
                "score": scores[other.name].tolist(),
                "keep": plan.keep[other.name].astype(int).tolist(),
                "pick": units.marks(recipe, other.name, range(other.n_units)),
            }
            for other in found
        ],
    }


def _act(wish: "Mapping[str, Any]") -> None:
    """Look at a head, or pick some."""
    if wish["action"] == "look":
        state.select_layer(str(wish["site"]))
        units.look_at(str(wish["site"]), int(wish["unit"]))
        return
    recipe = state.recipe()
    for pick in wish["picks"]:
        recipe = picks.with_picks(recipe, str(pick["site"]), [int(pick["unit"])], pick["wish"])
    state.set_recipe(recipe)
