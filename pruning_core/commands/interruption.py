"""Ctrl-C that is not lost: libraries turn it into errors of their own, or swallow it."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Final

_asked: Final = threading.Event()


@contextmanager
def noticed() -> Iterator[None]:
    """Note Ctrl-C inside the block; it also raises KeyboardInterrupt, as it does without.

    A process of a team also takes a request to end so: torchrun sends it when another one failed.
    """
    _asked.clear()
    before = signal.getsignal(signal.SIGINT)
    is_usual = before is signal.default_int_handler  # else somebody ignores or handles it
    if not is_usual or threading.current_thread() is not threading.main_thread():
        yield
        return
    signals = [signal.SIGINT, signal.SIGTERM] if "RANK" in os.environ else [signal.SIGINT]
    handlers = [signal.signal(number, _note) for number in signals]
    try:
        yield
    finally:
        for number, handler in zip(signals, handlers, strict=True):
            signal.signal(number, handler)


def was_asked() -> bool:
    """Tell whether Ctrl-C was pressed; long work asks this between its steps."""
    return _asked.is_set()


def _note(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
    _asked.set()
    raise KeyboardInterrupt
