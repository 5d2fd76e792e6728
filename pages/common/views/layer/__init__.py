"""One selected layer: what its scores are, which units go, and what goes with them."""

from typing import TYPE_CHECKING, Final

import streamlit as st

from pages.common import cache
from pages.common.format import plural
from pages.common.views.layer import cut, heads, picture, together, units

if TYPE_CHECKING:
    from pruning_core.granularities import Site
    from pruning_core.planning.plan import Plan
    from pruning_core.preview import Preview

TITLE: Final = "Selected layer"
_OPEN_AT_MOST: Final = 4096


def show(plan: "Plan", counted: "Preview", selected: str) -> None:  # noqa: ARG001
    """Draw everything about the selected layer."""
    site = cache.sites(plan.recipe)[selected]
    left, right = st.columns(2, gap="medium")
    with left:
        cut.show(plan, site)
    with right:
        picture.show(plan, site)
    if site.n_units <= _OPEN_AT_MOST:
        _units(plan, site)
        return
    hand = st.expander(
        f"Single {plural(site.kind)}: look at one, pick by hand",
        icon=":material/apps:",
        key="many_units",
        on_change="rerun",
    )
    if hand.open:
        with hand:
            _units(plan, site)


def _units(plan: "Plan", site: "Site") -> None:
    """Draw the single units, the decision about one of them, and what leaves with it."""
    unit = units.looked_at(plan, site)
    if site.kind == heads.KIND:
        heads.show(plan, site, unit)
    left, right = st.columns([8, 5], gap="medium")
    with left:
        units.show(plan, site, unit)
    with right:
        units.inspector(plan, site, unit)
    if not site.parameter:
        together.show(plan, site, unit)
