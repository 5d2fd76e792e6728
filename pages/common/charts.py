"""Put figures of the core on a page: themed, described in words, with the numbers as a table."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import streamlit as st

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from pruning_core.figures.palette import Palette


def colours() -> "Palette":
    """Return the palette of the appearance the visitor looks at."""
    from pruning_core.figures.palette import palette

    return palette(dark=st.context.theme.type == "dark")


def show(figure: "go.Figure", *, key: str, table: Mapping[str, Any]) -> None:
    """Draw ``figure`` with its description, and the same numbers as a table on request.

    Args:
        figure: Made by ``pruning_core.figures``.
        key: Unique on the page.
        table: Columns (lists or arrays) of equal length.
    """
    from pruning_core.figures.canvas import alt_text

    description = alt_text(figure)
    with st.container(gap="xxsmall"):
        st.plotly_chart(
            figure,
            key=key,
            alt=description,
            config={"displaylogo": False, "modeBarButtons": [["toImage"]]},
        )
        twin = st.popover("Numbers", type="tertiary", key=f"{key}_numbers", on_change="rerun")
        if twin.open:
            twin.dataframe(table, hide_index=True, alt=description)
