"""Put figures of the core on a page: themed, described in words, with the numbers as a table."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

import streamlit as st

from pages.common import state
from pruning_core.exporting.spreadsheet import csv_text

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from pruning_core.figures.palette import Palette

TALLEST: Final = 1200
"""Taller figures, in pixels, are scrolled."""
_COLUMN: Final = 190
_WIDEST: Final = 760


def colours() -> "Palette":
    """Return the palette of the appearance the visitor looks at."""
    from pruning_core.figures.palette import palette

    return palette(dark=st.context.theme.type == "dark")


def show(
    figure: "go.Figure",
    *,
    key: str,
    table: Mapping[str, Any],
    on_click: Callable[[int], None] | None = None,
    words: tuple[str, str] = ("Numbers", "Download CSV"),
) -> None:
    """Draw ``figure`` with its description, and the same numbers as a table on request.

    Args:
        figure: Made by ``pruning_core.figures``.
        key: Unique on the page; names the files for download too.
        table: Columns (lists or arrays) of equal length.
        on_click: Called with the number of the bar or row that was clicked; None takes no clicks.
        words: Of the two buttons, in the language of the page.
    """
    from pruning_core.figures.canvas import alt_text

    description = alt_text(figure)
    picture: dict[str, Any] = {"format": "png", "filename": key, "scale": 2}

    def clicked() -> None:
        points = st.session_state[key]["selection"]["points"]
        if points and on_click:
            row = int(points[0]["point_index"])
            state.attempt(lambda: on_click(row))

    with st.container(gap="xxsmall"):
        height = int(figure.layout.height)
        with st.container(height=TALLEST if height > TALLEST else "content", border=False):
            st.plotly_chart(
                figure,
                key=key,
                alt=description,
                on_select=clicked if on_click else "ignore",
                selection_mode="points",
                config={
                    "displaylogo": False,
                    "modeBarButtons": [["toImage"]],
                    "toImageButtonOptions": picture,
                },
            )
        twin = st.popover(words[0], type="tertiary", key=f"{key}_numbers", on_change="rerun")
        if twin.open:
            width = min(_WIDEST, _COLUMN * len(table))
            twin.dataframe(table, hide_index=True, width=width, alt=description)
            twin.download_button(
                words[1],
                csv_of(table),
                file_name=f"{key}.csv",
                mime="text/csv",
                on_click="ignore",
                key=f"{key}_csv",
            )


def choice(label: str, titles: Mapping[str, str], *, key: str) -> str:
    """Draw the choice of what a chart shows; it is kept while other views and pages are shown.

    Args:
        label: For screen readers.
        titles: Title of each option; the first is chosen until another is.
        key: Of the widget; unique on the page.
    """
    return str(
        st.segmented_control(
            label,
            list(titles),
            format_func=lambda option: titles[option],
            default=next(iter(titles)),
            required=True,
            label_visibility="collapsed",
            key=key,
            persist_state="session",
        )
    )


def csv_of(table: Mapping[str, Any]) -> str:
    """Return the columns of a table as comma-separated values with a heading.

    Names come from files: one that a spreadsheet would take for a formula gets an apostrophe.
    """
    return csv_text(list(table), zip(*table.values(), strict=True))
