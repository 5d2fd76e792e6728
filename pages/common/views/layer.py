"""One selected layer: draggable threshold, the same value as numbers, heatmap, coupling, notes."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
import streamlit as st

from pages.common import cache, edits, pictures, state
from pages.common.components import mount_threshold
from pages.common.format import markdown, plural
from pruning_core.planning.recipe import Count, Ratio, Threshold

if TYPE_CHECKING:
    from streamlit.delta_generator import DeltaGenerator

    from pruning_core.granularities import Site
    from pruning_core.planning.plan import Plan
    from pruning_core.preview import Preview

TITLE: Final = "Selected layer"
_KEY = "threshold"
_ROWS_AT_MOST = 6
_LARGEST_SHARE = 99.9999


def show(plan: "Plan", counted: "Preview", selected: str) -> None:  # noqa: ARG001
    """Draw everything about the selected layer."""
    site = cache.sites(plan.recipe)[selected]
    left, right = st.columns(2, gap="medium")
    with left:
        with st.container(horizontal=True, vertical_alignment="center"):
            st.subheader(
                f"{markdown(site.name or '(model)')}: {site.n_units:,} {plural(site.kind)}",
                anchor=False,
            )
            st.space("stretch")
            log = st.toggle("Logarithmic counts", key="log_counts", persist_state="session")
        _threshold(plan, site, log=log)
        _numbers(plan, site)
        for note in plan.notes.get(site.name, ()):
            st.caption(f":material/info: {markdown(note)}")
    with right:
        _heatmap(plan, site)
    _coupling(plan, site)


def _threshold(plan: "Plan", site: "Site", *, log: bool) -> None:
    """Draw the histogram whose threshold can be dragged."""
    scores = cache.scores(plan.recipe).by_site[site.name]

    def commit() -> None:
        wish = st.session_state[_KEY]["commit"]
        if wish["site"] == site.name:
            n_removed, threshold = int(wish["n_removed"]), float(wish["threshold"])
            below = int((scores < np.float32(threshold)).sum())
            state.set_recipe(edits.dragged(state.recipe(), site.name, n_removed, threshold, below))

    mount_threshold(
        key=_KEY,
        data=threshold_data(plan, site) | {"log": log},
        on_commit_change=lambda: state.attempt(commit),
    )


def threshold_data(plan: "Plan", site: "Site") -> dict[str, Any]:
    """Return what the component draws and counts with, as plain data."""
    recipe = plan.recipe
    scores = cache.scores(recipe).by_site[site.name]
    track = cache.track(recipe, site.name)
    reachable = cache.reachable(recipe, site)
    names = ("n_removed", "threshold", "params", "nonzero", "macs", "n_bytes")
    before = cache.preview(recipe).before
    return {
        "site": site.name,
        "layer": site.name or "(model)",
        "units": plural(site.kind),
        "criterion": cache.registry("criteria")[recipe.criterion].title,
        "granularity_removes": cache.registry("granularities")[recipe.granularity].removes,
        "height": 236,
        "alt": f"Scores of the {site.n_units:,} {plural(site.kind)} of {site.name}",
        **pictures.bars(scores, cache.bins(recipe, site.name)),
        "positions": {name: getattr(track, name)[reachable].tolist() for name in names},
        "removed": plan.n_removed(site.name),
        "total": site.n_units,
        "threshold": plan.thresholds[site.name],
        "before": {"macs": before.macs},
    }


def _numbers(plan: "Plan", site: "Site") -> None:
    """Draw threshold, count and ratio: three views of one value, each setting it exactly."""
    name, removed = site.name, plan.n_removed(site.name)
    scores = cache.scores(plan.recipe).by_site[name]

    def write(make: Any) -> Any:
        return lambda value: state.set_recipe(state.recipe().with_layer(name, make(value)))

    threshold, number, ratio, follow = st.columns([4, 3, 3, 3], vertical_alignment="bottom")
    span = float(scores.max() - scores.min())
    threshold.number_input(
        "Threshold",
        format="%.4g",
        step=span / 50 or 1e-6,
        help=f"{plural(site.kind).capitalize()} that score below it leave.",
        value=None,
        **state.bound(
            "own_threshold", plan.thresholds[name], write(lambda x: Threshold(value=float(x)))
        ),
    )
    number.number_input(
        "Count",
        min_value=0,
        max_value=site.n_units,
        value=None,
        **state.bound("own_count", removed, write(lambda x: Count(value=int(x)))),
    )
    ratio.number_input(
        "Ratio (%)",
        min_value=0.0,
        max_value=_LARGEST_SHARE,
        step=5.0,
        format="%.2f",
        value=None,
        **state.bound(
            "own_ratio",
            min(_LARGEST_SHARE, round(100 * plan.ratio(name), 4)),
            write(lambda x: Ratio(value=round(x / 100, 8))),
        ),
    )
    _follow(plan, name, follow)


def _follow(plan: "Plan", name: str, place: "DeltaGenerator") -> None:
    """Draw the button that gives up the own setting of a layer."""
    own = name in plan.recipe.layers or name in plan.recipe.pins
    place.button(
        "Follow global",
        disabled=not own,
        width="stretch",
        help="Give up the own setting of this layer."
        if own
        else "This layer follows the global setting already.",
        on_click=lambda: state.set_recipe(edits.following(state.recipe(), name)),
    )


def _heatmap(plan: "Plan", site: "Site") -> None:
    """Draw the weights of the layer, or of one it is coupled with, and what leaves of them."""
    from pruning_core.figures.matrix import layer_matrix, parameters_of

    network = cache.network(plan.recipe.model)
    choices = (site.parameter,) if site.parameter else parameters_of(network, site.layers)
    if not choices:
        st.caption("No layer that these units belong to has a weight matrix to draw.")
        return
    parameter = choices[0]
    if len(choices) > 1:
        parameter = st.selectbox(
            "Weights shown",
            choices,
            key=f"shown_parameter_{site.name}",
            persist_state="session",
            help="Every tensor that shrinks when units of this layer leave.",
        )
    matrix = layer_matrix(network, parameter, plan, single_weights=bool(site.parameter))
    pictures.heatmap(
        matrix.values,
        matrix.removed,
        key="layer_heatmap",
        layer=parameter,
        value=matrix.value,
        height=330,
    )


def _coupling(plan: "Plan", site: "Site") -> None:
    """Say which layers shrink together with this one, and why."""
    if site.parameter:
        return
    if site.unit_names:
        _named_units(plan, site)
        return
    network = cache.network(plan.recipe.model)
    group = network.group(site.name)
    with st.expander(
        f"Why {len(group.layers)} layers shrink together", icon=":material/link:", expanded=True
    ):
        reasons, tensors = st.columns(2, gap="medium")
        reasons.dataframe(
            {"Because": list(group.reasons)},
            hide_index=True,
            height=_table_height(group.reasons),
            alt=f"Reasons why the layers of {site.name} shrink together",
        )
        if group.changes_normalisation:
            st.caption(
                "A normalisation is computed over these units, so removing them changes its "
                "statistics: the pruned network is not the same as one with these units at zero."
            )
        tensors.dataframe(
            {
                "Tensor": [member.parameter for member in group.members],
                "Axis": [member.axis for member in group.members],
                f"Slices for each {group.kind}": [member.per_unit for member in group.members],
            },
            hide_index=True,
            height=_table_height(group.members),
            alt=f"Tensors that lose slices when a {group.kind} of {site.name} leaves",
        )


def _named_units(plan: "Plan", site: "Site") -> None:
    """Say of each unit that has a name whether it stays."""
    keep = plan.keep[site.name]
    st.dataframe(
        {
            site.kind.capitalize(): list(site.unit_names),
            "Score": cache.scores(plan.recipe).by_site[site.name].tolist(),
            "Stays": keep.tolist(),
        },
        hide_index=True,
        height=_table_height(site.unit_names),
        alt=f"The {site.n_units} {plural(site.kind)}, their scores, and which of them stay",
    )


def _table_height(rows: Sequence[object]) -> int | Literal["content"]:
    """Return the height of a table: that of its rows, at most six of them."""
    return "content" if len(rows) <= _ROWS_AT_MOST else 36 * (_ROWS_AT_MOST + 1)
