"""The table of layers on the Plan page: what each loses and saves, and how much of it shall go."""

from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING, Any, Final

from pages.common import cache, charts, edits, inbox, layer_rows, scanning, state
from pages.common.components import mount_layers
from pruning_core.errors import InvalidRecipeError

if TYPE_CHECKING:
    from pruning_core.planning.plan import Plan
    from pruning_core.planning.recipe import Recipe
    from pruning_core.preview import Preview
    from pruning_core.tasks import Metric

_KEY = "layer_table"


def show(plan: "Plan", counted: "Preview", selected: str) -> None:
    """Draw the table; a click selects a layer, everything else in it edits the recipe."""
    mount_layers(
        key=_KEY,
        data=data(plan, counted) | {"selected": selected, "done": inbox.done(_KEY)},
        on_wishes_change=lambda: state.attempt(lambda: inbox.carry_out(_KEY, _act)),
    )


def data(plan: "Plan", counted: "Preview") -> dict[str, Any]:
    """Return what the component shows of a plan, as plain data."""
    recipe = plan.recipe
    network = cache.network(recipe.model)
    granularity = cache.registry("granularities")[recipe.granularity]
    table = layer_rows.rows(plan, counted, network, granularity, cache.scores(recipe).by_site)
    coupled = {group.name: group.layers for group in network.groups}
    metric = cache.metric(recipe)
    return {
        "model": recipe.model,
        "removes": granularity.removes,
        "ticks": charts.colours().ticks,
        "metric": {"name": metric.name, "percent": metric.unit == "percent"},
        **layer_rows.payload(
            table,
            coupled,
            layer_rows.shared_groups(network),
            sensitivity=_sensitivity(recipe, metric),
            time_shares=cache.time_shares(recipe.model),
        ),
    }


def _sensitivity(recipe: "Recipe", metric: "Metric") -> layer_rows.Sensitivity | None:
    scan = scanning.found(recipe)
    if scan is None:
        return None
    return {
        site: (ratios, values, [metric.lost(values[0], value) for value in values])
        for site, (ratios, values) in scan.curves.items()
    }


def _act(wish: Mapping[str, Any]) -> None:
    """Select a layer, or carry out an edit."""
    if wish["action"] == "select":
        state.select_layer(str(wish["name"]))
    else:
        state.set_recipe(edited(state.recipe(), wish, cache.plan))


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
