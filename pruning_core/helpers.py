"""What processes are given that the program starts beside its own."""

import os
from pathlib import Path
from typing import Final

TOKEN_VARIABLE: Final = "PRUNING_STUDIO_TOKEN"
"""Holds the token of visitors; only the process that serves pages has to know it."""


def helper_environment() -> dict[str, str]:
    """Return the environment of a process that imports this package: all of ours but the token."""
    code = str(Path(__file__).resolve().parents[1])
    path = os.pathsep.join(part for part in (code, os.environ.get("PYTHONPATH")) if part)
    kept = {name: value for name, value in os.environ.items() if name != TOKEN_VARIABLE}
    return kept | {"PYTHONPATH": path}
