"""Schedules in the pipeline: rewinding, fresh weights, one training, and stopping by validation."""

from pathlib import Path

import numpy as np
import pytest
import torch

from pruning_core.errors import RunError
from pruning_core.evaluation.evaluate import evaluate
from pruning_core.exporting.reopen import open_run
from pruning_core.exporting.result import RunResult
from pruning_core.loading.architecture import build_initial
from pruning_core.loading.architectures import ARCHITECTURES
from pruning_core.loading.dataset import load_dataset
from pruning_core.loading.model import load_model
from pruning_core.loading.weights import digest
from pruning_core.planning.recipe import Ratio, Recipe, Schedule, Tuning
from pruning_core.runs.checkpoint import Checkpoint, newest_checkpoint, save_checkpoint
from pruning_core.runs.events import Evaluated, Finished, Note, Previewed, RoundFinished
from pruning_core.runs.pipeline import execute, write_run
from pruning_core.surgery.prune import prune
from pruning_core.tracing.trace import trace
from pruning_core.tuning.finetune import EpochResult, FineTuner

# One batch at a rate of almost nothing: what is trained is what it started from.
STILL = Tuning(epochs=1, train_samples=2, batch_size=2, optimiser="sgd", learning_rate=1e-30)
QUICK = Tuning(epochs=2, train_samples=300)
OWN = (
    "import torch\n"
    "from torch import nn\n"
    "def make():\n"
    "    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 12), nn.ReLU(), nn.Linear(12, 10))\n"
    "    if {remembers}:\n"
    "        model.initial_state = {{k: v.clone() for k, v in model.state_dict().items()}}\n"
    "    with torch.no_grad():\n"
    "        for parameter in model.parameters():\n"
    "            parameter.add_(1)\n"
    "    return model\n"
)


def recipe(**changes) -> Recipe:
    base = Recipe(
        model="bundled:mlp_digits", granularity="unit", target=Ratio(value=0.5), tuning=QUICK
    )
    return base.replace(**changes)


def carried_out(wanted: Recipe, **options) -> tuple[list, RunResult]:
    events = list(execute(wanted, **options))
    assert isinstance(events[-1], Finished)
    return events, events[-1].result


def of_kind(events, kind):
    return [event for event in events if isinstance(event, kind)]


def weights(result: RunResult) -> str:
    return digest(result.surgery.module.state_dict())


def what_is_left_of(state, result: RunResult) -> dict[str, torch.Tensor]:
    """Return the values of a dense state in the places that the result kept."""
    expected = {}
    for name in result.surgery.module.state_dict():
        value = state[name]
        for axis, indices in enumerate(result.surgery.kept.get(name, ())):
            if indices is not None:
                value = value.index_select(axis, torch.from_numpy(indices))
        mask = result.surgery.masks.get(name)
        expected[name] = value if mask is None else value * mask
    return expected


def assert_holds(result: RunResult, expected) -> None:
    for name, parameter in result.surgery.module.named_parameters():
        assert torch.allclose(parameter, expected[name], rtol=0, atol=1e-20), name


@pytest.mark.parametrize("granularity", ["unit", "weight"])
@pytest.mark.parametrize("rounds", [1, 3])
@pytest.mark.parametrize("model", ["bundled:mlp_digits", "bundled:cnn_digits"])
def test_a_ticket_is_rewound_to_the_weights_before_training(granularity, rounds, model) -> None:
    wanted = recipe(
        model=model,
        granularity=granularity,
        tuning=STILL,
        schedule=Schedule(rounds=rounds, weights="rewind"),
    )
    _, result = carried_out(wanted)
    card = load_model(model).card
    initial = build_initial(ARCHITECTURES[card.architecture], card.seed).state_dict()
    assert digest(initial) == card.initial_digest
    assert_holds(result, what_is_left_of(initial, result))
    assert any(result.plan.n_removed(site) for site in result.plan.keep)


def test_what_a_ticket_keeps_is_chosen_by_the_trained_weights_and_measured_with_them() -> None:
    _, kept = carried_out(recipe())
    _, ticket = carried_out(recipe(schedule=Schedule(weights="rewind")))
    assert ticket.plan.fingerprint == kept.plan.fingerprint
    assert ticket.pruned.accuracy == kept.pruned.accuracy
    assert ticket.epochs[0].loss > 2 * kept.epochs[0].loss


def test_weights_are_rewound_to_an_early_epoch_of_the_model_s_own_training() -> None:
    wanted = recipe(tuning=STILL, schedule=Schedule(weights="rewind", rewind_epoch=2))
    events, result = carried_out(wanted)
    card = load_model("bundled:mlp_digits").card
    module = build_initial(ARCHITECTURES[card.architecture], card.seed)
    steps = FineTuner(module, load_dataset("digits"), card.training, seed=card.seed).run()
    while not (isinstance(step := next(steps), EpochResult) and step.epoch == 2):
        pass
    steps.close()
    assert_holds(result, what_is_left_of(module.state_dict(), result))
    (note,) = of_kind(events, Note)
    assert f"after epoch 2 of {card.epochs} of the model's own training" in note.text


def test_fresh_weights_are_a_function_of_the_seed_and_none_of_the_old_ones() -> None:
    wanted = recipe(tuning=STILL, schedule=Schedule(weights="reinitialise"))
    results = [carried_out(wanted.replace(seed=seed))[1] for seed in (0, 0, 1)]
    assert weights(results[0]) == weights(results[1]) != weights(results[2])
    card = load_model("bundled:mlp_digits").card
    for state in (
        build_initial(ARCHITECTURES[card.architecture], card.seed).state_dict(),
        load_model("bundled:mlp_digits").module.state_dict(),
    ):
        old = what_is_left_of(state, results[0])
        for name, parameter in results[0].surgery.module.named_parameters():
            assert not torch.isclose(parameter, old[name]).all(), name


@pytest.mark.parametrize("remembers", [True, False])
def test_a_model_of_one_s_own_can_say_where_it_started(remembers, tmp_path, monkeypatch) -> None:
    name = f"own_model_{remembers}"
    (tmp_path / f"{name}.py").write_text(OWN.format(remembers=remembers))
    monkeypatch.syspath_prepend(tmp_path)
    wanted = recipe(
        model=f"python:{name}:make",
        data="digits",
        input_shape=tuple(load_dataset("digits").input_shape),
        tuning=STILL,
        schedule=Schedule(weights="rewind"),
    )
    if not remembers:
        with pytest.raises(RunError, match=r"are not known, so nothing can be rewound.*initial_st"):
            carried_out(wanted)
        _, fresh = carried_out(wanted.replace(schedule=Schedule(weights="reinitialise")))
        assert float(fresh.surgery.module.state_dict()["3.weight"].max()) < 0.5
        return
    _, result = carried_out(wanted)
    assert_holds(result, what_is_left_of(result.model.module.initial_state, result))
    early = wanted.replace(schedule=Schedule(weights="rewind", rewind_epoch=1))
    with pytest.raises(RunError, match=r"not known how .* was trained"):
        carried_out(early)


@pytest.mark.parametrize("granularity", ["unit", "weight"])
def test_gradual_pruning_is_one_training(granularity) -> None:
    """Where nothing leaves, rounds of one epoch are one training of as many epochs, to the bit."""
    nothing = recipe(granularity=granularity, target=Ratio(value=0.0))
    gradual = Schedule(rounds=3, gradual=True, last_epochs=2)
    events, parts = carried_out(
        nothing.replace(schedule=gradual, tuning=QUICK.model_copy(update={"epochs": 1}))
    )
    _, whole = carried_out(nothing.replace(tuning=QUICK.model_copy(update={"epochs": 4})))
    assert [event.epoch for event in of_kind(events, EpochResult)] == [1, 2, 3, 4]
    assert [epoch.loss for epoch in parts.epochs] == [epoch.loss for epoch in whole.epochs]
    assert weights(parts) == weights(whole)


def test_momentum_goes_on_when_units_leave() -> None:
    settings = QUICK.model_copy(update={"epochs": 1})
    results = [
        carried_out(recipe(tuning=settings, schedule=Schedule(rounds=3, gradual=gradual)))[1]
        for gradual in (True, False)
    ]
    assert results[0].plan.fingerprint != ""
    assert weights(results[0]) != weights(results[1])
    rates = [epoch.learning_rate for epoch in results[0].epochs]
    assert rates == sorted(rates, reverse=True)
    assert rates[0] > 0.5e-3 > rates[-1]


def test_the_rounds_end_where_the_accuracy_falls_and_the_last_good_one_is_handed_out(
    tmp_path: Path,
) -> None:
    wanted = recipe(
        target=Ratio(value=0.96),
        tuning=QUICK,
        schedule=Schedule(rounds=6, shape="linear", max_drop=6.0),
    )
    events, result = carried_out(wanted)
    rounds = of_kind(events, RoundFinished)
    assert [event.held for event in rounds] == [True] * (len(rounds) - 1) + [False]
    assert 1 < len(rounds) < 6, rounds
    model, data = load_model("bundled:mlp_digits"), load_dataset("digits")

    def accuracy(module):
        with torch.no_grad():
            inputs, labels = data.validation.batch(slice(0, len(data.validation)))
            return float((module(inputs).argmax(1) == labels).double().mean())

    dense = accuracy(model.module)
    for event in rounds:
        assert (dense - event.validation_accuracy <= 0.06) == event.held
    assert accuracy(result.surgery.module) == pytest.approx(rounds[-2].validation_accuracy)
    removed = sum(int((~stays).sum()) for stays in result.plan.keep.values())
    total = sum(stays.size for stays in result.plan.keep.values())
    assert removed / total == pytest.approx(rounds[-2].removed)
    assert of_kind(events, Previewed)[-1].after == result.counted
    assert [event.evaluation for event in of_kind(events, Evaluated)][-2:] == [
        result.pruned,
        result.tuned,
    ]
    assert "is handed out, the last that held it" in result.plan.notes[""][-1]
    write_run(result, tmp_path)
    again = open_run(tmp_path)
    assert weights(again) == weights(result)
    assert again.rounds_kept == result.rounds_kept == len(rounds) - 1


@pytest.mark.parametrize("granularity", ["unit", "weight"])
def test_adaptive_rounds_go_back_and_take_smaller_steps(granularity) -> None:
    wanted = recipe(
        granularity=granularity,
        target=Ratio(value=0.96),
        schedule=Schedule(rounds=5, shape="linear", max_drop=6.0, first_step=0.6),
    )
    events, result = carried_out(wanted)
    rounds = of_kind(events, RoundFinished)
    dense = result.model.card.validation_accuracy
    reached, step, fell = 0.0, 0.6, False
    for event in rounds:
        aim = min(1.0, reached + step)
        assert event.removed == pytest.approx(0.96 * aim, abs=0.01)
        assert event.held == (dense - event.validation_accuracy <= 0.06 + 1e-9)
        reached, step = (aim, step * (1 if fell else 2)) if event.held else (reached, step / 2)
        fell = not event.held
    held = [event for event in rounds if event.held]
    assert 0 < len(held) < len(rounds) == 5, "some rounds hold and some do not"
    total = sum(stays.size for stays in result.plan.keep.values())
    left = sum(int(stays.sum()) for stays in result.plan.keep.values())
    assert 1 - left / total == pytest.approx(held[-1].removed)
    assert result.epochs[-1].epoch == 10
    assert f"came {100 * reached:.3g} % of the way" in result.plan.notes[""][-1]
    again = evaluate(result.surgery.module, load_dataset("digits").validation)
    assert again.accuracy == held[-1].validation_accuracy


def test_adaptive_rounds_that_hold_end_at_the_target() -> None:
    wanted = recipe(schedule=Schedule(rounds=9, max_drop=100.0, first_step=0.3, shape="linear"))
    events, result = carried_out(wanted)
    # 0.3, then 0.6 further, then the rest
    assert [event.removed for event in of_kind(events, RoundFinished)] == pytest.approx(
        [0.15, 0.45, 0.5], abs=0.01
    )
    assert result.tuned is not None
    assert "" not in result.plan.notes


@pytest.mark.parametrize("granularity", ["unit", "weight"])
def test_a_first_round_that_falls_hands_out_the_dense_network(granularity) -> None:
    wanted = recipe(
        granularity=granularity,
        target=Ratio(value=0.95),
        tuning=STILL,
        schedule=Schedule(rounds=2, max_drop=0.0),
    )
    events, result = carried_out(wanted)
    assert [event.held for event in of_kind(events, RoundFinished)] == [False]
    assert weights(result) == result.model.weights_sha256
    assert result.rounds_kept == 0
    assert result.tuned.accuracy == result.pruned.accuracy == result.dense.accuracy
    assert "the dense network is handed out" in of_kind(events, Note)[-1].text


def test_a_run_that_never_falls_ends_as_one_without_the_rule() -> None:
    wanted = recipe(schedule=Schedule(rounds=2))
    _, plain = carried_out(wanted)
    events, ruled = carried_out(recipe(schedule=Schedule(rounds=2, max_drop=100.0)))
    assert weights(ruled) == weights(plain)
    assert all(event.held for event in of_kind(events, RoundFinished))


@pytest.mark.parametrize(
    "schedule",
    [
        Schedule(rounds=3, shape="linear", max_drop=6.0),
        Schedule(rounds=3, gradual=True, last_epochs=3),
        Schedule(rounds=2, weights="rewind", rewind_epoch=1, shape="exponential"),
        Schedule(rounds=2, weights="reinitialise"),
        Schedule(rounds=4, shape="linear", max_drop=6.0, first_step=0.6),
    ],
    ids=["drop", "gradual", "rewind", "reinitialise", "adaptive"],
)
@pytest.mark.parametrize("granularity", ["unit", "weight"])
def test_every_schedule_resumes_with_the_same_bits(schedule, granularity, tmp_path: Path) -> None:
    wanted = recipe(granularity=granularity, target=Ratio(value=0.9), schedule=schedule)
    events, whole = carried_out(wanted)
    for point in of_kind(events, Checkpoint):
        folder = tmp_path / str(point.epoch)
        folder.mkdir()
        save_checkpoint(folder, point)
        resume, _ = newest_checkpoint(folder)
        _, again = carried_out(wanted, resume=resume)
        assert weights(again) == weights(whole), point.epoch
        assert again.plan.fingerprint == whole.plan.fingerprint
        assert again.tuned.loss == whole.tuned.loss
        assert again.pruned.accuracy == whole.pruned.accuracy
        assert [epoch.loss for epoch in again.epochs] == [epoch.loss for epoch in whole.epochs]


def test_a_schedule_that_needs_data_says_so_where_there_are_none(tmp_path, monkeypatch) -> None:
    (tmp_path / "no_data_model.py").write_text(OWN.format(remembers=True))
    monkeypatch.syspath_prepend(tmp_path)
    own = recipe(model="python:no_data_model:make", input_shape=(64,))
    for schedule, wish in (
        (Schedule(weights="rewind"), "schedule.weights is 'rewind'"),
        (Schedule(max_drop=1.0), "schedule.max_drop is set"),
    ):
        with pytest.raises(RunError, match=f"{wish}, and neither the recipe"):
            carried_out(own.replace(schedule=schedule))


def test_nothing_is_changed_by_a_plan_that_keeps_everything() -> None:
    model = load_model("bundled:cnn_digits")
    network = trace(model.module, model.inputs)
    _, result = carried_out(recipe(model=model.identity, tuning=Tuning(epochs=0)))
    everything = {site: np.ones_like(stays) for site, stays in result.plan.keep.items()}
    whole = prune(model, network, type(result.plan)(result.recipe, everything, {}, {}))
    assert digest(whole.module.state_dict()) == model.weights_sha256
