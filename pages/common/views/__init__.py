"""The views of the Plan page below the table of layers: one module each, one shown at a time.

A view has a ``TITLE`` and a function ``show(plan, counted, selected)`` that draws it.
"""

from collections.abc import Mapping
from types import ModuleType
from typing import TYPE_CHECKING, Final

import streamlit as st

from pages.common import state
from pages.common.views import criteria, everything, layer, sensitivity, tradeoff

if TYPE_CHECKING:
    from pruning_core.planning.plan import Plan
    from pruning_core.preview import Preview

VIEWS: Final[Mapping[str, ModuleType]] = {
    "layer": layer,
    "all": everything,
    "criteria": criteria,
    "sensitivity": sensitivity,
    "search": tradeoff,
}


def show(plan: "Plan", counted: "Preview", selected: str) -> None:
    """Draw the choice of views and the chosen one."""
    chosen = state.view(tuple(VIEWS))
    if len(VIEWS) > 1:
        st.segmented_control(
            "View",
            list(VIEWS),
            format_func=lambda key: VIEWS[key].TITLE,
            required=True,
            label_visibility="collapsed",
            **state.bound("view", chosen, state.choose_view),
        )
    VIEWS[chosen].show(plan, counted, selected)
