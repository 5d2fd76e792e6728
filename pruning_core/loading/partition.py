"""Dividing examples into splits, the same way on every machine and in every library version."""

import hashlib
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray


def balanced_order(labels: NDArray[np.integer], seed: int) -> NDArray[np.int64]:
    """Return a shuffled order of all examples in which every prefix is balanced over the classes.

    The k-th examples of all classes come before the (k+1)-th of any; for classes of equal size
    ``C``, the first ``n * C`` examples hold ``n`` of each. The order depends only on the labels and
    the seed: it is made of SHA-256 ranks, not of a library's random generator.

    Args:
        labels: ``[N]``.
        seed: Any integer.

    Returns:
        ``[N]``, a permutation of ``0 .. N - 1``.
    """
    keys = [hashlib.sha256(f"{seed}/{index}".encode()).digest() for index in range(len(labels))]
    seen: dict[int, int] = {}
    rounds = {}
    for index in sorted(range(len(labels)), key=keys.__getitem__):
        label = int(labels[index])
        rounds[index] = seen[label] = seen.get(label, -1) + 1
    order = sorted(rounds, key=lambda index: (rounds[index], keys[index]))
    return np.array(order, np.int64)


def divide(
    labels: NDArray[np.integer], sizes: Sequence[int], seed: int
) -> tuple[NDArray[np.int64], ...]:
    """Return indices of disjoint splits, one for each size, each balanced over the classes.

    Args:
        labels: ``[N]``.
        sizes: Number of examples of each split; together at most ``N``.
        seed: Any integer.

    Raises:
        ValueError: If there are fewer than ``sum(sizes)`` examples.
    """
    if sum(sizes) > len(labels):
        raise ValueError(f"{len(labels):,} examples cannot give splits of {sum(sizes):,}.")
    order = balanced_order(labels, seed)
    ends = np.cumsum([0, *sizes])
    return tuple(order[start:end] for start, end in pairwise(ends))
