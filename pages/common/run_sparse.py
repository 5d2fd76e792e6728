"""What sparse training does: the histogram of what is pulled to zero moves while it trains."""

from typing import TYPE_CHECKING

import numpy as np

from pages.common import cache, charts

if TYPE_CHECKING:
    from pruning_core.runs.view import RunView


def show(view: "RunView") -> None:
    """Draw the sizes before and now; nothing for a run without sparse training."""
    if not view.shrunk:
        return
    from pruning_core.figures.shrinking import bin_names, size_histogram
    from pruning_core.tuning.penalty import EDGES

    first, last = view.shrunk[0], view.shrunk[-1]
    known = cache.registry("penalties")
    before, now = (np.array([item.n_zero, *item.counts]) for item in (first, last))
    if last.penalty not in known or before.size != EDGES.size + 2 or now.size != before.size:
        return
    entry = known[last.penalty]
    charts.show(
        size_histogram(
            EDGES,
            before,
            now,
            charts.colours(),
            things=entry.things,
            size=entry.size,
            epoch=last.epoch,
        ),
        key="shrunk",
        table={entry.size: bin_names(EDGES), "before": before, "now": now},
    )
