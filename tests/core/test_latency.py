"""Latency: known durations, pairs by hand, and layers that sleep for a known time."""

import numpy as np
import pytest
import torch
from torch import nn

from pruning_core.evaluation import latency
from pruning_core.evaluation.latency import Comparison, Timing, compare, measure_pairs, paired_ratio
from pruning_core.inputs import Inputs
from pruning_core.steps import run_to_end
from pruning_core.tracing.trace import trace


def finish(generator):
    """Run a generator to its end; return what it yielded and what it returned."""
    yielded = []
    found = run_to_end(generator, yielded.append)
    return yielded, found


class Clock:
    """Stands in for the module time of latency.py: what is measured lasts as long as it says."""

    def __init__(self):
        self.now = 0.0

    def perf_counter(self):
        self.now += 1e-7
        return self.now

    def sleep(self, seconds):
        self.now += seconds


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(latency, "time", clock)
    return clock


class Sleeps(nn.Module):
    def __init__(self, clock, seconds):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(3, 3))
        self.sleep = lambda: clock.sleep(seconds)

    def forward(self, inputs):
        if type(inputs) is torch.Tensor:
            self.sleep()
        return inputs @ self.weight


def test_two_calls_of_known_duration_are_told_apart(clock):
    progress, times = finish(
        measure_pairs(lambda: clock.sleep(0.006), lambda: clock.sleep(0.003), seconds=0.2)
    )
    assert len(times) >= 15
    assert np.median(times, axis=0) == pytest.approx([0.006, 0.003], rel=0.01)
    assert paired_ratio(times) == pytest.approx((2, 2, 2), rel=0.01)
    assert progress == sorted(progress)
    assert 0 <= progress[0] <= progress[-1] < 1


def test_the_order_of_a_pair_changes_each_time(clock):
    calls = []

    def first():
        calls.append("a")
        clock.sleep(0.003)

    def second():
        calls.append("b")
        clock.sleep(0.003)

    finish(measure_pairs(first, second, seconds=0.05))
    measured = "".join(calls[-20:])
    assert "abba" in measured
    assert measured.count("a") == measured.count("b")


def test_the_ratio_of_pairs_does_not_see_a_machine_that_slows_down():
    slowing = np.linspace(1, 5, 60)
    ratio, low, high = paired_ratio(np.stack([2.0 * slowing, 1.0 * slowing], axis=1))
    assert (ratio, low, high) == (2.0, 2.0, 2.0)


def test_the_interval_covers_the_true_ratio_nineteen_times_in_twenty():
    rng = np.random.default_rng(0)
    hits = 0
    for _ in range(200):
        noise = rng.lognormal(0, 0.1, (40, 2))
        _, low, high = paired_ratio(noise * [1.5, 1.0])
        hits += low <= 1.5 <= high
    assert hits > 175


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (1.3, 1.6, "faster"),
        (1.01, 1.6, "no measurable gain"),
        (0.9, 1.1, "no measurable gain"),
        (0.5, 0.9, "slower"),
    ],
)
def test_a_gain_counts_beyond_the_noise_only(low, high, verdict):
    timing = Timing(1.0, 0.9, 1.1)
    assert Comparison(1, 1, 20, timing, timing, 1.0, low, high).verdict == verdict


def test_a_network_is_no_faster_than_itself():
    module = nn.Sequential(nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 10))
    inputs = Inputs.of(torch.randn(1, 64))
    _, found = finish(compare(module, module, inputs, batch_size=32, seconds=0.6))
    assert found.batch_size == 32
    assert found.threads == torch.get_num_threads()
    assert found.dense.low_ms <= found.dense.median_ms <= found.dense.high_ms
    assert 0.5 < found.ratio < 2  # on a busy machine too


def test_a_smaller_network_is_faster_and_modes_are_left_alone():
    large = nn.Sequential(nn.Linear(64, 2048), nn.ReLU(), nn.Linear(2048, 2048)).train()
    small = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64))
    inputs = Inputs.of(torch.randn(1, 64))
    _, found = finish(compare(large, small, inputs, batch_size=16, seconds=0.3))
    assert found.verdict == "faster"
    assert found.ratio > 3
    assert large.training


def test_time_shares_follow_layers_that_sleep(monkeypatch, clock):
    monkeypatch.setattr(latency, "WARM_UP_SECONDS", 0.01)

    class Nested(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = Sleeps(clock, 0.009)
            self.scale = nn.Parameter(torch.ones(3))

        def forward(self, inputs):
            if type(inputs) is torch.Tensor:
                clock.sleep(0.003)
            return self.inner(inputs) * self.scale

    module = nn.Sequential(Nested(), Sleeps(clock, 0.006))
    network = trace(module, torch.randn(1, 3))
    _, shares = finish(latency.time_shares(network, seconds=0.1))
    assert list(shares) == [layer.name for layer in network.layers]
    assert shares["0.inner"] == pytest.approx(0.5, abs=0.01)
    assert shares["0"] == pytest.approx(1 / 6, abs=0.01)
    assert shares["1"] == pytest.approx(1 / 3, abs=0.01)
    assert sum(shares.values()) <= 1.0
    hooks = [h for m in module.modules() for h in (*m._forward_hooks, *m._forward_pre_hooks)]
    assert hooks == []
