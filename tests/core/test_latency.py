"""Latency: known durations, pairs by hand, and layers that sleep for a known time."""

import time

import numpy as np
import pytest
import torch
from torch import nn

from pruning_core.evaluation import latency
from pruning_core.evaluation.latency import Comparison, Timing, compare, measure_pairs, paired_ratio
from pruning_core.inputs import Inputs
from pruning_core.tracing.trace import trace


def finish(generator):
    """Run a generator to its end; return what it yielded and what it returned."""
    yielded = []
    while True:
        try:
            yielded.append(next(generator))
        except StopIteration as end:
            return yielded, end.value


class Sleeps(nn.Module):
    def __init__(self, seconds):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(3, 3))
        self.seconds = seconds

    def forward(self, inputs):
        if type(inputs) is torch.Tensor:
            time.sleep(self.seconds)
        return inputs @ self.weight


def test_two_calls_of_known_duration_are_told_apart():
    progress, times = finish(
        measure_pairs(lambda: time.sleep(0.006), lambda: time.sleep(0.003), seconds=0.2)
    )
    assert len(times) >= 15
    assert np.median(times, axis=0) == pytest.approx([0.006, 0.003], rel=0.5)
    ratio, low, high = paired_ratio(times)
    assert 1.4 < low <= ratio <= high < 2.5
    assert progress == sorted(progress)
    assert 0 <= progress[0] <= progress[-1] < 1


def test_the_order_of_a_pair_changes_each_time():
    calls = []

    def first():
        calls.append("a")
        time.sleep(0.003)

    def second():
        calls.append("b")
        time.sleep(0.003)

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
    assert found.ratio == pytest.approx(1.0, abs=0.25)


def test_a_smaller_network_is_faster_and_modes_are_left_alone():
    large = nn.Sequential(nn.Linear(64, 2048), nn.ReLU(), nn.Linear(2048, 2048)).train()
    small = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64))
    inputs = Inputs.of(torch.randn(1, 64))
    _, found = finish(compare(large, small, inputs, batch_size=16, seconds=0.3))
    assert found.verdict == "faster"
    assert found.ratio > 3
    assert large.training


def test_time_shares_follow_layers_that_sleep(monkeypatch):
    monkeypatch.setattr(latency, "WARM_UP_SECONDS", 0.01)

    class Nested(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = Sleeps(0.009)
            self.scale = nn.Parameter(torch.ones(3))

        def forward(self, inputs):
            if type(inputs) is torch.Tensor:
                time.sleep(0.003)
            return self.inner(inputs) * self.scale

    module = nn.Sequential(Nested(), Sleeps(0.006))
    network = trace(module, torch.randn(1, 3))
    _, shares = finish(latency.time_shares(network, seconds=0.1))
    assert list(shares) == [layer.name for layer in network.layers]
    assert shares["0.inner"] == pytest.approx(0.5, abs=0.12)
    assert shares["0"] == pytest.approx(1 / 6, abs=0.08)
    assert shares["1"] == pytest.approx(1 / 3, abs=0.1)
    assert sum(shares.values()) <= 1.0
    hooks = [h for m in module.modules() for h in (*m._forward_hooks, *m._forward_pre_hooks)]
    assert hooks == []
