"""Counting a real module, to hold what was predicted against it."""

from torch import nn

from pruning_core.errors import RunError
from pruning_core.loading.weights import predicted_safetensors_bytes
from pruning_core.loading.weights_only import state_in_file
from pruning_core.preview import Totals
from pruning_core.surgery.prune import Pruned


def counted(module: nn.Module, *, macs: int) -> Totals:
    """Return the totals of ``module``: elements counted one by one, ``macs`` as given."""
    parameters = tuple(module.parameters())
    shapes = {
        name: (tuple(tensor.shape), tensor.dtype) for name, tensor in state_in_file(module).items()
    }
    return Totals(
        params=sum(parameter.numel() for parameter in parameters),
        nonzero=sum(int(parameter.count_nonzero()) for parameter in parameters),
        macs=macs,
        n_bytes=predicted_safetensors_bytes(shapes),
    )


def check_counts(surgery: Pruned, predicted: Totals) -> None:
    """Hold the preview against the pruned module.

    Raises:
        RunError: If parameters, non-zeros or bytes differ by one or more; this is an error in the
            program, and no number of the run could be trusted.
    """
    found = counted(surgery.module, macs=predicted.macs)
    if found != predicted:
        raise RunError(
            f"The pruned network has {found.params:,} parameters ({found.nonzero:,} not zero, "
            f"{found.n_bytes:,} bytes), but {predicted.params:,} ({predicted.nonzero:,}, "
            f"{predicted.n_bytes:,}) were predicted. This is an error in the program; please "
            "report it with the recipe."
        )
