"""Scores as integers: one order for counting, for thresholds and for masks.

The key of a float32 is its magnitude's bits as a 32-bit integer, negated when the sign bit is set.
Keys ascend as scores do, with -0 equal to 0 and every NaN last. A *bin* holds the keys that share
their 16 high bits: 128 bins an octave, so that a threshold snapped to a bin moves by 0.8 % at most,
and a table of bins answers for all layers at once without looking at a single weight.
"""

import numpy as np
import torch
from numpy.typing import NDArray

Scores32 = NDArray[np.float32]
Keys = NDArray[np.int32]

BITS = 16
_N_BINS = 1 << 16
CHUNK = 1 << 18  # scores looked at together, so that scratch stays within a megabyte
_INFINITY = 0x7F80_0000
_NAN = 0x7FFF_FFFF
NAN_BIN = _NAN >> BITS
_LARGEST = float(np.finfo(np.float32).max)


def keys(values: Scores32) -> Keys:
    """Return the key of each score."""
    bits = values.view(np.int32)
    magnitude = bits & _NAN
    found = np.where(bits < 0, -magnitude, magnitude)
    found[magnitude > _INFINITY] = _NAN
    return found


def as_stored(value: float) -> np.float32:
    """Return a number rounded to float32; beyond its range, the largest there is."""
    return np.float32(min(max(value, -_LARGEST), _LARGEST))


def key(value: float) -> int:
    """Return the key of a number as :func:`as_stored`."""
    return int(keys(np.array([as_stored(value)]))[0])


def value_of(number: int) -> np.float32:
    """Return the score with key ``number``."""
    magnitude = np.array([abs(number)], np.int32).view(np.float32)[0]
    return np.float32(-magnitude if number < 0 else magnitude)


def snapped(threshold: float) -> float:
    """Return the largest threshold, not above the given one, at which a table answers exactly."""
    return float(value_of(key(threshold) >> BITS << BITS))


def histogram(values: Scores32) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Return the bins that hold scores, ascending, and how many each holds."""
    positive = torch.zeros(_N_BINS // 2, dtype=torch.int64)
    signed = np.zeros(_N_BINS, np.int64)
    scratch = torch.empty(min(CHUNK, len(values)), dtype=torch.int32)
    for start in range(0, len(values), CHUNK):
        chunk = values[start : start + CHUNK]
        if chunk.min() >= 0:  # not so if there is a NaN
            high = scratch[: len(chunk)]
            torch.bitwise_right_shift(torch.from_numpy(chunk.view(np.int32)), BITS, out=high)
            high &= NAN_BIN  # the sign of -0
            positive += torch.bincount(high, minlength=len(positive))
        else:
            high_keys = (keys(chunk) >> BITS) + _N_BINS // 2
            signed += np.bincount(high_keys, minlength=_N_BINS)
    signed[_N_BINS // 2 :] += positive.numpy()
    filled = np.flatnonzero(signed)
    return (filled - _N_BINS // 2).astype(np.int32), signed[filled]


def count_below(values: Scores32, limit: np.float32) -> int:
    """Return how many scores are less than ``limit``."""
    starts = range(0, len(values), CHUNK)
    return sum(int(np.count_nonzero(values[i : i + CHUNK] < limit)) for i in starts)


def inside(values: Scores32, number: int) -> Scores32:
    """Return the scores in bin ``number``, in the order of their indices."""
    low, high = value_of(number << BITS), value_of(min((number + 1) << BITS, _NAN))
    found = []
    for start in range(0, len(values), CHUNK):
        chunk = values[start : start + CHUNK]
        if number == NAN_BIN:
            found.append(chunk[np.isnan(chunk)])
        elif number << BITS == _INFINITY:
            found.append(chunk[chunk == low])
        else:
            found.append(chunk[(chunk >= low) & (chunk < high)])
    return np.concatenate(found)


def kth(values: Scores32, number: int, k: int) -> np.float32:
    """Return the score with ``k`` scores before it, ``0 <= k < len(values)``, all in one bin.

    Narrowing the range of its key needs no order, only counts below a limit: the next limit is
    where it lies if scores are spread evenly, in turns with the middle.
    """
    low, high = number << BITS, (number + 1) << BITS
    if low >= _INFINITY:
        return value_of(low)
    n_low, n_high, evenly = 0, len(values), True
    while high - low > 1:
        share = (k + 0.5 - n_low) / (n_high - n_low) if evenly else 0.5
        limit = min(max(low + int(share * (high - low)), low + 1), high - 1)
        n_below = int(np.count_nonzero(values < value_of(limit)))
        if n_below <= k:
            low, n_low = limit, n_below
        else:
            high, n_high = limit, n_below
        evenly = not evenly
    return value_of(low)
