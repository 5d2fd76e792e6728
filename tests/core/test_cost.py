"""What-ifs answered from counts, masks and sweeps are one and the same, and right."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from pruning_core.loading.model import load_model
from pruning_core.planning.recipe import Recipe
from pruning_core.planning.resolve import resolve
from pruning_core.preview import sliders
from pruning_core.scoring.score import Scores
from pruning_core.surgery.unit import remove_units
from pruning_core.tracing.network import Network
from pruning_core.tracing.trace import trace
from tests.core.oracles import counted_macs, counted_nonzero, counted_params


class Uneven(nn.Module):
    """The first three of six channels are read twice, so they weigh more than the others."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.head = nn.Conv2d(1, 6, 3), nn.Linear(9 * 36, 4)

    def forward(self, x: Tensor) -> Tensor:
        found = torch.relu(self.conv(x))
        return self.head(torch.cat([found, found[:, :3]], dim=1).flatten(1))


def even() -> nn.Module:
    layers = (nn.Conv2d(1, 5, 3), nn.BatchNorm2d(5), nn.ReLU(), nn.Conv2d(5, 7, 3), nn.Flatten())
    return nn.Sequential(*layers, nn.Linear(7 * 16, 6), nn.ReLU(), nn.Linear(6, 3))


def traced(build: Callable[[], nn.Module]) -> Network:
    torch.manual_seed(0)
    module = build().eval()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter[torch.rand(parameter.shape) < 0.3] = 0
    return trace(module, torch.randn(1, 1, 8, 8))


NETWORKS = {build.__name__: traced(build) for build in (even, Uneven)}


def test_units_that_are_read_twice_are_of_a_kind_of_their_own() -> None:
    cost = NETWORKS["Uneven"].cost
    assert cost.uniform.tolist() == [False]
    for unit, columns in ((0, 2 * 36), (5, 36)):
        keep = np.arange(6) != unit
        assert cost.query(keep).params.sum() == 5 * 10 + (9 * 36 - columns) * 4 + 4
    with pytest.raises(ValueError, match="counts do not decide the cost"):
        cost.query_counts(np.array([5]))


@pytest.mark.parametrize("name", NETWORKS)
def test_a_random_mask_costs_what_the_pruned_network_costs(name: str) -> None:
    network = NETWORKS[name]

    @settings(max_examples=30, deadline=None)
    @given(st.lists(st.booleans(), min_size=18, max_size=18))
    def check(bits: list[bool]) -> None:
        keep = np.array(bits[: network.cost.n_units])
        for group in network.groups:
            keep[network.first_unit(group)] = True
        module = remove_units(network, keep).module
        costs = network.cost.query(keep)
        assert counted_params(module) == costs.params.sum()
        assert counted_macs(module, *network.example_inputs) == costs.macs.sum()
        left = costs.params - network.cost.zeros(keep)
        assert counted_nonzero(module) == left.sum()

    check()


@settings(deadline=None)
@given(st.lists(st.booleans(), min_size=18, max_size=18))
def test_counts_cost_what_any_mask_with_these_counts_costs(bits: list[bool]) -> None:
    network = NETWORKS["even"]
    keep = np.array(bits)
    starts = [network.first_unit(group) for group in network.groups]
    by_mask = network.cost.query(keep)
    by_counts = network.cost.query_counts(np.add.reduceat(keep, starts, dtype=np.int64))
    for field in ("params", "macs", "n_bytes"):
        np.testing.assert_array_equal(getattr(by_mask, field), getattr(by_counts, field))


@pytest.mark.parametrize("name", NETWORKS)
@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_a_sweep_is_a_query_at_every_position(name: str, seed: int) -> None:
    cost, rng = NETWORKS[name].cost, np.random.default_rng(seed)
    keep = rng.random(cost.n_units) < 0.8
    order = rng.permutation(np.flatnonzero(keep))
    positions = np.unique(rng.integers(0, len(order) + 1, 4))
    swept, zeros = cost.sweep(keep, order, positions), cost.zeros_along(keep, order, positions)
    for row, position in enumerate(positions):
        stays = keep.copy()
        stays[order[:position]] = False
        single = cost.query(stays)
        for field in ("params", "macs", "n_bytes"):
            np.testing.assert_array_equal(getattr(swept, field)[row], getattr(single, field)[0])
        np.testing.assert_array_equal(zeros[row], cost.zeros(stays)[0])


@pytest.mark.parametrize("name", ["resnet_8", "vit_tiny", "gru_128", "cnn_digits"])
def test_a_slide_is_a_query_at_every_position(name: str) -> None:
    model = load_model(f"bundled:{name}")
    network = trace(model.module, model.inputs)
    rng = np.random.default_rng(0)
    keep = rng.random(network.cost.n_units) < 0.7
    for group, totals in zip(network.groups, network.cost.slides(keep), strict=True):
        first = network.first_unit(group)
        keeps = np.repeat(keep[None], group.n_units + 1, axis=0)
        keeps[:, first : first + group.n_units] = np.tri(group.n_units + 1, group.n_units, -1) == 0
        costs = network.cost.query(keeps)
        assert totals is not None
        np.testing.assert_array_equal(totals.params, costs.params.sum(axis=1))
        np.testing.assert_array_equal(totals.macs, costs.macs.sum(axis=1))
        np.testing.assert_array_equal(totals.n_bytes, costs.n_bytes)


def test_sliders_of_units_that_differ_follow_their_order() -> None:
    network = NETWORKS["Uneven"]
    values = np.array([3, 1, 2, 0, 5, 4], np.float32)
    scores = Scores("l1", "unit", {"conv": values})
    plan = resolve(Recipe(model="m", granularity="unit"), network, scores)
    (slider,) = sliders(network, plan, scores)
    for position in range(6):
        keep = values >= position
        costs = network.cost.query(keep)
        assert slider.params[position] == costs.params.sum()
        assert slider.macs[position] == costs.macs.sum()
        assert slider.n_bytes[position] == costs.n_bytes[0]
