"""What-if: how good the network is right after a plan, measured without a run."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from torch import nn

from pruning_core.errors import DataError
from pruning_core.evaluation.evaluate import headline_of, statistics_of
from pruning_core.evaluation.intervals import (
    Interval,
    basic_interval,
    paired_interval,
    resampled_sums,
    wilson_interval,
)
from pruning_core.evaluation.stopping import ShouldStop, check_stop
from pruning_core.granularities import GRANULARITIES
from pruning_core.loading.dataset import Dataset
from pruning_core.loading.model import LoadedModel
from pruning_core.planning.plan import Plan
from pruning_core.surgery.mask import apply_masks, set_to_zero, weight_masks, zero_units
from pruning_core.surgery.prune import prune
from pruning_core.tasks import CLASSES
from pruning_core.tasks.registry import Task, headline
from pruning_core.tracing.network import Group, Network
from pruning_core.tuning.batchnorm import recalibrate_batchnorm, running_norms

SAMPLES: Final = (1000, 500, 250)
"""Examples that are measured: the first number that is quick enough, else by request."""
QUICK_SECONDS: Final = 2.0
_PILOT: Final = 50


@dataclass(frozen=True, slots=True)
class WhatIf:
    """Accuracy right after pruning, before any fine-tuning, beside that of the dense model.

    Both are measured on the same ``n`` first examples of the validation split. Every share is 0..1.
    Of other tasks than classification it is the metric they are judged by.

    Attributes:
        accuracy: Share of right answers after the plan.
        dense: Share of right answers of the dense model.
        lost: Examples that only the dense model names correctly.
        gained: Examples that only the pruned one does.
        n: Examples measured.
        n_split: Examples of the whole validation split.
        seconds: Wall-clock time of pruning and measuring.
        task: Key of what was measured.
        around: 95 % interval of another metric than accuracy.
        change: 95 % interval of its difference.
    """

    accuracy: float
    dense: float
    lost: int
    gained: int
    n: int
    n_split: int
    seconds: float
    task: str = CLASSES
    around: Interval | None = None
    change: Interval | None = None

    @property
    def interval(self) -> Interval:
        """The 95 % interval of what was measured; Wilson's for the accuracy."""
        return self.around or wilson_interval(self.accuracy, self.n)

    @property
    def difference(self) -> float:
        """What was measured after minus what was before; of accuracies -1..1."""
        if self.change is not None:
            return self.accuracy - self.dense
        return (self.gained - self.lost) / self.n

    @property
    def difference_interval(self) -> Interval:
        """The 95 % interval of the difference, which knows that the examples are the same."""
        return self.change or paired_interval(self.lost, self.gained, self.n)

    @property
    def points_lost(self) -> float:
        """How much was lost, in percentage points, or as the metric says (``Metric.lost``)."""
        if self.change is None:
            return -100 * self.difference
        return headline(self.task).lost(self.dense, self.accuracy)


def what_if(
    model: LoadedModel,
    network: Network,
    plan: Plan,
    data: Dataset,
    *,
    n: int = SAMPLES[0],
    dense: NDArray[np.float64] | None = None,
    should_stop: ShouldStop | None = None,
) -> WhatIf:
    """Measure the accuracy of ``plan`` on the first ``n`` validation examples.

    It is what a run measures after pruning and before fine-tuning, on other examples: a run reports
    on the test split, on which nothing is chosen.

    Args:
        model: The dense model.
        network: Its trace.
        plan: What goes.
        data: Its validation split is measured, its calibration examples settle batch norms.
        n: Examples, at most those there are.
        dense: ``[n, K]`` statistics of the dense model's answers where they are known.
        should_stop: Asked before every batch.

    Raises:
        DataError: If the validation split is empty or does not fit the model.
        StoppedError: If ``should_stop`` says so.
    """
    sample = data.validation.first(n)
    if not len(sample):
        raise DataError(
            f"The data set '{data.key}' has no validation examples, so no accuracy can be measured "
            "before a run. Use the test accuracy of a run instead."
        )
    if dense is None:
        dense = statistics_of(model.module, sample, should_stop=should_stop)
    began = time.perf_counter()
    check_stop(should_stop)
    module = carried_out(model, network, plan, data)
    found = statistics_of(module, sample, should_stop=should_stop)
    return _compared(sample.task, dense, found, len(data.validation), began)


def paired_change(
    task: Task, before: NDArray[np.float64], after: NDArray[np.float64]
) -> tuple[Interval, Interval]:
    """Return the 95 % intervals of a task's headline after, and of its change.

    Basic bootstrap; both are measured on the same samples, which are drawn together.

    Args:
        task: Any but classification, whose answers are right or wrong.
        before: ``[N, K]`` statistics of one network.
        after: Those of the other.
    """
    key, metric = task.metrics[0].key, task.metrics[0]
    first, second = (task.values(sums)[key] for sums in resampled_sums([before, after]))
    was, now = headline_of(task, before), headline_of(task, after)
    (around,) = basic_interval(np.array([now]), second[:, None], (metric.least, metric.most))
    widest = metric.most - metric.least
    (change,) = basic_interval(np.array([now - was]), (second - first)[:, None], (-widest, widest))
    return around, change


def _compared(
    task: Task,
    dense: NDArray[np.float64],
    found: NDArray[np.float64],
    n_split: int,
    began: float,
) -> WhatIf:
    lost = gained = 0
    around = change = None
    if task.counts_classes:
        was_right, is_right = dense[:, 0] > 0, found[:, 0] > 0
        lost, gained = int((was_right & ~is_right).sum()), int((is_right & ~was_right).sum())
    else:
        around, change = paired_change(task, dense, found)
    return WhatIf(
        accuracy=headline_of(task, found),
        dense=headline_of(task, dense),
        lost=lost,
        gained=gained,
        n=len(found),
        n_split=n_split,
        seconds=time.perf_counter() - began,
        task=task.key,
        around=around,
        change=change,
    )


def carried_out(
    model: LoadedModel, network: Network, plan: Plan, data: Dataset | None = None
) -> nn.Module:
    """Return a module with the outputs that the network has right after pruning.

    Units are set to zero where that is the same as removing them, which saves proving that the
    smaller class is right; where they change a normalisation, they are really removed. As in a run,
    batch-norm statistics are recomputed where something is removed.
    """
    keep, removes = plan.unit_keep(network), _removes(plan)
    if plan.cut(network) or any(
        group.changes_normalisation and not part.all() for group, part in _by_group(network, keep)
    ):
        module = prune(model, network, plan).module
    elif removes:
        module = zero_units(network, keep)
        set_to_zero(module, weight_masks(network, plan))
    else:
        return apply_masks(network, weight_masks(network, plan))
    if data is not None:
        recalibrate_batchnorm(module, data.calibration)
    return module


def expected_seconds(
    model: LoadedModel, network: Network, plan: Plan, data: Dataset, n: int
) -> float:
    """Return how long :func:`what_if` will take, from a few examples and one pruned copy."""
    began = time.perf_counter()
    carried_out(model, network, plan)
    copying = time.perf_counter() - began
    few = data.validation.first(_PILOT)
    statistics_of(model.module, few.first(2))  # the first pass makes buffers
    began = time.perf_counter()
    statistics_of(model.module, few)
    per_example = (time.perf_counter() - began) / max(1, len(few))
    n_read = min(n, len(data.validation))
    if _removes(plan) and running_norms(model.module):
        n_read += len(data.calibration)
    return copying + per_example * n_read


def _removes(plan: Plan) -> bool:
    parts = plan.recipe.parts.values()
    return any(GRANULARITIES[part.granularity].removes for part in parts)


def _by_group(
    network: Network, keep: NDArray[np.bool_]
) -> Iterator[tuple[Group, NDArray[np.bool_]]]:
    ends = np.cumsum([group.n_units for group in network.groups])[:-1]
    return zip(network.groups, np.split(keep, ends), strict=True)
