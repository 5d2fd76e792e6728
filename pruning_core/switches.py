"""Process-wide torch switches, thrown for a moment under one lock and put back.

Tracing and exact counting need the fused fast paths off; reproducible scores need one thread.
Both are global to the process, so everything that depends on them takes the same lock.
"""

import threading
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

_LOCK = threading.RLock()


@contextmanager
def decomposed_operators() -> Iterator[None]:
    """Make attention and recurrent layers run as plain matrix products inside the block."""
    with plain_attention(), ExitStack() as stack:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # a remark on Intel GPUs
            stack.enter_context(torch.backends.mkldnn.flags(enabled=False))
        yield


@contextmanager
def plain_attention() -> Iterator[None]:
    """Make attention run as plain matrix products inside the block."""
    with _LOCK, ExitStack() as stack:
        fast_path = torch.backends.mha.get_fastpath_enabled()
        torch.backends.mha.set_fastpath_enabled(False)
        stack.callback(torch.backends.mha.set_fastpath_enabled, fast_path)
        stack.enter_context(sdpa_kernel(SDPBackend.MATH))
        yield


@contextmanager
def reproducible() -> Iterator[None]:
    """Run the block on one thread, so that sums come out in the same order on every machine use."""
    with _LOCK:
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            yield
        finally:
            torch.set_num_threads(threads)
