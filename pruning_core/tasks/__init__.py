"""What a network is asked to do: targets, loss, metrics; names are known without PyTorch."""

from pruning_core.tasks.metric import ACCURACY, CLASSES, Metric

__all__ = ["ACCURACY", "CLASSES", "Metric"]
