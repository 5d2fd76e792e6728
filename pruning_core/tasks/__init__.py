"""What a network is asked to do, one file each in ``kinds``: targets, loss, metrics."""

from pruning_core.registry import import_plugins
from pruning_core.tasks.metric import Metric
from pruning_core.tasks.task import CLASSES, TASKS, Task

import_plugins(f"{__name__}.kinds")

CLASSIFICATION: Task = TASKS[CLASSES]
"""The task of data that name none."""

__all__ = ["CLASSES", "CLASSIFICATION", "TASKS", "Metric", "Task"]
