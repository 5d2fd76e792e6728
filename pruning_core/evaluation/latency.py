"""Latency on this machine: dense and pruned in turns, and the time share of each layer.

Both networks are measured in pairs, the order of a pair changing each time, so that a machine that
slows down or is shared hurts both alike. What is compared are the ratios of pairs.
"""

import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from pruning_core.inputs import Inputs
from pruning_core.modes import evaluating
from pruning_core.tracing.network import Network

Times = NDArray[np.float64]
Call = Callable[[], object]

LEAST_GAIN: Final = 1.02
"""A network counts as faster when the whole interval of the ratio lies above this."""
WARM_UP_SECONDS: Final = 0.3
MEASURE_SECONDS: Final = 3.0
_FEWEST, _MOST = 15, 200
_SHORTEST: Final = 2e-3
_RESAMPLES: Final = 2000


@dataclass(frozen=True, slots=True)
class Timing:
    """How long one forward pass took.

    Attributes:
        median_ms: Median, milliseconds.
        low_ms: First quartile.
        high_ms: Third quartile.
    """

    median_ms: float
    low_ms: float
    high_ms: float


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two networks (dense and pruned, or float and int8), measured in turns.

    Attributes:
        batch_size: Samples of one forward pass.
        threads: Threads they computed with.
        n: Pairs measured.
        dense: The network before.
        pruned: The network after.
        ratio: Median of dense time / pruned time over the pairs.
        ratio_low: Lower end of its 95 % interval.
        ratio_high: Upper end.
        backend: What computed: pytorch, compiled or onnxruntime.
    """

    batch_size: int
    threads: int
    n: int
    dense: Timing
    pruned: Timing
    ratio: float
    ratio_low: float
    ratio_high: float
    backend: str = "pytorch"

    @property
    def verdict(self) -> Literal["faster", "slower", "no measurable gain"]:
        """What may be said: a gain counts only beyond 2 % and beyond the noise.

        ``faster`` when the whole 95 % interval of the ratio is above 1.02, ``slower`` when it is
        below 1 / 1.02.
        """
        if self.ratio_low > LEAST_GAIN:
            return "faster"
        return "slower" if self.ratio_high < 1 / LEAST_GAIN else "no measurable gain"


def compare(
    dense: nn.Module,
    pruned: nn.Module,
    inputs: Inputs,
    *,
    batch_size: int = 1,
    seconds: float = MEASURE_SECONDS,
    backend: str = "pytorch",
) -> Generator[float, None, Comparison]:
    """Measure both networks in turns; yields the share that is done, returns the comparison.

    The number of threads is the process's own (:func:`torch.set_num_threads`). Passes shorter than
    2 ms are measured several at a time.

    Args:
        dense: The network before.
        pruned: The network after.
        inputs: One sample; it is repeated to a batch.
        batch_size: Samples of one forward pass.
        seconds: How long to measure after the warm-up; at least 15 pairs are measured.
        backend: What the modules run in, e.g. ``compiled``; only noted.
    """
    batch = inputs.repeated(batch_size)

    def one(module: nn.Module) -> Call:
        return lambda: module(*batch.args, **batch.kwargs)

    with evaluating(dense), evaluating(pruned), torch.inference_mode():
        times = yield from measure_pairs(one(dense), one(pruned), seconds=seconds)
    return comparison(
        times, batch_size=batch_size, threads=torch.get_num_threads(), backend=backend
    )


def comparison(
    times: Times, *, batch_size: int, threads: int, backend: str = "pytorch"
) -> Comparison:
    """Return what pairs of seconds ``[n, 2]``, before and after, say."""
    ratio, low, high = paired_ratio(times)
    return Comparison(
        batch_size=batch_size,
        threads=threads,
        n=len(times),
        dense=_timing(times[:, 0]),
        pruned=_timing(times[:, 1]),
        ratio=ratio,
        ratio_low=low,
        ratio_high=high,
        backend=backend,
    )


def measure_pairs(
    first: Call, second: Call, *, seconds: float = MEASURE_SECONDS
) -> Generator[float, None, Times]:
    """Call both in turns; yields the share that is done, returns ``[n, 2]`` seconds a call."""
    repeats = [_warm_up(call) for call in (first, second)]
    times: list[tuple[float, float]] = []
    began = time.perf_counter()
    while len(times) < _MOST:
        spent = time.perf_counter() - began
        if spent > seconds and len(times) >= _FEWEST:
            break
        yield _share_done(spent / seconds, len(times))
        calls = list(zip((first, second), repeats, strict=True))
        backwards = len(times) % 2 == 1
        pair = [_seconds(call, times) for call, times in (calls[::-1] if backwards else calls)]
        times.append((pair[1], pair[0]) if backwards else (pair[0], pair[1]))
    return np.array(times, np.float64)


def paired_ratio(times: Times) -> tuple[float, float, float]:
    """Return the median of first / second over pairs ``[n, 2]`` and its 95 % interval.

    The interval is that of a bootstrap over pairs (percentiles of 2,000 medians, seeded; Efron
    1979, doi:10.1214/aos/1176344552).
    """
    ratios = times[:, 0] / times[:, 1]
    drawn = np.random.default_rng(0).integers(0, len(ratios), (_RESAMPLES, len(ratios)))
    low, high = np.percentile(np.median(ratios[drawn], axis=1), [2.5, 97.5])
    return float(np.median(ratios)), float(low), float(high)


def time_shares(
    network: Network, *, batch_size: int = 1, seconds: float = MEASURE_SECONDS
) -> Generator[float, None, dict[str, float]]:
    """Measure how the time of a forward pass is spread over the layers of the dense network.

    Yields the share that is done. Returns layer name -> share of the whole pass, 0..1: the median
    over passes of the time inside the layer but not inside layers within it. What is left to one
    is spent between the layers. Watching costs time itself, a few microseconds a layer.
    """
    names = [layer.name for layer in network.layers]
    passes = yield from _watched(network, names, batch_size=batch_size, seconds=seconds)
    shares = np.median(passes[:, :-1] / passes[:, -1:], axis=0)
    return dict(zip(names, shares.tolist(), strict=True))


def layer_times(
    network: Network, *, batch_size: int = 1, seconds: float = MEASURE_SECONDS
) -> Generator[float, None, tuple[dict[str, Timing], Timing]]:
    """Measure what each layer of a network takes of a forward pass, and what passes between them.

    As :func:`time_shares`, in milliseconds with quartiles over passes.
    """
    names = [layer.name for layer in network.layers]
    passes = yield from _watched(network, names, batch_size=batch_size, seconds=seconds)
    own = {name: _timing(passes[:, place]) for place, name in enumerate(names)}
    return own, _timing(passes[:, -1] - passes[:, :-1].sum(axis=1))


def _watched(
    network: Network, names: Sequence[str], *, batch_size: int, seconds: float
) -> Generator[float, None, Times]:
    """Return ``[passes, layers + 1]`` seconds: inside each layer, and the whole pass."""
    watch = _Watch(network, names)
    batch = network.inputs.repeated(batch_size)
    passes: list[list[float]] = []
    with evaluating(network.module), torch.inference_mode(), watch.watching():
        _warm_up(lambda: network.module(*batch.args, **batch.kwargs))
        began = time.perf_counter()
        while len(passes) < _MOST:
            spent = time.perf_counter() - began
            if spent > seconds and len(passes) >= _FEWEST:
                break
            yield _share_done(spent / seconds, len(passes))
            watch.restart()
            started = time.perf_counter()
            network.module(*batch.args, **batch.kwargs)
            whole = time.perf_counter() - started
            passes.append([*watch.own, whole])
    return np.array(passes, np.float64)


class _Watch:
    """Hooks that add up the time inside each layer, without that of layers within it."""

    def __init__(self, network: Network, names: Sequence[str]) -> None:
        self.names = names
        self.own = [0.0] * len(names)
        self._network = network
        self._open: list[tuple[int, float]] = []

    def restart(self) -> None:
        """Begin a new pass."""
        self.own = [0.0] * len(self.names)
        self._open.clear()

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Have the hooks on inside the block."""
        handles = []
        try:
            for place, name in enumerate(self.names):
                module = self._network.module.get_submodule(name)
                handles.append(module.register_forward_pre_hook(self._enter(place)))
                handles.append(module.register_forward_hook(self._leave()))
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _enter(self, place: int) -> Callable[..., None]:
        def hook(*_: Any) -> None:
            now = time.perf_counter()
            if self._open:
                outer, since = self._open[-1]
                self.own[outer] += now - since
            self._open.append((place, now))

        return hook

    def _leave(self) -> Callable[..., None]:
        def hook(*_: Any) -> None:
            now = time.perf_counter()
            inner, since = self._open.pop()
            self.own[inner] += now - since
            if self._open:
                self._open[-1] = (self._open[-1][0], now)

        return hook


def _warm_up(call: Call) -> int:
    """Call until caches and allocators have settled; return how many calls make one measurement."""
    began, calls, fastest = time.perf_counter(), 0, float("inf")
    while calls < 3 or time.perf_counter() - began < WARM_UP_SECONDS:
        fastest = min(fastest, _seconds(call, 1))
        calls += 1
    return max(1, int(np.ceil(_SHORTEST / fastest)))


def _share_done(of_time: float, n: int) -> float:
    """Return how far a measurement is that takes its time and the fewest passes, or the most."""
    return min(0.99, max(min(of_time, n / _FEWEST), n / _MOST))


def _seconds(call: Call, times: int) -> float:
    began = time.perf_counter()
    for _ in range(times):
        call()
    return (time.perf_counter() - began) / times


def _timing(seconds: Times) -> Timing:
    low, median, high = (1000 * np.percentile(seconds, [25, 50, 75])).tolist()
    return Timing(median, low, high)
