"""Depth pruning: what a residual branch is, and that cutting it costs what the preview says."""

import random
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from safetensors.torch import save
from torch import Tensor, nn

from pruning_core.loading.model import LoadedModel, load_model
from pruning_core.planning.recipe import Budget, Count, Ratio, Recipe
from pruning_core.planning.resolve import Plan, resolve
from pruning_core.preview import preview, tracks
from pruning_core.scoring.score import score
from pruning_core.surgery.prune import prune
from pruning_core.surgery.restore import restore
from pruning_core.surgery.unit import remove_units
from pruning_core.tracing.network import Network
from pruning_core.tracing.trace import trace
from tests.core.oracles import counted_macs, counted_nonzero, counted_params, relative_difference


class Block(nn.Module):
    """``x + f(x)`` with a batch norm that works in place and a scale held by the block itself."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(width, 2 * width, 3, padding=1), nn.BatchNorm2d(2 * width)
        self.conv2, self.bn2 = nn.Conv2d(2 * width, width, 1, bias=False), nn.BatchNorm2d(width)

    def forward(self, x: Tensor) -> Tensor:
        out = self.bn1(self.conv1(x)).relu_()
        out = self.bn2(self.conv2(out))
        out += x
        return out.relu_()


class Scaled(nn.Module):
    """A block all of which is a branch and its sum; it holds a parameter of the branch itself."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.full((width, 1, 1), 0.5))
        self.conv = nn.Conv2d(width, width, 3, padding=1, groups=width)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.scale * self.conv(x)


class Mixed(nn.Module):
    """Blocks, a nested branch, a branch without a module of its own, and sums that are none."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 6, 3, padding=1)
        self.first, self.second, self.scaled = Block(6), Block(6), Scaled(6)
        self.outer, self.inner = nn.Conv2d(6, 6, 1), nn.Conv2d(6, 6, 3, padding=1)
        self.bare = nn.Parameter(torch.randn(6, 6, 1, 1) / 3)
        self.shortcut, self.other = nn.Conv2d(6, 8, 1), nn.Conv2d(6, 8, 3, padding=1)
        self.head = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.scaled(self.second(self.first(self.stem(x))))
        y = self.outer(x)
        x = x + (y + self.inner(y).relu())
        x = x + nn.functional.conv2d(x, self.bare).relu()
        x = self.shortcut(x) + self.other(x)  # both are computed from x: no branch
        return self.head((x + x.mean((2, 3), keepdim=True).sigmoid()).mean((2, 3)))


def randomised(module: nn.Module) -> nn.Module:
    torch.manual_seed(0)
    for child in module.modules():
        if isinstance(child, nn.BatchNorm2d):
            nn.init.normal_(child.weight), nn.init.normal_(child.bias)
            nn.init.uniform_(child.running_var, 0.5, 2)
    return module.eval()


def loaded(module: nn.Module, *shape: int) -> tuple[LoadedModel, Network]:
    network = trace(module, torch.zeros(1, *shape))
    return LoadedModel("test:depth", module, network.inputs, None, None, ""), network


@pytest.fixture(scope="module")
def mixed() -> tuple[LoadedModel, Network]:
    return loaded(randomised(Mixed()), 3, 8, 8)


def planned(given: tuple[LoadedModel, Network], **changes: object) -> Plan:
    model, network = given
    recipe = Recipe(model=model.identity, granularity="depth", **changes)  # type: ignore[arg-type]
    return resolve(recipe, network, score(model, network, recipe))


def without(module: Mixed, names: set[str], x: Tensor) -> Tensor:
    """The forward pass of :class:`Mixed` written down once more, without some branches."""

    def block(name: str, part: Block, x: Tensor) -> Tensor:
        if name in names:
            return x.relu()
        return (x + part.bn2(part.conv2(part.bn1(part.conv1(x)).relu()))).relu()

    x = block("second", module.second, block("first", module.first, module.stem(x)))
    x = x if "scaled" in names else x + module.scaled.scale * module.scaled.conv(x)
    if "outer" not in names:
        y = module.outer(x)
        x = x + (y if "inner" in names else y + module.inner(y).relu())
    x = x if "bare" in names else x + nn.functional.conv2d(x, module.bare).relu()
    x = module.shortcut(x) + module.other(x)
    return module.head((x + x.mean((2, 3), keepdim=True).sigmoid()).mean((2, 3)))


def test_branches_are_sums_with_what_they_are_computed_from(
    mixed: tuple[LoadedModel, Network],
) -> None:
    _, network = mixed
    found = {branch.name: set(branch.tensors) for branch in network.branches}
    assert list(found) == ["first", "second", "scaled", "inner", "outer", "bare"]
    assert found["first"] == {f"first.{name}" for name in mixed[0].module.first.state_dict()}
    assert found["inner"] == {"inner.weight", "inner.bias"}
    assert found["outer"] == {"inner.weight", "inner.bias", "outer.weight", "outer.bias"}
    assert found["scaled"] == {"scaled.scale", "scaled.conv.weight", "scaled.conv.bias"}


def subsets(network: Network, n: int) -> Iterator[set[str]]:
    names = [branch.name for branch in network.branches]
    yield from ({name} for name in names)
    draw = random.Random(1)
    for _ in range(n):
        yield {name for name in names if draw.random() < 0.5}


def check_counts(network: Network, module: nn.Module, keep: np.ndarray, names: set[str]) -> None:
    """Hold the predicted totals against what torch and safetensors count."""
    cut = [branch for branch in network.branches if branch.name in names]
    cost = network.cost_without(cut)
    predicted = cost.query(keep)
    assert counted_params(module) == predicted.params.sum()
    assert counted_nonzero(module) == (predicted.params - cost.zeros(keep)).sum()
    assert counted_macs(module, *network.inputs.args) == predicted.macs.sum()
    state = {key: value.contiguous().clone() for key, value in module.state_dict().items()}
    assert len(save(state)) == predicted.n_bytes[0]


def test_a_cut_network_computes_what_the_same_network_written_without_the_branches_does(
    mixed: tuple[LoadedModel, Network],
) -> None:
    model, network = mixed
    keep = np.ones(network.cost.n_units, np.bool_)
    inputs = torch.randn(5, 3, 8, 8, generator=torch.Generator().manual_seed(3))
    for names in subsets(network, 12):
        cut = [branch for branch in network.branches if branch.name in names]
        removal = remove_units(network, keep, cut)
        with torch.no_grad():
            expected = without(model.module, names, inputs)  # type: ignore[arg-type]
            assert relative_difference(removal.module(inputs), expected) < 1e-5
        check_counts(network, removal.module, keep, names)
        is_class = type(removal.module) is Mixed
        assert is_class == (not names & {"bare"})
        assert is_class or "the model itself goes on computing what" in removal.graph_reason


def random_units(network: Network, seed: int) -> np.ndarray:
    draw = np.random.default_rng(seed)
    parts = [draw.random(group.n_units) < 0.7 for group in network.groups]
    for part in parts:
        part[draw.integers(len(part))] = True
    return np.concatenate(parts)


@pytest.mark.parametrize("name", ["mixed", "resnet_8", "vit_tiny"])
def test_branches_and_units_leave_together_at_the_cost_that_was_said(
    name: str, mixed: tuple[LoadedModel, Network]
) -> None:
    network = mixed[1]
    if name != "mixed":
        model = load_model(f"bundled:{name}")
        network = trace(model.module, model.inputs)
    for seed, names in enumerate(subsets(network, 6)):
        keep = random_units(network, seed)
        cut = [branch for branch in network.branches if branch.name in names]
        removal = remove_units(network, keep, cut)
        check_counts(network, removal.module, keep, names)
        if name != "mixed":
            assert removal.graph_reason == ""


class Tuple(nn.Module):
    """A post-norm layer whose attention returns a tuple, as in many Transformers."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.norm = nn.LayerNorm(8)
        self.other = nn.MultiheadAttention(8, 2, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        found, _ = self.attention(x, x, x, need_weights=False)
        x = self.norm(x + found)
        return x + self.other(x, x, value=x)[0]


def test_a_module_that_returns_a_tuple_is_replaced_by_one_that_does_so_at_any_batch_size() -> None:
    torch.manual_seed(0)
    module = Tuple().eval()
    network = trace(module, torch.zeros(1, 5, 8))
    assert [branch.name for branch in network.branches] == ["attention", "other"]
    keep = np.ones(network.cost.n_units, np.bool_)
    removal = remove_units(network, keep, network.branches)
    assert type(removal.module) is Tuple
    for batch in (1, 2, 4):
        x = torch.randn(batch, 5, 8)
        with torch.no_grad():
            assert torch.allclose(removal.module(x), module.norm(x), atol=1e-6)


def test_what_an_output_reads_is_no_part_of_a_branch() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(4, 6), nn.Linear(6, 4)

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            inner = self.a(x)
            return x + self.b(inner), inner

    network = trace(Two().eval(), torch.zeros(1, 4))
    assert [branch.tensors for branch in network.branches] == [("b.weight", "b.bias")]


def test_a_tied_weight_stays_with_the_layer_that_still_needs_it() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(4, 4), nn.Linear(4, 4)
            self.b.weight = self.a.weight

        def forward(self, x: Tensor) -> Tensor:
            x = x + self.a(x)
            return (x + self.b(x)).tanh()

    network = trace(Tied().eval(), torch.zeros(1, 4))
    assert [branch.tensors for branch in network.branches] == [("a.bias",), ("b.bias",)]
    keep = np.ones(network.cost.n_units, np.bool_)
    for branch in network.branches:
        check_counts(network, remove_units(network, keep, [branch]).module, keep, {branch.name})


def test_the_lowest_branches_go_and_one_always_stays() -> None:
    model = load_model("bundled:vit_tiny")
    given = model, trace(model.module, model.inputs)
    for count, expected in ((3, 3), (99, 7)):
        plan = planned(given, target=Count(value=count))
        assert plan.n_removed("branches") == expected
        pruned = prune(*given, plan)
        shown = preview(given[1], plan)
        assert counted_params(pruned.module) == shown.after.params
        assert counted_macs(pruned.module, *given[1].inputs.args) == shown.after.macs
        assert sum(layer.after.params for layer in shown.layers) == shown.after.params
        assert sum(layer.after.macs for layer in shown.layers) == shown.after.macs
    assert plan.notes[""][0].startswith("99 units were asked for, 7 of 8 may go")


def test_the_score_of_a_branch_is_that_of_all_its_parameters(
    mixed: tuple[LoadedModel, Network],
) -> None:
    model, network = mixed
    scores = score(model, network, Recipe(model=model.identity, granularity="depth"))
    for branch, value in zip(network.branches, scores.by_site["branches"], strict=True):
        own = [p.detach() for n, p in model.module.named_parameters() if n in branch.tensors]
        assert value == pytest.approx(sum(float(p.abs().sum()) for p in own), rel=1e-5)


@pytest.mark.parametrize("kind", ["macs", "params", "bytes"])
def test_a_budget_is_met_by_the_fewest_branches(kind: str) -> None:
    model = load_model("bundled:vit_tiny")
    given = model, trace(model.module, model.inputs)
    field = {"bytes": "n_bytes"}.get(kind, kind)
    target = Budget(kind=kind, value=0.6)  # type: ignore[arg-type]
    plan = planned(given, target=target)
    costs = [
        getattr(preview(given[1], planned(given, target=Count(value=k))).after, field)
        for k in range(8)
    ]
    first = next(k for k, cost in enumerate(costs) if cost <= 0.6 * costs[0])
    assert plan.n_removed("branches") == first
    scores = score(*given, plan.recipe)
    track = tracks(given[1], plan, scores, "branches")
    assert getattr(track, field).tolist() == costs
    assert track.nonzero.tolist() == [
        preview(given[1], planned(given, target=Count(value=k))).after.nonzero for k in range(8)
    ]


def test_a_cut_network_is_restored_with_branches_that_add_nothing() -> None:
    model = load_model("bundled:vit_tiny")
    given = model, trace(model.module, model.inputs)
    pruned = prune(*given, planned(given, target=Count(value=3)))
    whole = restore(model.module, pruned)
    assert {k: v.shape for k, v in whole.state_dict().items()} == {
        k: v.shape for k, v in model.module.state_dict().items()
    }
    inputs = torch.randn(3, 1, 28, 28)
    with torch.no_grad():
        assert relative_difference(whole(inputs), pruned.module(inputs)) < 1e-5


def test_a_share_of_the_branches_can_be_cut(mixed: tuple[LoadedModel, Network]) -> None:
    plan = planned(mixed, target=Ratio(value=0.5))
    assert plan.n_removed("branches") == 3
    assert len(plan.cut(mixed[1])) == 3
    assert plan.unit_keep(mixed[1]).all()
