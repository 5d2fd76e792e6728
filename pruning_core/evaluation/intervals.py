"""Confidence intervals (95 %) of what is measured on ``n`` samples."""

import math
from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

Interval = tuple[float, float]

RESAMPLES: Final = 1000
_NORMAL_95: Final = 1.959963984540054
_MOST_NUMBERS: Final = 5_000_000


def wilson_interval(share: float, n: int) -> Interval:
    """Return the interval of a share ``0 <= share <= 1`` of ``n`` samples; (0, 1) without samples.

    Wilson 1927, doi:10.1080/01621459.1927.10502953.
    """
    if n == 0:
        return 0.0, 1.0
    square = _NORMAL_95**2
    centre = (share + square / (2 * n)) / (1 + square / n)
    spread = math.sqrt(share * (1 - share) / n + square / (4 * n * n))
    half = _NORMAL_95 * spread / (1 + square / n)
    return max(0.0, centre - half), min(1.0, centre + half)


def paired_interval(only_first: int, only_second: int, n: int) -> Interval:
    """Return the interval of (second share - first share) on the same samples.

    Args:
        only_first: Samples that only the first classifier names correctly.
        only_second: Samples that only the second one does.
        n: All samples, at least 1.

    Agresti and Min 2005, doi:10.1002/sim.1781: the Wald interval with 1/2 added to each cell.
    """
    total, change = n + 2, only_second - only_first
    spread = math.sqrt(only_first + only_second + 1 - change**2 / total)
    centre, half = change / total, _NORMAL_95 * spread / total
    return max(-1.0, centre - half), min(1.0, centre + half)


def mean_interval(values: NDArray[np.float64]) -> Interval:
    """Return the normal interval of the mean of ``values`` ``[N]``, N at least 1."""
    mean = float(values.mean())
    half = _NORMAL_95 * float(values.std(ddof=min(1, len(values) - 1))) / math.sqrt(len(values))
    return mean - half, mean + half


def basic_interval(
    estimate: NDArray[np.float64],
    drawn: NDArray[np.float64],
    bounds: Interval = (0.0, 1.0),
) -> list[Interval]:
    """Return the basic bootstrap interval of each number, cut to its bounds.

    It turns the percentiles round the estimate, which takes out most of the bias of resampling
    (Davison and Hinkley 1997, section 5.2.1, doi:10.1017/CBO9780511802843).

    Args:
        estimate: ``[K]``.
        drawn: ``[RESAMPLES, K]``.
        bounds: The lowest and highest value there is; shares have 0 and 1.
    """
    high, low = 2 * estimate - np.percentile(drawn, [2.5, 97.5], axis=0)
    return [
        (float(one), float(two))
        for one, two in zip(low.clip(*bounds), high.clip(*bounds), strict=True)
    ]


def resampled_scores(confusion: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return ``[RESAMPLES, 3, classes]``: precision, recall and F1 of drawn confusion matrices.

    Samples are drawn with replacement, seed 0: the cells then follow a multinomial distribution.
    NaN where a class does not occur.
    """
    n_classes, n = len(confusion), int(confusion.sum())
    rows, columns = confusion.nonzero()
    cells = confusion[rows, columns]
    places = np.arange(len(cells))
    ones, shape = np.ones(len(cells)), (len(cells), n_classes)
    diagonal = rows == columns
    actual_of = sparse.csr_array((ones, (places, rows)), shape)
    answered_of = sparse.csr_array((ones, (places, columns)), shape)
    right_of = sparse.csr_array((ones[diagonal], (places[diagonal], rows[diagonal])), shape)
    rng = np.random.default_rng(0)
    parts = []
    for size in _portions(len(cells)):
        drawn = rng.multinomial(n, cells / n, size=size)
        right, actual, answered = (drawn @ of for of in (right_of, actual_of, answered_of))
        parts.append(
            np.stack(
                [
                    right / np.maximum(answered, 1),
                    right / np.maximum(actual, 1),
                    2 * right / np.where(actual + answered > 0, actual + answered, np.nan),
                ],
                axis=1,
            )
        )
    scores: NDArray[np.float64] = np.concatenate(parts)
    occurs = ~np.isnan(scores[:, 2])
    return np.where(occurs[:, None], scores, np.nan)


def resampled_calibration(
    confidence: NDArray[np.float64], right: NDArray[np.bool_], n_bins: int
) -> NDArray[np.float64]:
    """Return ``[RESAMPLES]`` calibration errors of samples drawn with replacement, seed 0.

    Args:
        confidence: ``[N]`` largest probability of each sample.
        right: ``[N]`` whether its answer is right.
        n_bins: Bins of equal width.
    """
    n = len(confidence)
    bins = np.clip(np.ceil(confidence * n_bins).astype(np.int64) - 1, 0, n_bins - 1)
    shortfall = np.zeros((n, n_bins))
    shortfall[np.arange(n), bins] = right - confidence
    rng = np.random.default_rng(0)
    return np.array(
        [
            np.abs(np.bincount(rng.integers(0, n, n), minlength=n) @ shortfall).sum() / n
            for _ in range(RESAMPLES)
        ]
    )


def resampled_sums(statistics: Sequence[NDArray[np.float64]]) -> list[NDArray[np.float64]]:
    """Return ``[RESAMPLES, K]`` sums over samples drawn with replacement, seed 0.

    Args:
        statistics: ``[N, K]`` each, of the same samples, which are drawn together.
    """
    rng = np.random.default_rng(0)
    n = len(statistics[0])
    sums: list[list[NDArray[np.float64]]] = [[] for _ in statistics]
    for size in _portions(n):
        drawn = rng.integers(0, n, (size, n)) + n * np.arange(size)[:, None]
        times = np.bincount(drawn.ravel(), minlength=size * n).reshape(size, n).astype(np.float64)
        for found, own in zip(sums, statistics, strict=True):
            found.append(times @ own)
    return [np.concatenate(found) for found in sums]


def _portions(width: int) -> Iterator[int]:
    """Cut the resamples into portions of so many that one fits into memory."""
    at_once = max(1, min(RESAMPLES, _MOST_NUMBERS // max(1, width)))
    for start in range(0, RESAMPLES, at_once):
        yield min(at_once, RESAMPLES - start)
