"""One selected layer: what its scores are, which units go, and what goes with them."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, Literal

import streamlit as st

from pages.common import cache, pictures
from pages.common.format import plural
from pages.common.views.layer import cut

if TYPE_CHECKING:
    from pruning_core.granularities import Site
    from pruning_core.planning.plan import Plan
    from pruning_core.preview import Preview

TITLE: Final = "Selected layer"
_ROWS_AT_MOST: Final = 6


def show(plan: "Plan", counted: "Preview", selected: str) -> None:  # noqa: ARG001
    """Draw everything about the selected layer."""
    site = cache.sites(plan.recipe)[selected]
    left, right = st.columns(2, gap="medium")
    with left:
        cut.show(plan, site)
    with right:
        _heatmap(plan, site)
    _coupling(plan, site)


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
