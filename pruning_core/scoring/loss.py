"""The loss of a task, from what a model returns and what the targets are."""

from typing import Any

from torch import Tensor

from pruning_core.tasks.registry import CLASSIFICATION, Task


def task_loss(
    output: Any, labels: Tensor, temperature: float = 1.0, task: Task = CLASSIFICATION
) -> Tensor:
    """Return the mean loss of a batch, a scalar; of classes the cross-entropy in nats.

    Args:
        output: What the model returned.
        labels: The targets, for classes integers ``[N]`` or ``[N, T]``; -100 counts for nothing.
        temperature: What logits are divided by; a high one makes all classes nearly alike.
        task: What the targets are of.

    Raises:
        DataError: If output and targets do not fit together.
    """
    return task.criterion_loss(output, labels, temperature)
