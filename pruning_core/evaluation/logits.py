"""Asking a classifier for logits, and checking that they fit the labels."""

from collections.abc import Callable

from torch import Tensor

from pruning_core.errors import DataError


def logits_of(call: Callable[[Tensor], object], inputs: Tensor, labels: Tensor) -> Tensor:
    """Return the logits ``[B, classes]`` of ``inputs`` ``[B, ...]``.

    Args:
        call: A classifier.
        inputs: One batch.
        labels: ``[B]``, only compared with the number of logits.

    Raises:
        DataError: If the classifier does not return one logit for each class of the labels.
    """
    logits = call(inputs)
    if not isinstance(logits, Tensor) or logits.ndim != 2 or len(logits) != len(inputs):
        shown = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        raise DataError(
            f"The model returns {shown} for {len(inputs)} inputs; a classifier returns logits "
            f"({len(inputs)}, classes). Choose a model that classifies."
        )
    if logits.shape[1] <= int(labels.max()):
        raise DataError(
            f"The model tells {logits.shape[1]} classes apart, but the data has the label "
            f"{int(labels.max())}. Choose the data set the model was made for."
        )
    return logits
