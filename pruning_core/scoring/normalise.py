"""Bring the scores of one layer to a scale that other layers share."""

import numpy as np
from numpy.typing import NDArray

from pruning_core.planning.recipe import Recipe

Scores64 = NDArray[np.float64]


def comparable(scores: NDArray[np.floating], recipe: Recipe) -> NDArray[np.float32]:
    """Return ``[U]`` raw scores of one site as the recipe compares them: scaled, then reversed."""
    if recipe.normalise != "none":
        scores = normalised(scores.astype(np.float64), recipe.normalise)
    scaled = scores.astype(np.float32, copy=False)
    return np.float32(0) - scaled if recipe.reverse else scaled


def normalised(scores: Scores64, method: str) -> Scores64:
    """Return ``[U]`` scores of one site divided by a statistic of that site.

    Args:
        scores: ``[U]`` raw scores.
        method: ``none``, ``max``, ``mean``, ``sum``, or ``standard`` (subtract the mean, divide by
            the standard deviation). A statistic of zero leaves the scores as they are.
    """
    if method == "standard":
        spread = scores.std()
        centred = scores - scores.mean()
        return np.asarray(centred / spread if spread > 0 else centred)
    divisors = {"max": scores.max(), "mean": scores.mean(), "sum": scores.sum()}
    divisor = divisors.get(method, 0.0)
    return scores / divisor if divisor > 0 else scores
