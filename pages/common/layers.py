"""The table of prunable layers: one row for each thing a threshold acts on."""

from typing import TYPE_CHECKING, Any

import streamlit as st

from pages.common import cache, edits, state
from pages.common.components import mount_layers
from pages.common.format import plural

if TYPE_CHECKING:
    from pruning_core.planning.plan import Plan
    from pruning_core.preview import Preview

_KEY = "layer_table"


def show(plan: "Plan", counted: "Preview", selected: str) -> None:
    """Draw the table; a click selects a layer, a tick pins it."""

    def select() -> None:
        state.select_layer(str(st.session_state[_KEY]["select"]["name"]))

    def pin() -> None:
        wish = st.session_state[_KEY]["pin"]
        recipe = state.recipe()
        state.set_recipe(
            edits.with_pin(recipe, wish["name"], plan)
            if wish["pinned"]
            else edits.without_pin(recipe, wish["name"])
        )

    mount_layers(
        key=_KEY,
        data={"rows": rows(plan, counted), "selected": selected, **_words(plan)},
        on_select_change=lambda: state.attempt(select),
        on_pin_change=lambda: state.attempt(pin),
    )


def rows(plan: "Plan", counted: "Preview") -> list[dict[str, Any]]:
    """Return the rows as plain data."""
    recipe = plan.recipe
    costs = {layer.name: layer for layer in counted.layers}
    removes = cache.registry("granularities")[recipe.granularity].removes
    found = []
    for index, site in enumerate(cache.sites(recipe).values()):
        names = site.layers if site.unit_names else (site.layer,)
        own = [costs[name] for name in names]
        found.append(
            {
                "index": index,
                "name": site.name,
                "label": site.name or "(model)",
                "unit": plural(site.kind),
                "kinds": ", ".join(dict.fromkeys(cost.kind for cost in own)),
                "total": site.n_units,
                "removed": plan.n_removed(site.name),
                "threshold": plan.thresholds[site.name],
                "params": [
                    sum(cost.before.params for cost in own),
                    sum(cost.after.params if removes else cost.after.nonzero for cost in own),
                ],
                "macs": [
                    sum(cost.before.macs for cost in own),
                    sum(cost.after.macs for cost in own),
                ],
                "coupled": [name or "(model)" for name in site.layers if name not in names],
                "own": site.name in recipe.layers,
                "pinned": site.name in recipe.pins,
            }
        )
    return found


def _words(plan: "Plan") -> dict[str, str]:
    """Return the headings that depend on what is pruned."""
    removes = cache.registry("granularities")[plan.recipe.granularity].removes
    return {"params_title": "Parameters" if removes else "Non-zeros"}
