"""Pruned models back in their original shapes, and optimisers that go on after pruning."""

import copy
import json

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional

from pruning_core.command_line import main
from pruning_core.errors import UnsupportedModelError
from pruning_core.loading.model import load_model
from pruning_core.surgery.optimiser import carry_over
from pruning_core.surgery.prune import Pruned
from pruning_core.surgery.restore import expand, restore
from pruning_core.surgery.unit import kept_indices, remove_units
from pruning_core.tracing.rebuild import rebuild
from pruning_core.tracing.trace import trace
from tests.core.oracles import BUNDLED, relative_difference, zero_units
from tests.core.test_preview_equals_result import (
    batch,
    random_keep,
    traced,
    without_renormalised,
)


def removed(network, keep, *, graph=False):
    removal = rebuild(network, keep) if graph else remove_units(network, keep).module
    return Pruned(removal, "graph" if graph else "module", kept=kept_indices(network, keep))


@pytest.mark.parametrize("name", BUNDLED)
@settings(max_examples=6, deadline=None, suppress_health_check=list(HealthCheck))
@given(seed=st.integers(0, 2**32 - 1), density=st.floats(0, 1), graph=st.booleans())
def test_restored_models_have_the_old_shapes_the_kept_weights_and_zeros(name, seed, density, graph):
    model, network = traced(name)
    keep = random_keep(network, seed, density)
    back = restore(model.module, removed(network, keep, graph=graph))
    assert type(back) is type(model.module)
    zeroed = zero_units(network, keep).state_dict()
    assert back.state_dict().keys() == zeroed.keys()
    for key, tensor in back.state_dict().items():
        assert torch.equal(tensor, zeroed[key]), key


@pytest.mark.parametrize("name", BUNDLED)
def test_restored_models_compute_what_the_pruned_ones_compute(name):
    model, network = traced(name)
    keep = without_renormalised(network, random_keep(network, 3, 0.5))
    assert not keep.all()
    pruned = removed(network, keep)
    with torch.no_grad():
        for parameter in pruned.module.parameters():  # as if it had been fine-tuned
            parameter.add_(torch.randn_like(parameter) / 100)
        expected = pruned.module(batch(name))
        found = restore(model.module, pruned).eval()(batch(name))
    assert relative_difference(found, expected) <= 1e-5


def test_expanding_by_hand():
    small = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    back = expand(small, (3, 2), (np.array([0, 2]), None))
    assert back.tolist() == [[1, 2], [0, 0], [3, 4]]
    assert expand(small, (2, 3), (None, np.array([1, 2]))).tolist() == [[0, 1, 2], [0, 3, 4]]
    assert expand(torch.tensor(7.0), (), None) == 7
    with pytest.raises(ValueError, match=r"of shape \(2, 2\) was kept as \(1, 2\)"):
        expand(small, (3, 2), (np.array([0]), None))


def test_a_run_is_restored_from_its_folder_alone(tmp_path, capsys):
    recipe = {
        "version": 1,
        "model": "bundled:cnn_digits",
        "granularity": "unit",
        "target": {"kind": "ratio", "value": 0.5},
        "tuning": {"epochs": 0},
    }
    (tmp_path / "recipe.json").write_text(json.dumps(recipe))
    assert main(["run", str(tmp_path / "recipe.json"), "--out", str(tmp_path / "run")]) == 0
    capsys.readouterr()
    out = tmp_path / "dense.safetensors"
    assert main(["restore", str(tmp_path / "run"), "--out", str(out), "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    state = load_file(out)
    dense = load_model("bundled:cnn_digits").module
    dense.load_state_dict(state)
    assert answer["values"] == sum(tensor.numel() for tensor in state.values())
    assert answer["zeros"] == sum(int((tensor == 0).sum()) for tensor in state.values()) > 10_000
    small = sum(tensor.numel() for tensor in load_file(tmp_path / "run/model.safetensors").values())
    assert answer["values"] - small <= answer["zeros"]
    assert main(["restore", str(tmp_path / "none"), "--out", str(out)]) == 2
    assert "There is no run folder" in capsys.readouterr().err


OPTIMISERS = {
    "sgd": lambda p: torch.optim.SGD(p, lr=1e-3, momentum=0.9, nesterov=True, weight_decay=0.01),
    "adam": lambda p: torch.optim.Adam(p, lr=0.01, amsgrad=True),
    "adamw": lambda p: torch.optim.AdamW(p, lr=0.01),
    "rmsprop": lambda p: torch.optim.RMSprop(p, momentum=0.5, centered=True),
    "adagrad": lambda p: torch.optim.Adagrad(p, lr=0.01),
    "nadam": lambda p: torch.optim.NAdam(p),
}


def step(module, optimiser, inputs, labels):
    optimiser.zero_grad()
    functional.cross_entropy(module(inputs), labels).backward()
    optimiser.step()


@pytest.mark.parametrize("name", OPTIMISERS)
@pytest.mark.parametrize("network_name", ["cnn_digits", "resnet_8"])
def test_the_next_step_is_that_of_the_zeroed_dense_model(name, network_name):
    torch.manual_seed(0)
    module = copy.deepcopy(traced(network_name)[0].module).eval()
    inputs, labels = batch(network_name), torch.tensor([1, 5, 9])
    front, rest = list(module.parameters())[:2], list(module.parameters())[2:]
    optimiser = OPTIMISERS[name]([{"params": front, "lr": 2e-3}, {"params": rest}])
    for _ in range(2):
        step(module, optimiser, inputs, labels)

    network = trace(module, inputs)
    keep = without_renormalised(network, random_keep(network, 1, 0.6))
    pruned = removed(network, keep)
    zeroed = Pruned(zero_units(network, keep), "masked")
    small_optimiser = carry_over(optimiser, module, pruned)
    zeroed_optimiser = carry_over(optimiser, module, zeroed)
    assert type(small_optimiser) is type(optimiser)
    assert [g["lr"] for g in small_optimiser.param_groups] == [
        g["lr"] for g in optimiser.param_groups
    ]
    before = copy.deepcopy(optimiser.state_dict())
    step(pruned.module, small_optimiser, inputs, labels)
    step(zeroed.module, zeroed_optimiser, inputs, labels)

    expected = dict(zeroed.module.named_parameters())
    for key, parameter in pruned.module.named_parameters():
        wanted = expected[key]
        for axis, indices in enumerate(pruned.kept.get(key, ())):
            if indices is not None:
                wanted = wanted.index_select(axis, torch.from_numpy(indices))
        torch.testing.assert_close(parameter, wanted, rtol=1e-4, atol=1e-6)
    assert str(optimiser.state_dict()) == str(before)  # the old one is as it was


def test_state_that_cannot_be_cut_is_refused_with_a_sentence():
    module = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2)).eval()
    network = trace(module, torch.randn(1, 4))
    pruned = removed(network, np.array([True, False, True]))
    optimiser = torch.optim.LBFGS(module.parameters())
    optimiser.step(lambda: (optimiser.zero_grad(), module(torch.ones(1, 4)).sum())[1])
    optimiser.state[module[0].weight]["d"] = torch.zeros(23)
    with pytest.raises(UnsupportedModelError, match=r"LBFGS.s .* cannot be cut\. Start"):
        carry_over(optimiser, module, pruned)
    stranger = torch.optim.SGD([nn.Parameter(torch.zeros(7))])
    with pytest.raises(UnsupportedModelError, match=r"shape \(7,\) that is not in the model"):
        carry_over(stranger, module, pruned)


def test_parameters_that_left_with_a_branch_leave_the_optimiser():
    dense = nn.ModuleDict({"a": nn.Linear(4, 3), "b": nn.Linear(3, 3)})
    optimiser = torch.optim.SGD(dense.parameters(), lr=0.1, momentum=0.9)
    sum(p.sum() for p in dense.parameters()).backward()
    optimiser.step()
    module = nn.ModuleDict({"a": copy.deepcopy(dense["a"]), "b": nn.Identity()})
    (group,) = carry_over(optimiser, dense, Pruned(module, "module")).param_groups
    assert [id(p) for p in group["params"]] == [id(p) for p in module.parameters()]
