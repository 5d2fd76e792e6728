"""The tasks by name, one file each in ``kinds``."""

from pruning_core.registry import import_plugins
from pruning_core.tasks.metric import CLASSES, Metric
from pruning_core.tasks.task import TASKS, Task

import_plugins("pruning_core.tasks.kinds")

CLASSIFICATION: Task = TASKS[CLASSES]
"""The task of data that name none."""


def headline(task: str) -> Metric:
    """Return the metric that the task ``task`` is judged by.

    Raises:
        UnknownNameError: If there is no such task.
    """
    return TASKS[task].metrics[0]


__all__ = ["CLASSIFICATION", "TASKS", "Task", "headline"]
