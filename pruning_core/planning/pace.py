"""How much of the target of a schedule is gone at each moment of it."""

import math
from typing import assert_never

from pruning_core.planning.recipe import Schedule


def gone_at(schedule: Schedule, progress: float, whole: float) -> float:
    """Return the share of all units that is gone at ``progress`` p, a share of the way.

    With ``whole``, the share gone at the end: linear ``whole * p``; cubic (much at first, little at
    the end) ``whole * (1 - (1 - p) ** 3)``, the schedule of Zhu and Gupta 2017, arXiv:1710.01878,
    from nothing; exponential ``1 - (1 - whole) ** p``, so that each round takes the same share of
    what is left.
    """
    match schedule.shape:
        case "linear":
            return whole * progress
        case "cubic":
            return whole * (1 - (1 - progress) ** 3)
        case "exponential":
            return 1 - math.pow(1 - whole, progress)
        case _:
            assert_never(schedule.shape)
