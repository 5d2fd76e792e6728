"""Which parameters two plans take away, layer by layer: both, only one of them, none."""

from collections.abc import Sequence
from typing import Final

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from pruning_core.figures import numbers
from pruning_core.figures.canvas import Caption, finish
from pruning_core.figures.palette import PRUNED_PATTERN, Palette
from pruning_core.figures.rows import ROW, largest, legend_above, names_of, rows_axis

MAX_LAYERS: Final = 100
PARTS: Final = ("gone in both", "only in A", "only in B", "stays in both")


def overlap_bars(layers: Sequence[str], counts: NDArray[np.int64], colours: Palette) -> go.Figure:
    """Draw one bar a layer, as shares of its parameters.

    Args:
        layers: ``[L]`` names; of more than 100 the ones with the most parameters are drawn.
        counts: ``[L, 4]`` parameters by ``PARTS``.
        colours: Palette of the page.
    """
    sizes = counts.sum(axis=1)
    shown = largest(sizes, MAX_LAYERS)
    labels = names_of([layers[place] for place in shown])
    shares = 100 * counts[shown] / np.maximum(sizes[shown], 1)[:, None]
    looks = (
        (colours.pruned, PRUNED_PATTERN),
        (colours.ticks[0], "\\"),
        (colours.ticks[1], "x"),
        (colours.kept, ""),
    )
    figure = go.Figure()
    for place, (name, (colour, pattern)) in enumerate(zip(PARTS, looks, strict=True)):
        figure.add_bar(
            y=np.arange(len(labels), dtype=np.int32),
            x=shares[:, place].astype(np.float32),
            orientation="h",
            name=name,
            marker={"color": colour, "pattern": {"shape": pattern}},
            customdata=counts[shown, place],
            hovertext=labels,
            hovertemplate=f"%{{hovertext}}: %{{customdata:,}} {name} (%{{x:.1f}} %)<extra></extra>",
        )
    finish(
        figure,
        colours,
        Caption(_finding(counts), f"Masks of A and B in {len(labels)} layers"),
        height=120 + ROW * max(len(labels), 3),
        x={"title": {"text": "parameters of the layer (%)"}, "fixedrange": True, "range": [0, 100]},
        y=rows_axis(labels),
    )
    return legend_above(figure).update_layout(barmode="stack", bargap=0.3)


def _finding(counts: NDArray[np.int64]) -> str:
    """Say how much of what either takes away both do."""
    both, first, second, _ = (int(part) for part in counts.sum(axis=0))
    either = both + first + second
    if not either:
        return "Neither takes anything away"
    share = numbers.percent(both / either)
    return f"{share} of what A or B takes away is gone in both"
