"""Long work is a generator: it yields how far it is and returns what it found."""

from collections.abc import Callable, Generator
from typing import TypeVar

Progress = TypeVar("Progress")
Found = TypeVar("Found")


def run_to_end(
    steps: Generator[Progress, None, Found], tell: Callable[[Progress], None] | None = None
) -> Found:
    """Return what ``steps`` returns; each progress it yields is given to ``tell``."""
    while True:
        try:
            progress = next(steps)
        except StopIteration as end:
            found: Found = end.value
            return found
        if tell is not None:
            tell(progress)
