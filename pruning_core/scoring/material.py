"""What a criterion looks at: the traced network, what is rated, and calibration data in batches."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from torch import Tensor

from pruning_core.granularities import Granularity, Site
from pruning_core.tasks.registry import CLASSIFICATION, Task
from pruning_core.tracing.network import Network

Batch = tuple[Tensor, Tensor]


@dataclass(frozen=True, slots=True, eq=False)
class Material:
    """What a criterion looks at; everything in it is read-only.

    Attributes:
        network: The traced network, its module in eval mode.
        granularity: How it is divided into units.
        sites: What is rated, in execution order.
        reduction: How the slices of a unit become one score, as in the recipe.
        batches: Starts the calibration data from the beginning: inputs ``[B, ...]`` and targets.
        task: What the targets are of.
    """

    network: Network
    granularity: Granularity
    sites: tuple[Site, ...]
    reduction: str
    batches: Callable[[], Iterator[Batch]]
    task: Task = CLASSIFICATION
