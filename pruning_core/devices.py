"""Where a run computes: the processor, or an accelerator of this machine.

The device is no part of a recipe: the same file must run wherever it is taken. It belongs to the
job, like the number of threads, and comes from ``--device``, from whoever submits a run, or from
the variable ``PRUNING_STUDIO_DEVICE``. Scores, plans and surgery always stay on the processor, so
that masks do not depend on it; training and evaluation follow the device of the module.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import torch
from torch import nn

from pruning_core.errors import RunError

VARIABLE: Final = "PRUNING_STUDIO_DEVICE"
DEVICES: Final = ("auto", "cpu", "cuda", "mps")
CPU: Final = torch.device("cpu")


def available() -> tuple[str, ...]:
    """Return the devices of this machine, the fastest first; ``cpu`` is always one of them."""
    found = ["cuda"] if torch.cuda.is_available() else []
    found += ["mps"] if torch.backends.mps.is_available() else []
    return (*found, "cpu")


def chosen_device(name: str | None = None) -> torch.device:
    """Return the device called ``name``; None asks the variable, and ``auto`` takes the fastest.

    Raises:
        RunError: If there is no such device, or this machine has none.
    """
    wanted = name or os.environ.get(VARIABLE) or "auto"
    if wanted not in DEVICES:
        raise RunError(
            f"'{wanted[:40]}' is no device. Choose one of {', '.join(DEVICES)} (--device, or the "
            f"variable {VARIABLE})."
        )
    here = available()
    if wanted == "auto":
        return torch.device(here[0])
    if wanted not in here:
        raise RunError(
            f"This machine, or its PyTorch {torch.__version__}, has no device '{wanted}'. Choose "
            f"one of {', '.join(here)}, or auto (--device, or the variable {VARIABLE})."
        )
    return torch.device(wanted)


def device_of(module: nn.Module) -> torch.device:
    """Return where ``module`` computes: where its first parameter or buffer lies."""
    tensors = (*module.parameters(), *module.buffers())
    return tensors[0].device if tensors else CPU


@contextmanager
def placed(module: nn.Module, device: torch.device) -> Iterator[nn.Module]:
    """Keep ``module`` on ``device`` inside the block; its parameters stay the same objects."""
    before = device_of(module)
    module.to(device)
    try:
        yield module
    finally:
        module.to(before)


def check_precision(precision: str, device: torch.device) -> None:
    """Refuse mixed precision where the device lacks it, or computes it slower than float32.

    Raises:
        RunError: Naming the device.
    """
    if precision == "float32" or supports_bfloat16(device.type):
        return
    raise RunError(
        f"Mixed precision (bfloat16) does not pay on the device '{device.type}' of this machine: "
        "it has no instructions for it. Set tuning.precision to float32."
    )


def supports_bfloat16(device: str) -> bool:
    """Tell whether ``device`` computes bfloat16 by instructions of its own."""
    match device:
        case "cuda":
            supported = torch.cuda.is_bf16_supported(including_emulation=False)
        case "mps":
            supported = torch.backends.mps.is_macos_or_newer(14, 0)
        case "cpu":
            supported = torch.ops.mkldnn._is_mkldnn_bf16_supported()
        case _:
            supported = False
    return bool(supported)
