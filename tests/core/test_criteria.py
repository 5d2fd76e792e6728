"""Every criterion against an implementation that is not ours, or numbers worked out by hand."""

import copy
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
import torch
import torch_pruning as tp
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import prune as torch_prune

from pruning_core.errors import DataError, UnsupportedModelError
from pruning_core.inputs import Inputs
from pruning_core.loading.model import LoadedModel
from pruning_core.loading.split import Split
from pruning_core.planning.recipe import Calibration, Count, Recipe
from pruning_core.planning.resolve import resolve
from pruning_core.scoring import reading
from pruning_core.scoring.loss import task_loss
from pruning_core.scoring.score import Scores, score
from pruning_core.tracing.trace import trace

LABELS = torch.tensor([0, 1, 1, 0, 1, 0])


def scores_of(
    module: nn.Module, example: Tensor, data: Split | None = None, **changes: object
) -> Scores:
    model = LoadedModel("test:model", module.eval(), Inputs.of(example), None, None, "")
    asked = {"granularity": "unit", "calibration": Calibration(samples=6, batch_size=6), **changes}
    recipe = Recipe(model="test:model", **asked)  # type: ignore[arg-type]
    return score(model, trace(module, model.inputs), recipe, data)


def split(inputs: Tensor, labels: Tensor = LABELS) -> Split:
    return Split(inputs, labels, 1.0, 0.0, 1.0)


def randn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def randomised(module: nn.Module, seed: int = 0) -> nn.Module:
    """Draw all parameters, and running statistics away from 0 and 1, from a seed."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) / 2)
        for name, buffer in module.named_buffers():
            if buffer.is_floating_point():
                offset = 0.5 if name.endswith("var") else 0.0
                buffer.copy_(torch.rand(buffer.shape, generator=generator) + offset)
    return module


class Chain(nn.Module):
    """Two convolutions; the channels between them are the only units."""

    def __init__(self, norm: bool = False, affine: bool = True) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 6, 3, bias=False)
        self.norm = nn.BatchNorm2d(6, affine=affine) if norm else nn.Identity()
        self.head = nn.Conv2d(6, 2, 3, bias=False)
        randomised(self)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(functional.relu(self.norm(self.conv(x)))).mean((2, 3))


class Residual(nn.Module):
    """In-place addition and ReLU; the units are read by two layers."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 4, 3, padding=1)
        self.conv = nn.Conv2d(4, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.head = nn.Linear(4, 2)
        randomised(self)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x).relu_()
        y = self.norm(self.conv(x))
        y += x
        return self.head(y.relu_().mean((2, 3)))


def linear_pair(first: list[list[float]], second: list[list[float]]) -> nn.Sequential:
    module = nn.Sequential(
        nn.Linear(len(first[0]), len(first), bias=False),
        nn.ReLU(),
        nn.Linear(len(second[0]), len(second), bias=False),
    )
    with torch.no_grad():
        module[0].weight.copy_(torch.tensor(first))
        module[2].weight.copy_(torch.tensor(second))
    return module


PAIR = ([[1.0, -2.0], [0.5, 0.5], [3.0, 0.0]], [[1.0, 2.0, -1.0], [0.0, 1.0, 4.0]])
INPUTS = torch.tensor([[1.0, 0.0], [0.0, 1.0], [2.0, 2.0], [-1.0, 0.0], [0.0, -2.0], [1.0, -1.0]])


def hidden(module: nn.Sequential, inputs: Tensor = INPUTS) -> np.ndarray:
    return functional.relu(inputs @ module[0].weight.detach().T).double().numpy()


# --- Torch-Pruning on a plain chain -------------------------------------------------------------


def torch_pruning_scores(module: nn.Module, importance: Callable, example: Tensor) -> np.ndarray:
    graph = tp.DependencyGraph().build_dependency(module, example_inputs=example)
    group = graph.get_pruning_group(module.conv, tp.prune_conv_out_channels, idxs=[*range(6)])
    return importance(group).detach().numpy()


@pytest.mark.parametrize("reduction", ["sum", "max", "first"])
def test_l2_is_the_root_of_torch_prunings_group_magnitude(reduction: str) -> None:
    module, example = Chain(norm=True), randn(1, 2, 8, 8)
    with torch.no_grad():
        module.norm.bias.zero_()  # Torch-Pruning looks at the scales only
    importance = tp.importance.GroupMagnitudeImportance(
        p=2, group_reduction=reduction, normalizer=None
    )
    expected = np.sqrt(torch_pruning_scores(copy.deepcopy(module), importance, example))
    found = scores_of(module, example, criterion="l2", reduction=reduction).by_site["conv"]
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_the_mean_over_slices_is_torch_prunings() -> None:
    module, example = Chain(), randn(1, 2, 8, 8)
    importance = tp.importance.GroupMagnitudeImportance(
        p=1, group_reduction="mean", normalizer=None
    )
    expected = torch_pruning_scores(copy.deepcopy(module), importance, example)
    found = scores_of(module, example, criterion="l1", reduction="mean").by_site["conv"]
    np.testing.assert_allclose(found, expected, rtol=1e-6)


@pytest.mark.parametrize("reduction", ["max", "first"])
def test_taylor_is_the_square_of_torch_prunings(reduction: str) -> None:
    module, inputs = Chain(), randn(6, 2, 8, 8)
    other = copy.deepcopy(module)
    importance = tp.importance.GroupTaylorImportance(
        group_reduction=reduction, normalizer=None, multivariable=True
    )
    functional.cross_entropy(other(inputs), LABELS).backward()
    graph = tp.DependencyGraph().build_dependency(other, example_inputs=inputs[:1])
    group = graph.get_pruning_group(other.conv, tp.prune_conv_out_channels, idxs=[*range(6)])
    expected = importance(group).detach().numpy() ** 2
    found = scores_of(
        module, inputs[:1], split(inputs), criterion="taylor", reduction=reduction
    ).by_site["conv"]
    np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_lamp_of_units_is_torch_prunings() -> None:
    module, example = Chain(), randn(1, 2, 8, 8)
    importance = tp.importance.LAMPImportance(group_reduction="sum")
    expected = torch_pruning_scores(copy.deepcopy(module), importance, example)
    found = scores_of(module, example, criterion="lamp").by_site["conv"]
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_fpgm_is_torch_prunings_where_no_weight_is_negative() -> None:
    module, example = Chain(), randn(1, 2, 8, 8)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.abs_()  # Torch-Pruning compares magnitudes, the paper the weights themselves
    importance = tp.importance.FPGMImportance(p=1, group_reduction="first", normalizer=None)
    expected = torch_pruning_scores(copy.deepcopy(module), importance, example)
    found = scores_of(module, example, criterion="fpgm", reduction="first").by_site["conv"]
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_batch_norm_scale_is_torch_prunings() -> None:
    module, example = Chain(norm=True), randn(1, 2, 8, 8)
    importance = tp.importance.BNScaleImportance(group_reduction="mean", normalizer=None)
    expected = torch_pruning_scores(copy.deepcopy(module), importance, example)
    found = scores_of(module, example, criterion="bn_scale").by_site["conv"]
    np.testing.assert_allclose(found, expected, rtol=1e-6)


# --- torch.nn.utils.prune ------------------------------------------------------------------------


@pytest.mark.parametrize(("key", "norm"), [("l1", 1), ("l2", 2), ("linf", float("inf"))])
@pytest.mark.parametrize("count", [1, 3, 5])
def test_filter_norms_remove_what_ln_structured_removes(key: str, norm: float, count: int) -> None:
    module = Chain()
    found = scores_of(module, randn(1, 2, 8, 8), criterion=key, reduction="first")
    other = copy.deepcopy(module.conv)
    torch_prune.ln_structured(other, "weight", amount=count, n=norm, dim=0)
    gone = np.flatnonzero(~other.weight_mask.any(dim=(1, 2, 3)).numpy())
    np.testing.assert_array_equal(np.sort(found.order("conv")[:count]), gone)


@pytest.mark.parametrize("count", [0, 1, 50, 107])
def test_random_masks_hold_as_many_zeros_as_torchs(count: int) -> None:
    module = Chain()
    model = LoadedModel("m", module.eval(), Inputs.of(randn(1, 2, 8, 8)), None, None, "")
    network = trace(module, model.inputs)
    recipe = Recipe(
        model="m", criterion="random", scope="local", layers={"conv": Count(value=count)}
    )
    plan = resolve(recipe, network, score(model, network, recipe))
    other = copy.deepcopy(module.conv)
    torch_prune.random_unstructured(other, "weight", amount=count)
    assert plan.n_removed("conv") == int((other.weight_mask == 0).sum()) == count


# --- numbers worked out by hand, and brute force -------------------------------------------------


def test_largest_weight_counts_row_and_column() -> None:
    found = scores_of(linear_pair(*PAIR), INPUTS[:1], criterion="linf").by_site["0"]
    np.testing.assert_array_equal(found, [2, 2, 4])


def test_relative_magnitude_divides_by_the_norm_of_each_tensor() -> None:
    found = scores_of(linear_pair(*PAIR), INPUTS[:1], criterion="relative_magnitude")
    first, second = np.sqrt(1 + 4 + 0.25 + 0.25 + 9), np.sqrt(1 + 4 + 1 + 0 + 1 + 16)
    expected = [3 / first + 1 / second, 1 / first + 3 / second, 3 / first + 5 / second]
    np.testing.assert_allclose(found.by_site["0"], expected, rtol=1e-6)


def test_mean_outgoing_weight_is_the_mean_magnitude_of_the_column() -> None:
    found = scores_of(linear_pair(*PAIR), INPUTS[:1], criterion="outgoing_weight").by_site["0"]
    np.testing.assert_array_equal(found, [0.5, 1.5, 2.5])


def test_a_unit_that_two_layers_read_has_the_mean_of_all_their_weights() -> None:
    module = Residual()
    found = scores_of(module, randn(1, 1, 5, 5), criterion="outgoing_weight").by_site["stem"]
    both = [module.conv.weight.transpose(0, 1).flatten(1), module.head.weight.T]
    expected = torch.cat(both, dim=1).abs().mean(dim=1).detach()
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_activation_statistics_behind_a_relu() -> None:
    module = linear_pair(*PAIR)
    read, data = hidden(module), split(INPUTS)
    expected = {
        "mean_output": read.mean(axis=0),
        "activation_mean": read.mean(axis=0),
        "activation_norm": np.sqrt((read**2).mean(axis=0)),
        "apoz": 1 - (read == 0).mean(axis=0),
    }
    for key, values in expected.items():
        found = scores_of(module, INPUTS[:1], data, criterion=key).by_site["0"]
        np.testing.assert_allclose(found, values, rtol=1e-6, err_msg=key)


def test_mean_output_lets_signs_cancel_and_the_absolute_mean_does_not() -> None:
    module = nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 2))
    randomised(module)
    read = torch.tanh(module[0](INPUTS)).detach().numpy()
    signed = scores_of(module, INPUTS[:1], split(INPUTS), criterion="mean_output").by_site["0"]
    size = scores_of(module, INPUTS[:1], split(INPUTS), criterion="activation_mean").by_site["0"]
    np.testing.assert_allclose(signed, read.mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(size, np.abs(read).mean(axis=0), rtol=1e-5)
    assert (np.abs(signed) < size).any()


@pytest.mark.parametrize("key", ["activation_mean", "apoz", "mean_output", "activation_norm"])
def test_activations_are_read_when_they_are_used_not_when_they_are_made(key: str) -> None:
    module, inputs = Residual(), randn(6, 1, 5, 5)
    stem = functional.relu(module.stem(inputs)).detach()
    head = functional.relu(module.norm.eval()(module.conv(stem)) + stem).mean((2, 3)).detach()
    read = torch.cat([stem.movedim(1, 0).flatten(1), head.T], dim=1).double()
    expected = {
        "activation_mean": read.abs().mean(dim=1),
        "mean_output": read.mean(dim=1),
        "activation_norm": read.square().mean(dim=1).sqrt(),
        "apoz": (read != 0).double().mean(dim=1),
    }
    found = scores_of(module, inputs[:1], split(inputs), criterion=key).by_site["stem"]
    np.testing.assert_allclose(found, expected[key], rtol=1e-5)


@pytest.mark.parametrize("batch_size", [1, 4, 6])
def test_activation_gradient_is_the_mean_over_samples_of_what_autograd_says(
    batch_size: int,
) -> None:
    module, inputs = Residual(), randn(6, 1, 5, 5)
    expected = torch.zeros(4, dtype=torch.float64)
    for x, label in zip(inputs, LABELS, strict=True):
        gates = [torch.ones(4, 5, 5, requires_grad=True), torch.ones(4, requires_grad=True)]
        stem = functional.relu(module.stem(x[None]))
        summed = module.norm.eval()(module.conv(stem * gates[0])) + stem
        pooled = functional.relu(summed).mean((2, 3))
        loss = functional.cross_entropy(module.head(pooled * gates[1]), label[None])
        first, second = torch.autograd.grad(loss, gates)  # d loss / d gate = activation x gradient
        expected += ((first.flatten(1).sum(1) + second) / 26).abs().double() / 6
    found = scores_of(
        module,
        inputs[:1],
        split(inputs),
        criterion="activation_gradient",
        calibration=Calibration(samples=6, batch_size=batch_size),
    ).by_site["stem"]
    np.testing.assert_allclose(found, expected, rtol=1e-4)


class Recurrent(nn.Module):
    """A state is read by the recurrent matrix, and also carried on past it."""

    def __init__(self) -> None:
        super().__init__()
        self.gru, self.head = nn.GRU(2, 3, batch_first=True), nn.Linear(3, 2)
        randomised(self)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.gru(x)[0][:, -1])


def test_activation_gradient_of_a_state_counts_only_what_is_read() -> None:
    module, inputs = Recurrent(), randn(6, 5, 2)
    gru = module.gru
    expected = torch.zeros(3, dtype=torch.float64)
    for x, label in zip(inputs, LABELS, strict=True):
        gates = [torch.ones(3, requires_grad=True) for _ in range(6)]
        state = torch.zeros(3)
        for step, gate in zip(x, gates, strict=False):
            made = gru.weight_ih_l0 @ step + gru.bias_ih_l0
            read = gru.weight_hh_l0 @ (state * gate) + gru.bias_hh_l0
            reset, update = torch.sigmoid(made[:6] + read[:6]).split(3)
            new = torch.tanh(made[6:] + reset * read[6:])
            state = (1 - update) * new + update * state
        loss = functional.cross_entropy(module.head(state * gates[5]), label)
        slopes = torch.autograd.grad(loss, gates)
        expected += torch.stack(slopes).sum(0).div(6).abs().double() / 6
    found = scores_of(module, inputs[:1], split(inputs), criterion="activation_gradient")
    np.testing.assert_allclose(found.by_site["gru"], expected, rtol=1e-4)


class TimeFirst(nn.Module):
    """Moves the samples to the second axis before the layer that reads the units."""

    def __init__(self, flat: bool) -> None:
        super().__init__()
        self.flat = flat
        self.first, self.second = nn.Linear(2, 3), nn.Linear(3, 2)
        randomised(self)

    def forward(self, x: Tensor) -> Tensor:  # [B, T, 2]
        hidden = torch.tanh(self.first(x)).transpose(0, 1)  # [T, B, 3]
        if self.flat:
            made = self.second(hidden.reshape(-1, 3)).reshape(*hidden.shape[:2], 2)
        else:
            made = self.second(hidden)
        return made.mean(dim=0)


@pytest.mark.parametrize("flat", [False, True])
def test_samples_are_told_apart_on_any_axis(flat: bool) -> None:
    module, inputs = TimeFirst(flat), randn(6, 4, 2)
    one_by_one = Calibration(samples=6, batch_size=1)
    found = [
        scores_of(
            module, inputs[:1], split(inputs), criterion="activation_gradient", calibration=size
        ).by_site["first"]
        for size in (one_by_one, Calibration(samples=6, batch_size=6))
    ]
    np.testing.assert_allclose(found[0], found[1], rtol=1e-5)


def gradients(module: nn.Module, inputs: Tensor, labels: Tensor) -> list[np.ndarray]:
    module = copy.deepcopy(module).eval()
    functional.cross_entropy(module(inputs), labels).backward()
    return [parameter.grad.double().numpy() for parameter in module.parameters()]


def by_neuron(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    return first.sum(axis=1) + second.sum(axis=0)


def test_fisher_averages_squared_gradients_over_batches() -> None:
    module = linear_pair(*PAIR)
    weights = [p.detach().double().numpy() for p in module.parameters()]
    expected = np.zeros(3)
    for start in (0, 2, 4):
        slopes = gradients(module, INPUTS[start : start + 2], LABELS[start : start + 2])
        parts = [w**2 * g**2 / 2 / 3 for w, g in zip(weights, slopes, strict=True)]
        expected += by_neuron(*parts)
    calibration = Calibration(samples=6, batch_size=2)
    found = scores_of(
        module, INPUTS[:1], split(INPUTS), criterion="fisher", calibration=calibration
    )
    np.testing.assert_allclose(found.by_site["0"], expected, rtol=1e-5)


@pytest.mark.parametrize("batch_size", [1, 4, 6])
def test_snip_looks_at_the_gradient_over_all_samples(batch_size: int) -> None:
    module = linear_pair(*PAIR)
    weights = [p.detach().double().numpy() for p in module.parameters()]
    slopes = gradients(module, INPUTS, LABELS)
    expected = by_neuron(*(np.abs(w * g) for w, g in zip(weights, slopes, strict=True)))
    calibration = Calibration(samples=6, batch_size=batch_size)
    found = scores_of(module, INPUTS[:1], split(INPUTS), criterion="snip", calibration=calibration)
    np.testing.assert_allclose(found.by_site["0"], expected, rtol=1e-5)


@pytest.mark.parametrize("batch_size", [4, 6])
def test_grasp_is_weight_times_the_whole_hessian_times_gradient(batch_size: int) -> None:
    module = nn.Sequential(nn.Linear(2, 3, bias=False), nn.Tanh(), nn.Linear(3, 2, bias=False))
    randomised(module)
    flat = torch.cat([p.detach().double().flatten() for p in module.parameters()])

    def loss(values: Tensor) -> Tensor:
        first, second = values[:6].reshape(3, 2), values[6:].reshape(2, 3)
        logits = torch.tanh(INPUTS.double() @ first.T) @ second.T
        return functional.cross_entropy(logits / 200, LABELS)  # the paper's temperature

    hessian = torch.autograd.functional.hessian(loss, flat)
    gradient = torch.autograd.functional.jacobian(loss, flat)
    product = (flat * (hessian @ gradient)).numpy()
    expected = by_neuron(product[:6].reshape(3, 2), product[6:].reshape(2, 3))
    calibration = Calibration(samples=6, batch_size=batch_size)
    found = scores_of(module, INPUTS[:1], split(INPUTS), criterion="grasp", calibration=calibration)
    np.testing.assert_allclose(found.by_site["0"], expected, rtol=1e-4)


def test_grasp_is_half_of_what_the_squared_gradient_norm_loses() -> None:
    """Shrinking a unit a little shows the first-order change, whatever the formula says."""
    module = nn.Sequential(nn.Linear(2, 3, bias=False), nn.Tanh(), nn.Linear(3, 2, bias=False))
    randomised(module).double()

    def flow(unit: int, size: float) -> float:
        other = copy.deepcopy(module)
        with torch.no_grad():
            other[0].weight[unit] *= size
            other[2].weight[:, unit] *= size
        functional.cross_entropy(other(INPUTS.double()) / 200, LABELS).backward()
        return sum(float(p.grad.square().sum()) for p in other.parameters())

    step = 1e-5
    expected = [(flow(u, 1 + step) - flow(u, 1 - step)) / (4 * step) for u in range(3)]
    found = scores_of(module.float(), INPUTS[:1], split(INPUTS), criterion="grasp").by_site["0"]
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-11)


def test_synflow_multiplies_what_flows_in_and_what_flows_out() -> None:
    module = linear_pair(*PAIR)
    first, second = (np.abs(p.detach().numpy()) for p in module.parameters())
    through = first.sum(axis=1) * second.sum(axis=0)  # ones in, everything added up at the end
    found = scores_of(module, INPUTS[:1], criterion="synflow").by_site["0"]
    np.testing.assert_allclose(found, 2 * through, rtol=1e-6)  # row and column carry the same flow


def test_synflow_is_conserved_from_layer_to_layer_without_any_data() -> None:
    module = Chain(norm=True)
    with torch.no_grad():
        module.norm.bias.zero_()
    found = scores_of(module, randn(1, 2, 8, 8), criterion="synflow", granularity="weight").by_site
    sums = {name: values.astype(np.float64).sum() for name, values in found.items()}
    np.testing.assert_allclose(sums["conv"], sums["head"], rtol=1e-5)
    assert sums["conv"] > 0


def test_lamp_of_weights_divides_by_the_squares_that_are_no_smaller() -> None:
    module = linear_pair(*PAIR)
    found = scores_of(module, INPUTS[:1], criterion="lamp", granularity="weight").by_site["2"]
    squares = np.array([1.0, 4.0, 1.0, 0.0, 1.0, 16.0])
    # 1 stands three times; equal weights leave in the order of their index
    expected = np.array([1 / 23, 4 / 20, 1 / 22, 0 / 23, 1 / 21, 16 / 16])
    assert squares.sum() == 23
    np.testing.assert_allclose(found, expected, rtol=1e-6)


@pytest.mark.parametrize("reduction", ["sum", "mean", "max", "first"])
def test_fpgm_adds_up_distances_between_units(reduction: str) -> None:
    module = Chain(norm=True)
    rows = [
        module.conv.weight.flatten(1),
        module.norm.weight[:, None],
        module.norm.bias[:, None],
        module.head.weight.transpose(0, 1).flatten(1),
    ]
    points = [row.detach().double().numpy() for row in rows]

    def distances(of: np.ndarray) -> np.ndarray:
        return np.array([sum(np.linalg.norm(u - v) for v in of) for u in of])

    apart = np.stack([distances(of) for of in points])
    expected = {
        "sum": distances(np.concatenate(points, axis=1)),
        "mean": apart.mean(axis=0),
        "max": apart.max(axis=0),
        "first": apart[0],
    }
    found = scores_of(module, randn(1, 2, 8, 8), criterion="fpgm", reduction=reduction)
    np.testing.assert_allclose(found.by_site["conv"], expected[reduction], rtol=1e-6)


def test_of_three_filters_the_one_in_the_middle_leaves_first_by_fpgm() -> None:
    module = linear_pair([[0.0, 9.0], [1.0, 9.0], [2.5, 9.0]], [[1.0, 1.0, 1.0]])
    found = scores_of(module, INPUTS[:1], criterion="fpgm", reduction="first").by_site["0"]
    np.testing.assert_allclose(found, [1 + 2.5, 1 + 1.5, 2.5 + 1.5], rtol=1e-6)


def test_hrank_is_numpys_rank_of_the_maps_behind_the_relu() -> None:
    module, inputs = Chain(norm=True), randn(6, 2, 8, 8)
    maps = functional.relu(module.norm.eval()(module.conv(inputs))).detach().numpy()
    expected = np.linalg.matrix_rank(maps).mean(axis=0)
    assert len(np.unique(expected)) > 1
    calibration = Calibration(samples=6, batch_size=4)
    found = scores_of(module, inputs[:1], split(inputs), criterion="hrank", calibration=calibration)
    np.testing.assert_allclose(found.by_site["conv"], expected, rtol=1e-6)


def test_hrank_looks_at_maps_before_pooling_and_leaves_neurons_alone() -> None:
    class Pooled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.fc1, self.fc2 = nn.Conv2d(1, 3, 3), nn.Linear(12, 4), nn.Linear(4, 2)
            randomised(self)

        def forward(self, x: Tensor) -> Tensor:
            x = functional.max_pool2d(functional.relu(self.conv(x)), 2)
            return self.fc2(functional.relu(self.fc1(x.flatten(1))))

    module, inputs = Pooled(), randn(6, 1, 6, 6)
    found = scores_of(module, inputs[:1], split(inputs), criterion="hrank")
    maps = functional.relu(module.conv(inputs)).detach().numpy()
    np.testing.assert_allclose(found.by_site["conv"], np.linalg.matrix_rank(maps).mean(axis=0))
    assert found.unrated == {"fc1"}


def test_wanda_multiplies_by_the_norm_of_the_input_channel() -> None:
    module = linear_pair(*PAIR)
    found = scores_of(
        module,
        INPUTS[:1],
        split(INPUTS),
        criterion="wanda",
        granularity="weight",
        calibration=Calibration(samples=6, batch_size=4),
    ).by_site
    for name, read in (("0", INPUTS.double().numpy()), ("2", hidden(module))):
        weight = np.abs(module[int(name)].weight.detach().double().numpy())
        expected = weight * np.linalg.norm(read, axis=0)
        np.testing.assert_allclose(found[name], expected.flatten(), rtol=1e-6)


@pytest.mark.parametrize("groups", [1, 2, 4])
def test_wanda_gives_each_group_of_a_convolution_its_own_channels(groups: int) -> None:
    module = nn.Sequential(nn.Conv2d(4, 8, 3, groups=groups), nn.Flatten(), nn.Linear(32, 2))
    randomised(module)
    inputs = randn(6, 4, 4, 4)
    found = scores_of(
        module, inputs[:1], split(inputs), criterion="wanda", granularity="weight"
    ).by_site["0"]
    norms = inputs.double().square().sum((0, 2, 3)).sqrt()
    weight = module[0].weight.detach().double().abs()
    expected = weight.clone()
    for row in range(8):
        for column in range(4 // groups):
            channel = row // (8 // groups) * (4 // groups) + column
            expected[row, column] *= norms[channel]
    np.testing.assert_allclose(found, expected.flatten(), rtol=1e-5)


def test_wanda_rates_a_recurrent_matrix_by_every_state_it_reads() -> None:
    module, inputs = Recurrent(), randn(6, 5, 2)
    found = scores_of(
        module, inputs[:1], split(inputs), criterion="wanda", granularity="weight"
    ).by_site["gru.weight_hh_l0"]
    states = module.gru(inputs)[0][:, :-1].detach().double()  # the first one read is zero
    norms = states.square().sum((0, 1)).sqrt()
    expected = module.gru.weight_hh_l0.detach().double().abs() * norms
    np.testing.assert_allclose(found, expected.flatten(), rtol=1e-5)


@pytest.mark.parametrize(
    "build",
    [
        lambda: Chain(norm=True),
        lambda: Chain(norm=True, affine=False),
        Residual,
        lambda: linear_pair(*PAIR),
    ],
)
def test_accuracy_drop_is_what_evaluation_without_the_unit_says(
    build: Callable[[], nn.Module],
) -> None:
    module = build().eval()
    shape = {Chain: (6, 2, 8, 8), Residual: (6, 1, 5, 5)}.get(type(module), (6, 2))
    inputs = randn(*shape, seed=3)
    whole = measured(module, inputs)
    found = scores_of(
        module,
        inputs[:1],
        split(inputs),
        criterion="accuracy_drop",
        calibration=Calibration(samples=6, batch_size=4),
    )
    (site,) = [name for name in found.by_site if name in ("conv", "stem", "0")]
    for unit, value in enumerate(found.by_site[site]):
        without = measured(silenced(module, unit), inputs)
        drop, rise = whole.accuracy - without.accuracy, without.loss - whole.loss
        np.testing.assert_allclose(value, drop + rise / (1 + abs(rise)) / 12, rtol=1e-5, atol=1e-7)


@dataclass
class Measured:
    accuracy: float
    loss: float


def measured(module: nn.Module, inputs: Tensor) -> Measured:
    with torch.no_grad():
        logits = module(inputs)
    accuracy = float((logits.argmax(1) == LABELS).double().mean())
    return Measured(accuracy, float(functional.cross_entropy(logits, LABELS)))


def silenced(module: nn.Module, unit: int) -> nn.Module:
    other = copy.deepcopy(module)
    with torch.no_grad():
        if isinstance(other, Chain):
            makers, readers = [other.conv.weight], [other.head.weight]
            norm = other.norm
        elif isinstance(other, Residual):
            makers = [other.stem.weight, other.stem.bias, other.conv.weight, other.conv.bias]
            readers, norm = [other.conv.weight, other.head.weight], other.norm
        else:
            makers, readers, norm = [other[0].weight], [other[2].weight], None
        if norm is not None:
            makers += [*norm.parameters(), norm.running_mean, norm.running_var]
        for tensor in makers:
            tensor[unit] = 0
        for tensor in readers:
            tensor[:, unit] = 0
    return other


# --- what is not rated stays ---------------------------------------------------------------------


def test_layers_without_a_batch_norm_stay_whole_and_the_plan_says_why() -> None:
    module = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 5, 3), nn.Conv2d(5, 2, 2)
    )
    model = LoadedModel("m", module.eval(), Inputs.of(randn(1, 1, 6, 6)), None, None, "")
    network = trace(module, model.inputs)
    for scope in ("local", "global"):
        recipe = Recipe(
            model="m",
            granularity="unit",
            criterion="bn_scale",
            scope=scope,  # type: ignore[arg-type]
            target=Count(value=3),
        )
        plan = resolve(recipe, network, score(model, network, recipe))
        assert plan.n_removed("0") == 3
        assert plan.n_removed("3") == 0
        assert "'bn_scale' has nothing to say about these units" in plan.notes["3"][0]


def test_a_criterion_that_can_rate_nothing_says_so() -> None:
    with pytest.raises(UnsupportedModelError, match=r"'bn_scale' can rate no layer.*batch norm"):
        scores_of(linear_pair(*PAIR), INPUTS[:1], criterion="bn_scale")


# --- the loss of the task ------------------------------------------------------------------------


def test_the_loss_finds_the_logits_wherever_they_are() -> None:
    @dataclass
    class Output:
        hidden: Tensor
        logits: Tensor

    logits = randn(6, 2)
    expected = functional.cross_entropy(logits, LABELS)
    wrong = randn(6, 2, seed=1)
    for output in (
        logits,
        {"hidden": wrong, "logits": logits},
        Output(wrong, logits),
        (LABELS, logits, wrong),
        [{"a": logits}],
    ):
        torch.testing.assert_close(task_loss(output, LABELS), expected)


def test_the_loss_of_a_sequence_is_the_mean_over_its_tokens() -> None:
    logits = randn(3, 5, 7)
    labels = torch.randint(0, 7, (3, 5), generator=torch.Generator().manual_seed(0))
    expected = functional.cross_entropy(logits.transpose(1, 2), labels)
    torch.testing.assert_close(task_loss(logits, labels), expected)


@pytest.mark.parametrize(
    ("output", "labels", "message"),
    [
        (randn(6), LABELS, r"returns \(6,\) for labels \(6,\)"),
        (randn(6, 2), LABELS.float(), r"labels \(6,\) of torch.float32; a loss is known for"),
        (LABELS, LABELS, r"returns \(6,\) for labels \(6,\) of torch.int64"),
        (randn(6, 2, 3), LABELS, r"returns \(6, 2, 3\)"),
        (randn(6, 1), LABELS, "tells 1 classes apart, but the data has the label 1"),
    ],
)
def test_a_task_without_a_known_loss_is_refused_in_one_sentence(
    output: Tensor, labels: Tensor, message: str
) -> None:
    with pytest.raises(DataError, match=message):
        task_loss(output, labels)


def test_gradient_criteria_work_on_models_that_return_dictionaries() -> None:
    class Wrapped(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = linear_pair(*PAIR)

        def forward(self, x: Tensor) -> dict[str, Tensor]:
            return {"features": x, "logits": self.inner(x)}

    plain = linear_pair(*PAIR)
    for key in ("taylor", "snip", "grasp", "activation_gradient", "accuracy_drop", "synflow"):
        found = scores_of(Wrapped(), INPUTS[:1], split(INPUTS), criterion=key).by_site["inner.0"]
        expected = scores_of(plain, INPUTS[:1], split(INPUTS), criterion=key).by_site["0"]
        np.testing.assert_array_equal(found, expected, err_msg=key)


# --- properties ----------------------------------------------------------------------------------


@settings(max_examples=25, deadline=None)
@given(scale=st.floats(1e-3, 1e3), seed=st.integers(0, 1000))
def test_scaling_a_layer_leaves_scores_relative_to_the_layer_unchanged(
    scale: float, seed: int
) -> None:
    module = randomised(nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)), seed)
    scaled = copy.deepcopy(module)
    with torch.no_grad():
        scaled[0].weight.mul_(scale)
    for key, granularity in (("relative_magnitude", "unit"), ("lamp", "weight")):
        before, after = (
            scores_of(m, randn(1, 3), criterion=key, granularity=granularity)
            for m in (module, scaled)
        )
        for site, values in before.by_site.items():
            np.testing.assert_allclose(after.by_site[site], values, rtol=1e-5)


DATA_FREE = ["l1", "l2", "linf", "relative_magnitude", "lamp", "fpgm", "outgoing_weight", "synflow"]
WITH_DATA = ["taylor", "gradient_norm", "fisher", "snip", "grasp", "activation_gradient"]
WITH_DATA += ["activation_mean", "activation_norm", "apoz", "mean_output", "accuracy_drop"]


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 1000), data=st.data())
def test_renumbering_the_units_renumbers_their_scores(seed: int, data: st.DataObject) -> None:
    key = data.draw(st.sampled_from(DATA_FREE + WITH_DATA))
    module = randomised(nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)), seed)
    order = torch.tensor(data.draw(st.permutations(range(4))))
    renumbered = copy.deepcopy(module)
    with torch.no_grad():
        renumbered[0].weight.copy_(module[0].weight[order])
        renumbered[0].bias.copy_(module[0].bias[order])
        renumbered[2].weight.copy_(module[2].weight[:, order])
    inputs = randn(6, 3, seed=seed)
    before, after = (
        scores_of(m, inputs[:1], split(inputs), criterion=key).by_site["0"]
        for m in (module, renumbered)
    )
    np.testing.assert_allclose(after, before[order.numpy()], rtol=2e-4, atol=1e-7)


# --- hooks and the traced graph show the same ----------------------------------------------------


class Stacked(nn.Module):
    """A recurrence with units before it, time first or second, and a first state of its own."""

    def __init__(self, kind: type[nn.RNNBase], batch_first: bool, own_start: bool) -> None:
        super().__init__()
        self.first = nn.Linear(2, 4)
        self.rnn = kind(4, 3, batch_first=batch_first)  # type: ignore[arg-type,call-arg]
        self.head = nn.Linear(3, 2)
        self.batch_first, self.own_start = batch_first, own_start
        randomised(self)

    def forward(self, x: Tensor) -> Tensor:  # [B, T, 2]
        made = self.first(x)
        made = made if self.batch_first else made.transpose(0, 1)
        start = torch.ones(1, len(x), 3)
        given = (start, start) if isinstance(self.rnn, nn.LSTM) else start
        states, _ = self.rnn(made, given) if self.own_start else self.rnn(made)
        return self.head(states[:, -1] if self.batch_first else states[-1])


@pytest.mark.parametrize("kind", [nn.RNN, nn.GRU, nn.LSTM])
@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("own_start", [True, False])
def test_a_recurrence_shows_the_same_by_hooks_as_in_the_graph(
    kind: type[nn.RNNBase], batch_first: bool, own_start: bool
) -> None:
    module, inputs = Stacked(kind, batch_first, own_start).eval(), randn(6, 5, 2)
    network = trace(module, inputs[:1])
    hooks = reading.reader(network, lambda read: read.weight is not None)
    graph = reading._GraphReader(network, lambda read: read.weight is not None)
    assert isinstance(hooks, reading._ModuleReader)
    squares = [summed_by_weight(read_by, inputs) for read_by in (hooks, graph)]
    assert squares[0].keys() == {
        "first.weight",
        "rnn.weight_ih_l0",
        "rnn.weight_hh_l0",
        "head.weight",
    }
    for name, found in squares[0].items():
        torch.testing.assert_close(found, squares[1][name], rtol=1e-5, atol=1e-7)


def summed_by_weight(read_by: reading.Reader, inputs: Tensor) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}

    def see(read: reading.Read, activation: Tensor, axis: int) -> None:
        assert read.weight is not None
        rows = activation.movedim(axis, 0).flatten(1)
        both = torch.stack([rows.square().sum(1), torch.full((len(rows),), rows.shape[1] * 1.0)])
        found[read.weight[0]] = found.get(read.weight[0], torch.zeros(1)) + both

    reading.see_activations(read_by, [(inputs, LABELS)], see)
    return found
