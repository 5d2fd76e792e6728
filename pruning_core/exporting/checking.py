"""Do two forms of a network compute the same?"""

import math
from collections.abc import Callable, Sequence
from typing import Any, Final

import torch
from torch import Tensor

from pruning_core.inputs import output_tensors

TOLERANCE: Final = 1e-4


def worst_difference(
    module: Callable[..., Any], other: Callable[..., Any], inputs: Sequence[Tensor]
) -> tuple[float, float]:
    """Return the largest absolute difference of an output number, and the largest allowed one.

    Allowed is 1e-4 of the largest output, of 1 where outputs are smaller: float32 keeps about seven
    digits. Infinite where outputs differ in number or shape.
    """
    with torch.no_grad():
        expected, found = (output_tensors(call(*inputs)) for call in (module, other))
    return difference_of(expected, found)


def difference_of(expected: Sequence[Tensor], found: Sequence[Tensor]) -> tuple[float, float]:
    """Do what :func:`worst_difference` does for outputs."""
    shapes = [[tuple(tensor.shape) for tensor in outputs] for outputs in (expected, found)]
    if shapes[0] != shapes[1]:
        return float("inf"), 0.0
    worst = [
        float((mine.double() - theirs.double()).abs().max())
        for mine, theirs in zip(expected, found, strict=True)
        if mine.numel()
    ]
    largest = [float(tensor.double().abs().max()) for tensor in expected if tensor.numel()]
    if any(map(math.isnan, worst)):
        return float("inf"), 0.0
    return max(worst, default=0.0), TOLERANCE * max([1.0, *largest])
