"""What a result was computed with: enough to know whether the same bits can be expected again."""

import platform
from pathlib import Path

import numpy as np
import torch


def describe_environment(device: str = "cpu", n_processes: int = 1) -> dict[str, str]:
    """Return versions, processor, device and threads as text; nothing that names the machine.

    Runs of one process are described without their number, as they always were.
    """
    together = {"processes": str(n_processes)} if n_processes > 1 else {}
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "system": f"{platform.system()} {platform.machine()}",
        "processor": processor(),
        "device": device,
        "threads": str(torch.get_num_threads()),
        **together,
    }


def processor() -> str:
    """Return the model name of the processor where the system tells it."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return platform.processor() or "unknown"
    for line in text.splitlines():
        name, _, value = line.partition(":")
        if name.strip() == "model name":
            return value.strip()
    return platform.processor() or "unknown"
