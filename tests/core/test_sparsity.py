"""Sparse training: proximal steps by hand and by closed form, whole runs, resumed runs."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from pruning_core.errors import RunError, UnknownNameError, UnsupportedModelError
from pruning_core.inputs import Inputs
from pruning_core.loading.dataset import load_dataset
from pruning_core.loading.model import initial_module, load_model
from pruning_core.planning.recipe import Count, Ratio, Recipe, Schedule, Sparse, Tuning
from pruning_core.runs.checkpoint import Checkpoint, newest_checkpoint, save_checkpoint
from pruning_core.runs.events import Note, Shrunk, StageStarted
from pruning_core.runs.pipeline import execute
from pruning_core.tracing.trace import trace
from pruning_core.tuning.finetune import EpochResult, FineTuner
from pruning_core.tuning.penalty import EDGES, Elements, Share, Units, counted
from pruning_core.tuning.sparsity import PENALTIES
from tests.core.test_runs_pipeline import carried_out, of_kind, weights

QUICK = Tuning(epochs=1, train_samples=300)


def recipe(**changes) -> Recipe:
    base = Recipe(
        model="bundled:cnn_digits",
        granularity="unit",
        target=Ratio(value=0.5),
        sparse=Sparse(kind="group_lasso", strength=1e-3, epochs=2, learning_rate=0.01),
        tuning=QUICK,
    )
    return base.replace(**changes)


def test_a_soft_threshold_by_hand():
    weight = nn.Parameter(torch.tensor([[0.5, -0.2, 0.05], [-0.05, 0.0, -1.0]]))
    Elements([weight]).shrink(1.0, lambda _: 0.1)
    expected = torch.tensor([[0.4, -0.1, 0.0], [0.0, 0.0, -0.9]])
    assert torch.allclose(weight, expected)
    assert (weight == 0).sum() == 3
    assert weight.requires_grad


def test_a_unit_is_shortened_as_a_whole_by_hand():
    # Two units: rows of a weight and their biases. Unit 0 is (3, 0, 4), length 5, 3 elements.
    weight = nn.Parameter(torch.tensor([[3.0, 0.0], [0.1, 0.1]]))
    bias = nn.Parameter(torch.tensor([4.0, 0.1]))
    both = torch.arange(2)
    units = Units([[Share.of(weight, 0, both, both, 2), Share.of(bias, 0, both, both, 2)]])
    assert units.sizes().tolist() == pytest.approx([5 / 3**0.5, 0.1])
    units.shrink(5.0, lambda _: 0.1)
    left = 1 - 0.5 * 3**0.5 / 5
    assert weight[0].tolist() == pytest.approx([3 * left, 0.0])
    assert bias[0].item() == pytest.approx(4 * left)
    assert not weight[1].any()
    assert bias[1] == 0
    units.shrink(5.0, lambda _: 0.1)
    assert not weight[1].isnan().any()


@pytest.mark.parametrize("amount", [0.01, 0.3, 2.0])
def test_proximal_steps_minimise_what_they_should(amount):
    """prox(v) = argmin_w 1/2 |w - v|^2 + amount * penalty(w); any other point is worse."""
    draw = torch.Generator().manual_seed(1)
    start = torch.randn(4, 6, generator=draw, dtype=torch.float64)
    rows = torch.arange(4)

    def l1(w):
        return w.abs().sum()

    def lasso(w):
        return (6**0.5) * w.norm(dim=1).sum()

    for penalty, make in (
        (l1, lambda w: Elements([w])),
        (lasso, lambda w: Units([[Share.of(w, 0, rows, rows, 4)]])),
    ):
        found = nn.Parameter(start.clone())
        make(found).shrink(amount, lambda _: 1.0)

        def objective(w, penalty=penalty):
            return 0.5 * (w - start).square().sum() + amount * penalty(w)

        best = objective(found.detach())
        for scale in (1e-3, 1e-2, 0.1, 1.0):
            for _ in range(50):
                noise = scale * torch.randn(4, 6, generator=draw, dtype=torch.float64)
                assert objective(found.detach() + noise) >= best - 1e-9
        assert best <= objective(torch.zeros_like(start)) + 1e-12


def test_a_unit_may_have_several_indices_and_a_share_indices_without_unit():
    weight = nn.Parameter(torch.ones(3, 5))
    # Along axis 1: indices 0 and 4 are unit 1, index 2 is unit 0, the others belong to nobody.
    share = Share.of(weight, 1, torch.tensor([0, 2, 4]), torch.tensor([1, 0, 1]), 2)
    assert share.n_elements.tolist() == [3, 6]
    assert share.sums(weight.detach() ** 2).tolist() == [3.0, 6.0]
    with torch.no_grad():
        share.scale(torch.tensor([2.0, 5.0]))
    assert weight[0].tolist() == [5.0, 1.0, 2.0, 1.0, 5.0]


def test_sizes_are_counted_in_the_bins_between_the_limits():
    n_zero, counts = counted(torch.tensor([0.0, 0.0, 1e-9, 1.0, 1.01, 50.0]))
    assert n_zero == 2
    assert (counts[0], counts[-1], sum(counts)) == (1, 1, 4)
    (place,) = [i for i, count in enumerate(counts) if count == 2]
    assert EDGES[place - 1] == pytest.approx(1.0)
    assert len(counts) == EDGES.size + 1


@pytest.mark.parametrize("kind", list(PENALTIES))
@pytest.mark.parametrize("architecture", ["cnn_digits", "resnet_8"])
def test_what_a_penalty_takes_away_becomes_exactly_zero_and_nothing_else(kind, architecture):
    module = initial_module(architecture, 1)
    shape = (1, 1, 8, 8) if architecture == "cnn_digits" else (1, 1, 28, 28)
    network = trace(module, Inputs.of(torch.zeros(shape)))
    parameters = dict(module.named_parameters())
    before = {name: item.detach().clone() for name, item in parameters.items()}
    shrinker = PENALTIES[kind].bind(network, parameters)
    n = len(shrinker.sizes())
    match kind:
        case "l1":
            assert n == sum(parameters[name].numel() for name in network.weights)
        case "group_lasso":
            assert n == sum(group.n_units for group in network.groups)
    shrinker.shrink(1e6, lambda _: 1.0)
    assert not shrinker.sizes().any()
    gone = {name for name, item in parameters.items() if not item.any()}
    kept = {name for name in parameters if torch.equal(parameters[name], before[name])}
    last = "fc2" if architecture == "cnn_digits" else "fc"
    match kind:
        case "l1":
            assert gone == set(network.weights) | {n for n, v in before.items() if not v.any()}
        case "bn_scales":
            scales = {name for name, part in module.named_modules()
                      if isinstance(part, nn.BatchNorm2d)}  # fmt: skip
            assert {name for name in before if name not in kept} == {f"{n}.weight" for n in scales}
        case "group_lasso":
            # Everything but the layer whose outputs are the classes makes units that can leave.
            assert {name for name in before if name not in gone} == {
                f"{last}.weight", f"{last}.bias"
            } - gone  # fmt: skip
    assert f"{last}.weight" in kept or kind == "l1"


def test_a_network_without_batch_norms_or_units_is_refused():
    model = load_model("bundled:mlp_digits")
    network = trace(model.module, model.inputs)
    parameters = dict(model.module.named_parameters())
    with pytest.raises(UnsupportedModelError, match="has no batch norm"):
        PENALTIES["bn_scales"].bind(network, parameters)
    with pytest.raises(UnsupportedModelError, match="no units that can leave and are trained"):
        PENALTIES["group_lasso"].bind(network, {})
    with pytest.raises(UnknownNameError, match="No sparsity penalty is called 'l3'"):
        next(execute(recipe(sparse=Sparse(kind="l3"))))


def test_a_step_is_the_optimisers_and_then_the_thresholds():
    data = load_dataset("digits")
    data = replace(data, train=data.train.first(64), validation=data.validation.first(20))
    settings = Tuning(epochs=1, batch_size=64, optimiser="sgd", momentum=0.0, learning_rate=0.1,
                      learning_rate_schedule="constant")  # fmt: skip
    plain, shrunk = initial_module("mlp_digits", 0), initial_module("mlp_digits", 0)
    list(FineTuner(plain, data, settings, seed=0).run())
    tuner = FineTuner(shrunk, data, settings, seed=0)
    elements = Elements([shrunk.fc1.weight])
    tuner.shrink_by(lambda step: elements.shrink(0.3, step))
    list(tuner.run())
    expected = torch.nn.functional.softshrink(plain.fc1.weight, 0.1 * 0.3)
    assert torch.allclose(shrunk.fc1.weight, expected, atol=1e-7)
    assert torch.equal(shrunk.fc2.weight, plain.fc2.weight)
    assert (shrunk.fc1.weight == 0).float().mean() > 0.1


def test_sparse_training_comes_before_the_rating_and_is_reported():
    events, result = carried_out(recipe(schedule=Schedule(rounds=2)))
    stages = [event.stage for event in of_kind(events, StageStarted)]
    assert stages[:4] == ["load", "sparse", "trace", "score"]
    epochs = of_kind(events, EpochResult)
    assert [(event.epoch, event.n_epochs) for event in epochs] == [(1, 4), (2, 4), (3, 4), (4, 4)]
    shrunk = of_kind(events, Shrunk)
    assert [event.epoch for event in shrunk] == [0, 1, 2]
    assert len({event.n for event in shrunk}) == 1
    assert shrunk[0].n_zero == 0 < shrunk[-1].n_zero
    assert (
        f"{shrunk[-1].n_zero:,} of {shrunk[-1].n:,} units are zero" in of_kind(events, Note)[0].text
    )
    assert result.dense.accuracy > 0.9  # the network as it was loaded, not the sparse one
    _, without = carried_out(recipe(sparse=None))
    assert result.plan.thresholds != without.plan.thresholds


def test_a_strong_penalty_leaves_units_that_cost_nothing_to_remove():
    strong = Sparse(kind="group_lasso", strength=1e-3, epochs=8, learning_rate=0.01)
    wanted = recipe(sparse=strong, criterion="l2", tuning=Tuning(epochs=0), target=Count(value=40))
    events, result = carried_out(wanted)
    assert of_kind(events, Shrunk)[-1].n_zero >= 40
    assert result.pruned.accuracy > 0.95
    assert result.preview.after.params < 0.7 * result.preview.before.params


def test_a_run_resumed_within_or_after_sparse_training_ends_with_the_same_bits(tmp_path: Path):
    tuning = QUICK.model_copy(
        update={"optimiser": "sgd", "learning_rate": 0.01, "restore_best": True}
    )
    wanted = recipe(schedule=Schedule(rounds=2), tuning=Tuning.model_validate(tuning.model_dump()))
    events, whole = carried_out(wanted)
    points = of_kind(events, Checkpoint)
    assert [(point.epoch, point.round) for point in points] == [(1, 0), (2, 0), (3, 1), (4, 2)]
    for point in points:
        folder = tmp_path / str(point.epoch)
        folder.mkdir()
        save_checkpoint(folder, point)
        resume, _ = newest_checkpoint(folder)
        events, result = carried_out(wanted, resume=resume)
        assert weights(result) == weights(whole)
        assert result.plan.fingerprint == whole.plan.fingerprint
        assert [item.epoch for item in of_kind(events, Shrunk)] == [*range(point.epoch + 1, 3)]


def test_sparse_training_without_data_is_refused(tmp_path, monkeypatch):
    (tmp_path / "homeless2.py").write_text(
        "from torch import nn\n"
        "def make():\n"
        "    return nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    wanted = recipe(model="python:homeless2:make", input_shape=(6,))
    with pytest.raises(RunError, match="sparse training is asked for, and neither"):
        list(execute(wanted))


def test_when_no_round_holds_the_accuracy_the_network_as_loaded_is_handed_out():
    wanted = recipe(schedule=Schedule(rounds=2, max_drop=0.0), target=Ratio(value=0.9))
    _, result = carried_out(wanted)
    dense = result.model.module.state_dict()
    assert all(
        torch.equal(item, dense[n]) for n, item in result.surgery.module.state_dict().items()
    )
