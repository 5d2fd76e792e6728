"""What the preview says is what pruning yields and restoring undoes, on networks nobody designed.

``RANDOM_GRAPHS=10000 python -m pytest tests/core/test_random_graphs.py`` draws that many.
"""

import os

import numpy as np
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from pruning_core.surgery.prune import Pruned
from pruning_core.surgery.restore import restore
from pruning_core.surgery.unit import kept_indices, remove_units
from pruning_core.tracing.network import Network
from pruning_core.tracing.rebuild import rebuild
from pruning_core.tracing.trace import trace
from tests.core.oracles import counted_macs, counted_params, zero_units
from tests.core.random_graphs import Program, programs

EXAMPLES = int(os.environ.get("RANDOM_GRAPHS", "60"))


def some_units(network: Network, seed: int) -> np.ndarray:
    """Keep a random part, and at least one unit, of each group."""
    rng = np.random.default_rng(seed)
    parts = []
    for group in network.groups:
        keep = rng.random(group.n_units) > rng.choice([0.2, 0.5, 0.8])
        keep[rng.integers(group.n_units)] = True
        parts.append(keep)
    return np.concatenate(parts) if parts else np.ones(0, np.bool_)


def outputs(module: nn.Module, x: Tensor) -> list[Tensor]:
    with torch.no_grad():
        result = module(x)
    return [result] if isinstance(result, Tensor) else list(result)


def worst(left: list[Tensor], right: list[Tensor]) -> float:
    assert [a.shape for a in left] == [b.shape for b in right]
    return max(
        float(((a - b).abs().max() / b.abs().max().clamp_min(1.0)).item())
        for a, b in zip(left, right, strict=True)
    )


def check(program: Program, shape: tuple[int, ...], seed: int) -> None:
    example = torch.randn(1, *shape, dtype=torch.float64)
    network = trace(program, example)
    keep = some_units(network, seed)
    predicted = network.cost.query(keep)
    graph, removal = rebuild(network, keep), remove_units(network, keep)
    for module in (graph, removal.module):
        assert counted_params(module) == predicted.params.sum()
        assert counted_macs(module, example) == predicted.macs.sum()
    batch = torch.randn(3, *shape, dtype=torch.float64)
    pruned = outputs(graph, batch)
    assert worst(outputs(removal.module, batch), pruned) < 1e-9
    assert not network.unknown_operators
    zeroed = zero_units(network, keep)
    kept = kept_indices(network, keep)
    restored = restore(program, Pruned(removal.module, "module", kept=kept)).state_dict()
    assert all(torch.equal(restored[name], value) for name, value in zeroed.state_dict().items())
    if not network.analysis.renormalised[~keep].any():
        assert worst(pruned, outputs(zeroed, batch)) < 1e-9


@settings(
    max_examples=EXAMPLES,
    deadline=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(programs(), st.integers(0, 1000))
def test_preview_is_result_pruned_is_zeroed_and_restored_has_its_shapes(
    drawn: tuple, seed: int
) -> None:
    program, shape = drawn
    check(program, shape, seed)
