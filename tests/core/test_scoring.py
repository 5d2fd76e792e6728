"""Scores against torch.nn.utils.prune, hand-worked numbers and the contract of every criterion."""

import copy
import gc
from functools import cache

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import prune as torch_prune

from pruning_core.errors import (
    DataError,
    InvalidRecipeError,
    MissingEvidenceError,
    UnsupportedModelError,
)
from pruning_core.granularities import GRANULARITIES
from pruning_core.inputs import Inputs
from pruning_core.loading.model import LoadedModel, load_model
from pruning_core.loading.split import Split
from pruning_core.planning.recipe import Calibration, Recipe
from pruning_core.scoring.normalise import normalised
from pruning_core.scoring.score import CRITERIA, score
from pruning_core.tracing.network import Network
from pruning_core.tracing.trace import trace

CHOICES = [
    (key, name)
    for key, entry in CRITERIA.items()
    for name, granularity in GRANULARITIES.items()
    if entry.supports(granularity)
]


def loaded(module: nn.Module, *shape: int) -> LoadedModel:
    return LoadedModel(
        "test:model", module.eval(), Inputs.of(torch.zeros(1, *shape)), None, None, ""
    )


@cache
def traced(name: str) -> tuple[LoadedModel, Network]:
    model = load_model(f"bundled:{name}")
    return model, trace(model.module, model.inputs)


def split(inputs: torch.Tensor, labels: torch.Tensor) -> Split:
    return Split(inputs, labels, 1.0, 0.0, 1.0)


def two_layers() -> nn.Sequential:
    model = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 2))
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([[1.0, -2.0], [0.5, 0.5], [3.0, 0.0]]))
        model[0].bias.copy_(torch.tensor([0.5, -1.0, 0.0]))
        model[2].weight.copy_(torch.tensor([[1.0, 2.0, -1.0], [0.0, 1.0, 4.0]]))
        model[2].bias.zero_()
    return model


def recipe(**changes: object) -> Recipe:
    return Recipe(model="test:model", **changes)  # type: ignore[arg-type]


def unit_scores(criterion: str, data: Split | None = None, **changes: object) -> np.ndarray:
    model = loaded(two_layers(), 2)
    network = trace(model.module, model.inputs)
    asked = recipe(criterion=criterion, granularity="unit", **changes)
    return score(model, network, asked, data).by_site["0"]


def test_l1_of_a_neuron_sums_its_row_bias_and_outgoing_column() -> None:
    np.testing.assert_allclose(unit_scores("l1"), [1 + 2 + 0.5 + 1, 1 + 1 + 2 + 1, 3 + 1 + 4])


def test_l2_of_a_neuron_is_the_root_of_the_summed_squares() -> None:
    squares = [1 + 4 + 0.25 + 1, 0.25 + 0.25 + 1 + 4 + 1, 9 + 1 + 16]
    np.testing.assert_allclose(unit_scores("l2"), np.sqrt(squares), rtol=1e-6)


@pytest.mark.parametrize(
    ("reduction", "expected"),
    [
        ("mean", [(3 + 0.5 + 1) / 3, (1 + 1 + 3) / 3, (3 + 0 + 5) / 3]),
        ("max", [3, 3, 5]),
        ("first", [3, 1, 3]),
    ],
)
def test_reduction_says_how_row_bias_and_column_become_one_score(
    reduction: str, expected: list[float]
) -> None:
    np.testing.assert_allclose(unit_scores("l1", reduction=reduction), expected, rtol=1e-6)


def test_reversed_scores_leave_in_the_opposite_order() -> None:
    scores = unit_scores("l1", normalise="mean")
    np.testing.assert_array_equal(unit_scores("l1", normalise="mean", reverse=True), -scores)


def test_a_criterion_that_rates_whole_units_refuses_a_reduction() -> None:
    data = split(torch.zeros(1, 2), torch.tensor([0]))
    with pytest.raises(InvalidRecipeError, match=r"'activation_norm'.*reduce by 'max'.*'sum'"):
        unit_scores("activation_norm", data, reduction="max")


def test_activation_norm_is_the_root_mean_square_after_the_nonlinearity() -> None:
    data = split(torch.tensor([[1.0, 0.0], [0.0, 1.0], [2.0, 2.0]]), torch.tensor([0, 1, 0]))
    # inputs of the second layer: relu(Wx+b) for the three samples, unit by unit
    hidden = np.array([[1.5, 0.0, 3.0], [0.0, 0.0, 0.0], [0.0, 1.0, 6.0]])
    expected = np.sqrt((hidden**2).mean(axis=0))
    np.testing.assert_allclose(unit_scores("activation_norm", data), expected, rtol=1e-6)


@pytest.mark.parametrize("batch_size", [1, 3])
def test_taylor_and_gradient_norm_agree_with_a_plain_backward_pass(batch_size: int) -> None:
    data = split(torch.tensor([[1.0, 0.5], [0.2, 1.0], [2.0, 2.0]]), torch.tensor([0, 1, 0]))
    taylor, gradient = np.zeros(3), np.zeros(3)
    starts = range(0, 3, batch_size)
    for start in starts:
        model = two_layers()
        inputs, labels = data.batch(slice(start, start + batch_size))
        nn.functional.cross_entropy(model(inputs), labels).backward()
        products, squares = np.zeros(3), np.zeros(3)
        for weight, axis in ((model[0].weight, 0), (model[0].bias, 0), (model[2].weight, 1)):
            value, grad = weight.detach().numpy(), weight.grad.numpy()
            others = tuple(a for a in range(value.ndim) if a != axis)
            products += (value * grad).sum(axis=others)
            squares += (grad**2).sum(axis=others)
        taylor += products**2 / len(starts)
        gradient += np.sqrt(squares) / len(starts)
    calibration = Calibration(samples=3, batch_size=batch_size)
    found = unit_scores("taylor", data, calibration=calibration)
    np.testing.assert_allclose(found, taylor, rtol=1e-5)
    found = unit_scores("gradient_norm", data, calibration=calibration)
    np.testing.assert_allclose(found, gradient, rtol=1e-5)


@pytest.mark.parametrize("ratio", [0.1, 0.5, 0.95])
def test_weight_l1_prunes_what_torch_prunes(ratio: float) -> None:
    model = load_model("bundled:lenet_300_100")
    network = trace(model.module, model.inputs)
    scores = score(model, network, Recipe(model=model.identity, criterion="l1"))
    for site, module in (("fc1", model.module.fc1), ("fc3", model.module.fc3)):
        other = copy.deepcopy(module)
        n_removed = round(ratio * other.weight.numel())
        torch_prune.l1_unstructured(other, "weight", amount=n_removed)
        ours = np.ones(other.weight.numel(), np.bool_)
        ours[scores.order(site)[:n_removed]] = False
        np.testing.assert_array_equal(ours, other.weight_mask.flatten().bool().numpy())


@pytest.mark.parametrize("norm", [1, 2])
def test_unit_norms_rank_like_torch_where_nothing_else_is_coupled(norm: int) -> None:
    class Chain(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(1, 8, 3, bias=False)
            self.head = nn.Conv2d(8, 2, 1, bias=False)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(self.conv(x)).mean((2, 3))

    torch.manual_seed(0)
    module = Chain()
    nn.init.constant_(module.head.weight, 0.1)  # the same outgoing weight for every channel
    model = loaded(module, 1, 6, 6)
    network = trace(module, model.inputs)
    found = score(model, network, recipe(granularity="unit", criterion=f"l{norm}"))
    other = copy.deepcopy(module.conv)
    torch_prune.ln_structured(other, "weight", amount=5, n=norm, dim=0)
    gone = ~other.weight_mask.any(dim=(1, 2, 3)).numpy()
    assert set(found.order("conv")[:5]) == set(np.flatnonzero(gone))


MODELS = ("mlp_digits", "cnn_digits", "resnet_8", "gru_128", "vit_tiny")
RATES_NOTHING: dict[str, set[str]] = {
    **{key: {"bn_scale", "hrank"} for key in ("mlp_digits", "gru_128", "vit_tiny")},
    "cnn_digits": set(),
    "resnet_8": set(),
}
MAKES_NO_ZEROS = {"gru_128", "vit_tiny"}


@pytest.mark.parametrize(
    ("name", "criterion", "granularity"),
    [
        (name, *choice)
        for choice in CHOICES
        for name in {"weight": MODELS, "unit": MODELS, "depth": ["vit_tiny"]}.get(
            choice[1], ["cnn_digits"]
        )
    ],
)
def test_every_criterion_keeps_its_contract(name: str, criterion: str, granularity: str) -> None:
    if criterion == "accuracy_drop" and name not in ("mlp_digits", "cnn_digits"):
        pytest.skip("a pass over the data for each unit takes too long")
    model, network = traced(name)
    model.module.train()
    model.module.get_submodule(next(n for n, _ in model.module.named_children())).eval()
    modes = [child.training for child in model.module.modules()]
    before = copy.deepcopy(model.module.state_dict())
    asked = Recipe(
        model=model.identity,
        criterion=criterion,
        granularity=granularity,
        calibration=Calibration(samples=8, batch_size=4),
    )
    if criterion in RATES_NOTHING[name]:
        with pytest.raises(UnsupportedModelError, match=f"'{criterion}' can rate no layer"):
            score(model, network, asked)
        return
    torch.manual_seed(1)
    first = score(model, network, asked)
    torch.manual_seed(2)
    second = score(model, network, asked)
    sizes = {site.name: site.n_units for site in GRANULARITIES[granularity].sites(network)}
    assert {site: values.shape for site, values in first.by_site.items()} == {
        site: (n_units,) for site, n_units in sizes.items()
    }
    for site, values in first.by_site.items():
        assert values.dtype == np.float32
        assert np.isfinite(values).all()
        np.testing.assert_array_equal(values, second.by_site[site])
    if not (criterion == "apoz" and name in MAKES_NO_ZEROS):
        assert np.concatenate([*first.by_site.values()]).std() > 0
    assert [child.training for child in model.module.modules()] == modes
    assert all(torch.equal(before[key], value) for key, value in model.module.state_dict().items())
    assert all(parameter.grad is None for parameter in model.module.parameters())
    assert all(parameter.requires_grad for parameter in model.module.parameters())
    for child in model.module.modules():
        assert not child._forward_hooks
        assert not child._forward_pre_hooks


@pytest.mark.parametrize("key", CRITERIA)
def test_every_criterion_describes_itself(key: str) -> None:
    entry = CRITERIA[key]
    assert entry.key == key
    assert entry.title
    assert entry.formula.startswith("s_")
    assert entry.description.endswith(".")
    assert entry.source


WITH_DATA = [key for key, entry in CRITERIA.items() if entry.needs_data]


@pytest.mark.parametrize("criterion", [key for key in WITH_DATA if key != "accuracy_drop"])
def test_scores_do_not_depend_on_the_number_of_threads(criterion: str) -> None:
    model, network = traced("resnet_8")
    granularity = "unit" if CRITERIA[criterion].supports(GRANULARITIES["unit"]) else "weight"
    asked = Recipe(
        model=model.identity,
        criterion=criterion,
        granularity=granularity,
        calibration=Calibration(samples=8, batch_size=4),
    )
    before = torch.get_num_threads()
    found = []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            found.append(score(model, network, asked).by_site)
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    for site, values in found[0].items():
        np.testing.assert_array_equal(values, found[1][site])


@pytest.mark.parametrize("name", ["cnn_digits", "gru_128"])
@pytest.mark.parametrize("criterion", WITH_DATA)
def test_what_a_criterion_remembers_does_not_grow_with_the_batches(
    name: str, criterion: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if (name, criterion) in {("gru_128", "hrank"), ("gru_128", "accuracy_drop")}:
        pytest.skip("rates nothing, or takes long")
    model, network = traced(name)
    granularity = "unit" if CRITERIA[criterion].supports(GRANULARITIES["unit"]) else "weight"
    remembered = {}
    make, n_batches = Split.batch, 0

    def batch(self: Split, indices: slice) -> tuple[torch.Tensor, torch.Tensor]:
        nonlocal n_batches
        n_batches += 1
        if n_batches in (3, 6):
            remembered[n_batches] = bytes_of_all_tensors()
        return make(self, indices)

    monkeypatch.setattr(Split, "batch", batch)
    calibration = Calibration(samples=12, batch_size=2)
    asked = Recipe(
        model=model.identity, criterion=criterion, granularity=granularity, calibration=calibration
    )
    score(model, network, asked)
    assert remembered[3] == remembered[6]


def bytes_of_all_tensors() -> int:
    gc.collect()
    tensors = [item for item in gc.get_objects() if issubclass(type(item), torch.Tensor)]
    storages = {
        tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes()
        for tensor in tensors
        if type(tensor) in (torch.Tensor, nn.Parameter)
    }
    return sum(storages.values())


def test_different_seeds_draw_different_random_scores() -> None:
    assert not np.array_equal(unit_scores("random", seed=0), unit_scores("random", seed=1))


def test_normalisation_divides_by_a_statistic_of_the_layer() -> None:
    scores = np.array([1.0, 3.0, 4.0])
    np.testing.assert_allclose(normalised(scores, "max"), scores / 4)
    np.testing.assert_allclose(normalised(scores, "mean"), scores * 3 / 8)
    np.testing.assert_allclose(normalised(scores, "sum"), scores / 8)
    standard = normalised(scores, "standard")
    np.testing.assert_allclose([standard.mean(), standard.std()], [0, 1], atol=1e-12)
    np.testing.assert_array_equal(normalised(scores, "none"), scores)
    np.testing.assert_array_equal(normalised(np.zeros(2), "max"), np.zeros(2))


def test_a_criterion_that_cannot_rate_the_granularity_says_which_it_can() -> None:
    model = load_model("bundled:mlp_digits")
    network = trace(model.module, model.inputs)
    asked = Recipe(model=model.identity, criterion="activation_norm", granularity="weight")
    with pytest.raises(InvalidRecipeError, match=r"cannot rate the granularity 'weight'.*unit"):
        score(model, network, asked)


def test_a_criterion_without_its_data_says_what_is_missing() -> None:
    model = loaded(two_layers(), 2)
    network = trace(model.module, model.inputs)
    with pytest.raises(MissingEvidenceError, match="'taylor' needs data"):
        score(model, network, recipe(criterion="taylor"))


def test_weights_that_are_not_numbers_are_refused_with_the_layer() -> None:
    module = two_layers()
    with torch.no_grad():
        module[2].weight[0, 0] = float("nan")
    model = loaded(module, 2)
    with pytest.raises(UnsupportedModelError, match="layer '2' are not all finite"):
        score(model, trace(module, model.inputs), recipe())


def test_data_of_another_shape_are_refused_with_both_shapes() -> None:
    model = load_model("bundled:lenet_5")
    network = trace(model.module, model.inputs)
    asked = Recipe(model=model.identity, criterion="taylor", data="digits")
    with pytest.raises(DataError, match=r"\(1, 8, 8\); the model .* takes \(1, 28, 28\)"):
        score(model, network, asked)


def test_only_the_calibration_samples_asked_for_are_read() -> None:
    inputs, labels = torch.randn(8, 2), torch.randint(0, 2, (8,))
    changed = inputs.clone()
    changed[4:] = 100.0
    calibration = Calibration(samples=4, batch_size=3)
    first = unit_scores("activation_norm", split(inputs, labels), calibration=calibration)
    second = unit_scores("activation_norm", split(changed, labels), calibration=calibration)
    np.testing.assert_array_equal(first, second)
    everything = unit_scores("activation_norm", split(changed, labels))
    assert not np.array_equal(first, everything)


def test_running_statistics_are_no_weights() -> None:
    module = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 2, 3))
    model = loaded(module, 1, 8, 8)
    asked = recipe(granularity="unit")
    before = score(model, trace(module, model.inputs), asked).by_site["0"]
    with torch.no_grad():
        module[1].running_mean.fill_(1000)
        module[1].running_var.fill_(1000)
    after = score(model, trace(module, model.inputs), asked).by_site["0"]
    np.testing.assert_array_equal(before, after)


class Twice(nn.Module):
    """One layer that stands in two places of the module tree."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(6, 8)
        self.again = nn.Linear(8, 8)
        self.block = nn.Sequential(nn.ReLU(), self.again)
        self.last = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.block(self.again(self.first(x))))


@pytest.mark.parametrize("criterion", ["taylor", "accuracy_drop", "synflow"])
def test_a_layer_in_two_places_keeps_its_parameters(criterion: str) -> None:
    model = loaded(Twice(), 6)
    before = dict(model.module.named_parameters())
    split = Split(torch.randn(8, 6), torch.randint(0, 3, (8,)), 1.0, 0.0, 1.0)
    asked = Recipe(model=model.identity, granularity="unit", criterion=criterion)
    score(model, trace(model.module, model.inputs), asked, split)
    after = dict(model.module.named_parameters())
    assert all(after[name] is tensor for name, tensor in before.items())
