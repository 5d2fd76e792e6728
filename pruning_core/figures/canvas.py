"""What every figure shares: fixed height, a title that says the finding, units, alt text."""

from typing import Any

import plotly.graph_objects as go

from pruning_core.figures.palette import Palette


def finish(
    figure: go.Figure,
    colours: Palette,
    *,
    title: str,
    alt: str,
    height: int,
    x: dict[str, Any] | None = None,
    y: dict[str, Any] | None = None,
) -> go.Figure:
    """Give ``figure`` its layout and return it; :func:`alt_text` reads ``alt`` back.

    Args:
        figure: Changed in place.
        colours: Palette of the page it is drawn on.
        title: The finding or the question, in a sentence.
        alt: The same in words for people who do not see the picture, with the main number.
        height: In pixels; fixed, so that the page does not jump.
        x: Options of the x axis, at least its title with the unit.
        y: Options of the y axis.
    """
    axis = {"gridcolor": colours.grid, "zeroline": False, "automargin": True}
    figure.update_layout(
        title={
            "text": title,
            "font": {"size": 14},
            "x": 0,
            "xref": "container",
            "y": 0.98,
            "yanchor": "top",
            "yref": "container",
        },
        meta={"alt": alt},
        height=height,
        margin={"l": 8, "r": 8, "t": 40, "b": 8},
        font={"color": colours.text},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        showlegend=False,
        dragmode=False,
        bargap=0.0,
    )
    figure.update_xaxes(**(axis | (x or {})))
    figure.update_yaxes(**(axis | (y or {})))
    return figure


def alt_text(figure: go.Figure) -> str:
    """Return the sentence that stands for the picture."""
    return str(figure.layout.meta["alt"])
