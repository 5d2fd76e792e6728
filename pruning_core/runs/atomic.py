"""Files that are whole or absent: written beside their place, flushed to the disk, then renamed."""

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

PARTIAL_PREFIX: Final = ".partial-"


def publish(path: Path, write: Callable[[Path], object]) -> None:
    """Make ``path`` hold exactly what ``write`` produces, or leave it as it was.

    Args:
        path: The file to create or replace; its folder exists.
        write: Writes one complete file to the path it is given (same suffix as ``path``).

    Raises:
        OSError: If the disk refuses; no partial file stays.
    """
    partial = path.with_name(f"{PARTIAL_PREFIX}{os.getpid()}-{path.name}")
    try:
        write(partial)
        with partial.open("rb") as file:
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    sync_folder(path.parent)


def write_bytes(path: Path, content: bytes) -> None:
    """Make ``path`` hold ``content``, or leave it as it was.

    Raises:
        OSError: If the disk refuses; no partial file stays.
    """
    publish(path, lambda partial: partial.write_bytes(content))


def sync_folder(folder: Path) -> None:
    """Flush the folder's own entries, so that a rename survives a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sweep(folder: Path) -> None:
    """Remove the partial files that killed writers left in ``folder``."""
    for partial in folder.glob(f"{PARTIAL_PREFIX}*"):
        partial.unlink(missing_ok=True)


@contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Hold the lock of the file ``path`` inside the block, waiting for whoever holds it.

    The lock ends with the process, however that ends; the file itself stays.
    """
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
