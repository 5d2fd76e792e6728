"""The promise of the product: what is shown before pruning is what is counted after it.

``RANDOM_PLANS=200 python -m pytest tests/core/test_preview_equals_result.py`` draws that many.
"""

import copy
import os
from functools import cache

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save

from pruning_core.loading.model import LoadedModel, load_model
from pruning_core.surgery.unit import remove_units
from pruning_core.tracing.network import Network
from pruning_core.tracing.trace import trace
from tests.core.oracles import (
    BUNDLED,
    counted_macs,
    counted_nonzero,
    counted_params,
    relative_difference,
    zero_units,
)

N_PLANS = int(os.environ.get("RANDOM_PLANS", "60"))


@cache
def traced(name: str) -> tuple[LoadedModel, Network]:
    model = load_model(f"bundled:{name}")
    return model, trace(model.module, model.inputs)


@cache
def batch(name: str) -> torch.Tensor:
    _, network = traced(name)
    shape = network.example_inputs[0].shape[1:]
    return torch.randn(3, *shape, generator=torch.Generator().manual_seed(7))


def random_keep(network: Network, seed: int, density: float) -> np.ndarray:
    rng = np.random.default_rng(seed)
    parts = []
    for group in network.groups:
        keep = rng.random(group.n_units) < density
        keep[rng.integers(group.n_units)] = True
        parts.append(keep)
    return np.concatenate(parts)


def without_renormalised(network: Network, keep: np.ndarray) -> np.ndarray:
    """Keep the groups whose removal is marked as changing a normalisation."""
    result, start = keep.copy(), 0
    for group in network.groups:
        if group.changes_normalisation:
            result[start : start + group.n_units] = True
        start += group.n_units
    return result


@pytest.mark.parametrize("name", BUNDLED)
def test_counts_predicted_equal_counts_after_removal(name: str) -> None:
    _, network = traced(name)

    @settings(max_examples=N_PLANS, deadline=None, suppress_health_check=list(HealthCheck))
    @given(seed=st.integers(0, 2**32 - 1), density=st.floats(0.02, 1.0))
    def check(seed: int, density: float) -> None:
        keep = random_keep(network, seed, density)
        predicted = network.cost.query(keep)
        removal = remove_units(network, keep)
        assert removal.graph_reason == ""
        assert type(removal.module) is type(network.module)
        assert counted_params(removal.module) == predicted.params.sum()
        assert (
            counted_nonzero(removal.module) == (predicted.params - network.cost.zeros(keep)).sum()
        )
        assert counted_macs(removal.module, *network.example_inputs) == predicted.macs.sum()
        state = {key: value.contiguous() for key, value in removal.module.state_dict().items()}
        assert len(save(state)) == predicted.n_bytes[0]

    check()


@pytest.mark.parametrize("name", BUNDLED)
def test_removing_units_equals_zeroing_them(name: str) -> None:
    _, network = traced(name)
    inputs = batch(name)

    @settings(max_examples=N_PLANS, deadline=None, suppress_health_check=list(HealthCheck))
    @given(seed=st.integers(0, 2**32 - 1), density=st.floats(0.02, 1.0))
    def check(seed: int, density: float) -> None:
        keep = without_renormalised(network, random_keep(network, seed, density))
        small, zeroed = remove_units(network, keep).module, zero_units(network, keep)
        with torch.no_grad():
            assert relative_difference(small(inputs), zeroed(inputs)) <= 1e-5
            exact = small.double()(inputs.double()), zeroed.double()(inputs.double())
        assert relative_difference(*exact) <= 1e-10

    check()


def test_groups_under_a_normalisation_are_marked_because_removing_differs_from_zeroing() -> None:
    _, network = traced("vit_tiny")
    marked = [group.name for group in network.groups if group.changes_normalisation]
    assert marked == ["patches"]
    keep = np.ones(network.cost.n_units, np.bool_)
    keep[:8] = False
    inputs = batch("vit_tiny")
    with torch.no_grad():
        removed = remove_units(network, keep).module(inputs)
        zeroed = zero_units(network, keep)(inputs)
    assert relative_difference(removed, zeroed) > 1e-3


@pytest.mark.parametrize("name", BUNDLED)
def test_the_dense_model_is_never_changed(name: str) -> None:
    model, network = traced(name)
    before = copy.deepcopy(model.module.state_dict())
    keep = random_keep(network, 0, 0.5)
    remove_units(network, keep)
    zero_units(network, keep)
    after = model.module.state_dict()
    assert all(torch.equal(before[key], after[key]) for key in before)
    assert not model.module.training
