"""How scores are spread, and which side of the threshold they fall on."""

from dataclasses import dataclass

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from pruning_core.figures import numbers
from pruning_core.figures.canvas import Caption, finish
from pruning_core.figures.palette import PRUNED_PATTERN, Palette

MAX_BARS = 512
MAX_POINTS = 257


@dataclass(frozen=True, slots=True, eq=False)
class Bins:
    """Counts of scores in equally wide bins.

    Attributes:
        edges: ``[B + 1]``, rising.
        counts: ``[B]``, units in each bin; the last bin holds its right edge too.
    """

    edges: NDArray[np.float64]
    counts: NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Cumulative:
    """Points of the empirical distribution function of scores.

    Attributes:
        scores: ``[P]``, ascending, from the lowest to the highest.
        below: ``[P]``, share of the units that score less than each, 0..1.
    """

    scores: NDArray[np.float32]
    below: NDArray[np.float64]


def bin_scores(scores: NDArray[np.float32], n_bins: int | None = None) -> Bins:
    """Sort ``[U]`` finite scores into equally wide bins; equal scores get one bin of unit width.

    Args:
        scores: At least one.
        n_bins: Between 1 and 512; None chooses by the number of scores.
    """
    chosen = n_bins or int(np.clip(2 * np.sqrt(scores.size), 12, 96))
    low, high = float(scores.min()), float(scores.max())
    if low == high:
        low, high = low - 0.5, high + 0.5
    counts, edges = np.histogram(scores, bins=min(chosen, MAX_BARS), range=(low, high))
    return Bins(edges=edges.astype(np.float64), counts=counts.astype(np.int64))


def merge_bins(edges: NDArray[np.float32], counts: NDArray[np.int64], n_bins: int = 96) -> Bins:
    """Return at most ``n_bins`` bins, about equally wide, of many finer ones; counts are exact.

    Args:
        edges: ``[F]`` lowest value of each fine bin, rising.
        counts: ``[F]`` values in each; at least one.
        n_bins: At most 512.
    """
    filled = np.flatnonzero(counts)
    low, high = int(filled[0]), int(filled[-1]) + 1
    edges = edges[: high + 1]
    top = float(edges[-1])
    wanted = np.linspace(float(edges[low]), top, min(n_bins, MAX_BARS) + 1)[1:-1]
    chosen = np.unique(np.concatenate([[low], np.searchsorted(edges, wanted)]))
    chosen = chosen[(chosen >= low) & (chosen < high)]
    return Bins(
        edges=np.append(edges[chosen].astype(np.float64), top),
        counts=np.add.reduceat(counts[:high], chosen).astype(np.int64),
    )


def count_in(bins: Bins, scores: NDArray[np.float32]) -> NDArray[np.int64]:
    """Return ``[B]`` how many of ``scores``, some of those that were sorted, lie in each bin."""
    edges = bins.edges
    counts, _ = np.histogram(scores, bins=len(bins.counts), range=(edges[0], edges[-1]))
    return counts.astype(np.int64)


def accumulate(scores: NDArray[np.float32], n_points: int = MAX_POINTS) -> Cumulative:
    """Return exact points of the share of units below each score, at even shares.

    Args:
        scores: ``[U]``, at least one.
        n_points: At most so many; all where there are no more scores.
    """
    ascending = np.sort(scores)
    wanted = np.linspace(0, scores.size - 1, min(scores.size, n_points))
    found = np.unique(ascending[np.rint(wanted).astype(np.int64)])
    return Cumulative(found, np.searchsorted(ascending, found) / scores.size)


def half_below(scores: NDArray[np.float32], unit: str) -> str:
    """Say in a sentence where the middle of the scores is."""
    median = numbers.significant(float(np.median(scores)), 3)
    return f"Half of the {numbers.count(scores.size)} {unit} score below {median}"


def score_histogram(
    scores: NDArray[np.float32],
    colours: Palette,
    *,
    unit: str,
    criterion: str,
    threshold: float | None = None,
    height: int = 280,
) -> go.Figure:
    """Draw how many units have which score; what is below ``threshold`` is hatched.

    Args:
        scores: ``[U]``, higher means more important.
        colours: Palette of the page.
        unit: The plural word, e.g. ``channels``.
        criterion: Title of the criterion, written at the axis.
        threshold: Units scoring less than this are pruned; None prunes nothing.
        height: In pixels.
    """
    figure = go.Figure()
    _add_bars(figure, bin_scores(scores), colours, unit, threshold)
    if threshold is not None:
        figure.add_vline(x=threshold, line={"color": colours.text, "width": 2})
    n_pruned = 0 if threshold is None else int((scores < np.float32(threshold)).sum())
    title = f"{numbers.count(n_pruned)} of {numbers.count(scores.size)} {unit} are pruned"
    return finish(
        figure,
        colours,
        Caption(
            title if n_pruned else half_below(scores, unit), f"Histogram of {criterion} scores"
        ),
        height=height,
        x={"title": {"text": f"score ({criterion})"}},
        y={"title": {"text": f"number of {unit}"}},
    )


def _add_bars(
    figure: go.Figure, bins: Bins, colours: Palette, unit: str, threshold: float | None
) -> None:
    """Add the bars on either side of the threshold, told apart by colour and pattern."""
    centres = (bins.edges[:-1] + bins.edges[1:]) / 2
    below = np.zeros(centres.shape, bool) if threshold is None else bins.edges[1:] <= threshold
    for name, chosen, colour, pattern in (
        ("kept", ~below, colours.kept, ""),
        ("pruned", below, colours.pruned, PRUNED_PATTERN),
    ):
        if chosen.any():
            figure.add_bar(
                name=name,
                x=centres[chosen],
                y=bins.counts[chosen],
                width=np.diff(bins.edges)[chosen],
                marker={"color": colour, "pattern": {"shape": pattern}, "line": {"width": 0}},
                hovertemplate=f"score %{{x:.4g}}<br>%{{y}} {unit}<extra>{name}</extra>",
            )
