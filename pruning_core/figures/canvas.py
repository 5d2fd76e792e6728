"""What every figure shares: fixed height, a title that says the finding, units, alt text."""

from dataclasses import dataclass
from typing import Any, Final

import plotly.graph_objects as go

from pruning_core.figures.palette import Palette

_TITLE_AT: Final = 7
"""Pixels above the title."""


@dataclass(frozen=True, slots=True)
class Caption:
    """What a figure says in words.

    Attributes:
        title: The finding or the question, in a sentence without its full stop.
        subject: What is drawn, for people who do not see the picture.
    """

    title: str
    subject: str

    @property
    def alt(self) -> str:
        """The sentences that stand for the picture; the title holds the main number."""
        return f"{self.subject}. {self.title}."


def finish(
    figure: go.Figure,
    colours: Palette,
    caption: Caption,
    *,
    height: int,
    x: dict[str, Any],
    y: dict[str, Any],
) -> go.Figure:
    """Give ``figure`` its layout and return it; :func:`alt_text` reads the words back.

    Args:
        figure: Changed in place.
        colours: Palette of the page it is drawn on.
        caption: Title and description.
        height: In pixels; fixed, so that the page does not jump.
        x: Options of the x axis, at least its title with the unit.
        y: Options of the y axis.
    """
    axis = {"gridcolor": colours.grid, "zeroline": False, "automargin": True}
    describe(figure, colours, caption, height=height)
    figure.update_xaxes(**(axis | x))
    figure.update_yaxes(**(axis | y))
    return figure


def describe(figure: go.Figure, colours: Palette, caption: Caption, *, height: int) -> go.Figure:
    """Do what :func:`finish` does for a figure without axes."""
    return figure.update_layout(
        title={
            "text": caption.title,
            "font": {"size": 14},
            "x": 0,
            "xref": "container",
            "y": 1 - _TITLE_AT / height,
            "yanchor": "top",
            "yref": "container",
        },
        meta={"alt": caption.alt},
        height=height,
        margin={"l": 8, "r": 8, "t": 40, "b": 8},
        font={"color": colours.text},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        showlegend=False,
        dragmode=False,
        bargap=0.0,
    )


def alt_text(figure: go.Figure) -> str:
    """Return the sentence that stands for the picture."""
    return str(figure.layout.meta["alt"])
