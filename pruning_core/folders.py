"""Where the program keeps what has to outlast a process."""

import os
from pathlib import Path


def state_folder() -> Path:
    """Return ``PRUNING_STUDIO_STATE``, or ``pruning-studio`` in the XDG state home."""
    own = os.environ.get("PRUNING_STUDIO_STATE")
    if own:
        return Path(own).expanduser().absolute()
    home = os.environ.get("XDG_STATE_HOME")
    return (Path(home) if home else Path.home() / ".local" / "state") / "pruning-studio"
