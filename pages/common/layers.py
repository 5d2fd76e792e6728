"""The table of layers on the Plan page: what each loses and saves, and how much of it shall go."""

from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING, Any, Final

import streamlit as st

from pages.common import cache, charts, edits, layer_rows, state
from pages.common.components import mount_layers
from pruning_core.errors import InvalidRecipeError

if TYPE_CHECKING:
    from pruning_core.planning.plan import Plan
    from pruning_core.planning.recipe import Recipe
    from pruning_core.preview import Preview

_KEY = "layer_table"
_DONE: Final = "_layer_table_done"
NOTHING_DONE: Final[Mapping[str, Any]] = {"client": "", "n": 0}


def show(plan: "Plan", counted: "Preview", selected: str) -> None:
    """Draw the table; a click selects a layer, everything else in it edits the recipe."""

    def select() -> None:
        state.select_layer(str(st.session_state[_KEY]["select"]["name"]))

    mount_layers(
        key=_KEY,
        data=data(plan, counted)
        | {"selected": selected, "done": st.session_state.get(_DONE, NOTHING_DONE)},
        on_select_change=lambda: state.attempt(select),
        on_edit_change=lambda: state.attempt(_edit),
    )


def data(plan: "Plan", counted: "Preview") -> dict[str, Any]:
    """Return what the component shows of a plan, as plain data."""
    recipe = plan.recipe
    network = cache.network(recipe.model)
    granularity = cache.registry("granularities")[recipe.granularity]
    table = layer_rows.rows(plan, counted, network, granularity, cache.scores(recipe).by_site)
    coupled = {group.name: group.layers for group in network.groups}
    return {
        "model": recipe.model,
        "removes": granularity.removes,
        "ticks": charts.colours().ticks,
        **layer_rows.payload(
            table,
            coupled,
            layer_rows.shared_groups(network),
            time_shares=cache.time_shares(recipe.model),
        ),
    }


def _edit() -> None:
    """Carry out the edits that the table sent and that were not carried out before.

    The browser sends an edit again until it is answered, so that none is lost when several are
    made before the server has answered the first.
    """
    wish = st.session_state[_KEY]["edit"]
    new = unanswered(wish, st.session_state.get(_DONE, NOTHING_DONE))
    if not new:
        return
    st.session_state[_DONE] = {"client": wish["client"], "n": new[-1]["n"]}
    recipe = state.recipe()
    for edit in new:
        recipe = edited(recipe, edit, cache.plan)
    state.set_recipe(recipe)


def unanswered(wish: Mapping[str, Any], done: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the edits that come after what is ``done``; each browser has its own count."""
    last = done["n"] if done["client"] == wish["client"] else 0
    return [edit for edit in wish["edits"] if edit["n"] > last]


_ACTIONS: Final[Mapping[str, Callable[["Recipe", Collection[str]], "Recipe"]]] = {
    "unpin": edits.without_pins,
    "follow": edits.all_following,
    "spare": edits.spared,
    "prune": edits.all_following,
}


def edited(
    recipe: "Recipe", edit: Mapping[str, Any], plan_of: Callable[["Recipe"], "Plan"]
) -> "Recipe":
    """Return ``recipe`` after one edit of the table.

    Args:
        recipe: As it was.
        edit: ``action`` and ``sites``, and for the action ``ratio`` its ``value`` in per cent.
        plan_of: Resolves a recipe; called only where the edit needs the plan.

    Raises:
        InvalidRecipeError: If there is no such action, or the value is out of range.
    """
    action, sites = str(edit["action"]), dict.fromkeys(str(site) for site in edit["sites"])
    match action:
        case "ratio":
            return edits.with_ratio(recipe, sites, round(float(edit["value"]) / 100, 8))
        case "pin":
            return edits.with_pins(recipe, sites, plan_of(recipe))
        case _ if action in _ACTIONS:
            return _ACTIONS[action](recipe, sites)
    raise InvalidRecipeError(f"The table of layers has no action '{action[:40]}'.")
