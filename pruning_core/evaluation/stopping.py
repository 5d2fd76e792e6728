"""Stopping long work from outside."""

from collections.abc import Callable

from pruning_core.errors import RunError

ShouldStop = Callable[[], bool]


class StoppedError(RunError):
    """The work was stopped because the caller asked for it."""


def check_stop(should_stop: ShouldStop | None) -> None:
    """Do nothing, unless the caller wants the work to stop.

    Raises:
        StoppedError: If ``should_stop()`` is True.
    """
    if should_stop is not None and should_stop():
        raise StoppedError("The run was stopped on request.")
