"""Fine-tuning against a bare torch loop; resuming, masks, stopping; batch-norm recalibration."""

import copy
import io
import math
import time
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

from pruning_core.errors import DataError, RunError
from pruning_core.evaluation.evaluate import StoppedError, evaluate
from pruning_core.loading.dataset import Split, load_dataset
from pruning_core.loading.model import initial_module, load_model
from pruning_core.planning.recipe import Tuning
from pruning_core.tuning.batchnorm import recalibrate_batchnorm
from pruning_core.tuning.draws import flipped, generator, seeded_globally
from pruning_core.tuning.finetune import (
    BatchProgress,
    EpochResult,
    FineTuner,
    Rounds,
    finetune,
)
from pruning_core.tuning.preparing import kept_bits
from pruning_core.tuning.schedules import learning_rate


@pytest.fixture(scope="module")
def digits():
    """Return a small part of the digits: 250 to train on, 60 to validate on."""
    data = load_dataset("digits")
    return replace(data, train=data.train.first(250), validation=data.validation.first(60))


class WithDropout(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3, bias=False)
        self.norm = nn.BatchNorm2d(4)
        self.dropout = nn.Dropout(0.3)
        self.fc = nn.Linear(4 * 36, 10)

    def forward(self, images):
        features = functional.relu(self.norm(self.conv(images)))
        return self.fc(self.dropout(features.flatten(1)))


def fresh():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return WithDropout()


def epochs_of(steps):
    return [step for step in steps if isinstance(step, EpochResult)]


def same_bits(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


OPTIMISERS = {
    "adam": (
        Tuning(epochs=2, optimiser="adam", weight_decay=1e-3, batch_size=64),
        lambda p: torch.optim.Adam(p, weight_decay=1e-3, fused=False),
    ),
    "adamw": (
        Tuning(epochs=2, optimiser="adamw", weight_decay=0.1, batch_size=64, warmup_steps=3),
        lambda p: torch.optim.AdamW(p, weight_decay=0.1, fused=False),
    ),
    "sgd": (
        Tuning(epochs=2, optimiser="sgd", learning_rate=0.05, weight_decay=1e-3, batch_size=64),
        lambda p: torch.optim.SGD(
            p, lr=0.05, momentum=0.9, nesterov=True, weight_decay=1e-3, fused=False
        ),
    ),
    "sgd_with_little_momentum": (
        Tuning(epochs=2, optimiser="sgd", learning_rate=0.05, momentum=0.3, batch_size=64),
        lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.3, nesterov=True, fused=False),
    ),
}


def bare_loop(module, data, wanted, make):
    """Train as anyone would write it, with torch's own schedulers."""
    optimiser = make(module.parameters())
    for group in optimiser.param_groups:
        group["lr"] = wanted.learning_rate
    n_batches = math.ceil(len(data.train) / wanted.batch_size)
    total = wanted.epochs * n_batches
    warmup = wanted.warmup_steps
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, total - warmup)
    losses = []
    for epoch in range(1, wanted.epochs + 1):
        module.train()
        order = torch.randperm(len(data.train), generator=generator(5, "order", epoch))
        for batch, indices in enumerate(order.split(wanted.batch_size)):
            step = (epoch - 1) * n_batches + batch
            if step < warmup:
                optimiser.param_groups[0]["lr"] = wanted.learning_rate * (step + 1) / warmup
            elif step == warmup:
                optimiser.param_groups[0]["lr"] = wanted.learning_rate
            images = (data.train.inputs[indices].float() / 16 - data.train.mean) / data.train.std
            loss = functional.cross_entropy(module(images), data.train.labels[indices])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            if step >= warmup:
                cosine.step()
            losses.append(loss.item())
    return losses


@pytest.mark.parametrize("name", list(OPTIMISERS))
@pytest.mark.parametrize("architecture", ["mlp_digits", "cnn_digits"])
def test_a_run_is_that_of_a_bare_torch_loop(digits, architecture, name):
    wanted, make = OPTIMISERS[name]
    theirs, ours = initial_module(architecture, 3), initial_module(architecture, 3)
    losses = bare_loop(theirs, digits, wanted, make)
    steps = list(finetune(ours, digits, wanted, seed=5))
    batches = [step.loss for step in steps if isinstance(step, BatchProgress)]
    assert batches == pytest.approx(losses, rel=2e-3)
    images, _ = digits.validation.batch(slice(None))
    difference = (ours(images) - theirs.eval()(images)).abs().max()
    assert difference < 0.01 * theirs(images).abs().max()


def test_flips_are_drawn_anew_for_every_batch(digits, monkeypatch):
    seeds = []

    def watched(images, draw):
        seeds.append(draw.initial_seed())
        return images

    monkeypatch.setattr("pruning_core.tuning.finetune.flipped", watched)
    wanted = Tuning(epochs=2, batch_size=64, horizontal_flip=True)
    n_batches = sum(
        isinstance(step, BatchProgress) for step in finetune(fresh(), digits, wanted, seed=1)
    )
    assert len(set(seeds)) == len(seeds) == n_batches


def test_what_is_reported_of_an_epoch_is_what_happened(digits):
    module = fresh()
    wanted = Tuning(epochs=2, batch_size=100, learning_rate=1e-2)
    steps = list(finetune(module, digits, wanted, seed=0))
    first, last = epochs_of(steps)
    kinds = [type(step).__name__ for step in steps]
    assert kinds == ["BatchProgress"] * 3 + ["EpochResult"] + ["BatchProgress"] * 3 + [
        "EpochResult"
    ]
    assert [(step.epoch, step.batch, step.n_batches) for step in steps[:3]] == [
        (1, 1, 3),
        (1, 2, 3),
        (1, 3, 3),
    ]
    weights = [100, 100, 50]
    mean = sum(step.loss * n for step, n in zip(steps[:3], weights, strict=True)) / 250
    assert first.loss == pytest.approx(mean)
    assert (first.epoch, last.epoch, last.n_epochs) == (1, 2, 2)
    assert last.learning_rate == pytest.approx(1e-2 * 0.5 * (1 + math.cos(math.pi * 5 / 6)))
    measured = evaluate(module, digits.validation)
    assert last.validation_accuracy == measured.accuracy
    assert last.validation_loss == pytest.approx(measured.loss, rel=1e-6)
    assert last.accuracy > first.accuracy
    assert 0 < 250 / last.examples_per_second <= last.seconds < 10


def test_the_time_the_caller_takes_is_not_counted(digits):
    seconds = []
    for step in finetune(fresh(), digits, Tuning(epochs=1, batch_size=125), seed=0):
        time.sleep(0.2)
        if isinstance(step, EpochResult):
            seconds.append(250 / step.examples_per_second)
    assert seconds[0] < 0.4


@pytest.mark.parametrize("name", list(OPTIMISERS))
def test_a_resumed_run_ends_with_the_same_bits(digits, name):
    wanted = OPTIMISERS[name][0].model_copy(update={"epochs": 3, "horizontal_flip": True})
    masks = {"fc.weight": torch.rand(10, 144, generator=torch.Generator().manual_seed(1)) > 0.5}

    whole = fresh()
    reference = epochs_of(FineTuner(whole, digits, wanted, seed=9, masks=masks).run())

    interrupted = FineTuner(fresh(), digits, wanted, seed=9, masks=masks)
    saved = io.BytesIO()
    for step in interrupted.run():
        if isinstance(step, EpochResult):
            torch.save(interrupted.state(), saved)
        if step.epoch == 2 and isinstance(step, BatchProgress):
            break  # in the middle of the second epoch
    saved.seek(0)
    state = torch.load(saved, weights_only=True)

    torch.manual_seed(77)  # whatever the global generator did meanwhile
    resumed = fresh()
    tuner = FineTuner(resumed, digits, wanted, seed=9, masks=masks)
    tuner.load_state(state)
    rest = epochs_of(tuner.run())
    assert same_bits(resumed.state_dict(), whole.state_dict())
    assert [step.epoch for step in rest] == [2, 3]
    for mine, theirs in zip(rest, reference[1:], strict=True):
        assert (mine.loss, mine.validation_loss) == (theirs.loss, theirs.validation_loss)


def test_the_wrapper_continues_from_a_state(digits):
    wanted = Tuning(epochs=2, batch_size=64)
    whole = fresh()
    list(finetune(whole, digits, wanted, seed=1))
    tuner = FineTuner(fresh(), digits, wanted, seed=1)
    steps = tuner.run()
    next(step for step in steps if isinstance(step, EpochResult))
    continued = fresh()
    list(finetune(continued, digits, wanted, seed=1, start=tuner.state()))
    assert same_bits(continued.state_dict(), whole.state_dict())


def test_a_state_is_a_copy_and_is_not_taken_within_an_epoch(digits):
    tuner = FineTuner(fresh(), digits, Tuning(epochs=2, batch_size=64), seed=1)
    before = tuner.state()
    kept = copy.deepcopy(before)
    steps = tuner.run()
    next(steps)
    with pytest.raises(ValueError, match="only between epochs"):
        tuner.state()
    list(steps)
    assert same_bits(before["module"], kept["module"])
    assert tuner.state()["epoch"] == 2


@pytest.mark.parametrize(
    "damage",
    [
        lambda state: state.pop("epoch"),
        lambda state: state.update(optimiser=None),
        lambda state: state["module"].pop("fc.weight"),
        lambda state: state["module"].update({"fc.weight": torch.zeros(1)}),
        lambda state: state["optimiser"].update(groups=[]),
    ],
)
def test_a_state_of_another_run_is_refused(digits, damage):
    tuner = FineTuner(fresh(), digits, Tuning(epochs=1), seed=1)
    state = tuner.state()
    damage(state)
    with pytest.raises(RunError, match="does not belong to this run"):
        tuner.load_state(state)


def test_seed_and_global_generator(digits):
    wanted = Tuning(epochs=1, batch_size=64)
    results = []
    for seed, noise in ((1, 0), (1, 5), (2, 0)):
        module = fresh()
        torch.manual_seed(noise)
        before = torch.get_rng_state()
        list(finetune(module, digits, wanted, seed=seed))
        assert torch.equal(torch.get_rng_state(), before)
        results.append(module.state_dict())
    assert same_bits(results[0], results[1])
    assert not same_bits(results[0], results[2])


def test_rounds_number_the_epochs_on_and_draw_anew_but_restart_the_learning_rate(digits):
    wanted = Tuning(epochs=2, batch_size=64)
    plain, second = fresh(), fresh()
    first_epochs = epochs_of(FineTuner(plain, digits, wanted, seed=1).run())
    tuner = FineTuner(second, digits, wanted, seed=1, rounds=Rounds(4, 10))
    epochs = epochs_of(tuner.run())
    assert [(step.epoch, step.n_epochs) for step in epochs] == [(5, 10), (6, 10)]
    assert [step.learning_rate for step in epochs] == [step.learning_rate for step in first_epochs]
    assert not same_bits(plain.state_dict(), second.state_dict())


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_bits_make_the_same_zeros_as_filling(dtype):
    weights = torch.tensor([[1.5, -2.0, 0.0, -0.0], [float("nan"), float("inf"), -1e-30, 3.0]])
    module = nn.Linear(4, 2, dtype=dtype)
    mask = torch.tensor([[True, False, True, False], [False, True, True, False]])
    with torch.no_grad():
        module.weight.copy_(weights)
        expected = module.weight.clone().masked_fill_(~mask, 0.0)
        ((parameter, bits),) = kept_bits(module, {"weight": mask})
        parameter.view(bits.dtype).bitwise_and_(bits)
    assert parameter is module.weight
    assert torch.equal(parameter.view(bits.dtype), expected.view(bits.dtype))
    assert kept_bits(module, {"weight": torch.ones_like(mask)}) == []


@given(seed=st.integers(0, 1000), share=st.floats(0, 1), name=st.sampled_from(list(OPTIMISERS)))
@settings(max_examples=8, deadline=None)
def test_removed_weights_are_exactly_zero_after_every_step(seed, share, name):
    data = load_dataset("digits")
    data = replace(data, train=data.train.first(96), validation=data.validation.first(20))
    module = initial_module("cnn_digits", seed)
    draw = torch.Generator().manual_seed(seed)
    masks = {
        key: torch.rand(value.shape, generator=draw) >= share
        for key, value in module.named_parameters()
        if key in {"conv2.weight", "fc1.weight", "fc1.bias"}
    }
    parameters = dict(module.named_parameters())
    wanted = OPTIMISERS[name][0].model_copy(update={"batch_size": 32, "epochs": 2})
    for _ in finetune(module, data, wanted, seed=seed, masks=masks):
        for key, mask in masks.items():
            assert not parameters[key][~mask].any()
    if share < 0.9:
        assert all(parameters[key][mask].any() for key, mask in masks.items())


def test_masked_weights_are_zeroed_before_the_first_batch(digits):
    module = fresh()
    FineTuner(
        module,
        digits,
        Tuning(epochs=1),
        seed=0,
        masks={"fc.weight": torch.zeros(10, 144, dtype=torch.bool)},
    )
    assert not module.fc.weight.any()


def test_only_the_named_parameters_are_trained_when_asked(digits):
    module = fresh()
    module.fc.bias.requires_grad_(False)
    before = copy.deepcopy(module.state_dict())
    wanted = Tuning(epochs=1, layers="pruned")
    list(finetune(module, digits, wanted, seed=0, pruned_parameters={"conv.weight", "fc.bias"}))
    changed = {
        name
        for name, _ in module.named_parameters()
        if not torch.equal(before[name], module.state_dict()[name])
    }
    assert changed == {"conv.weight", "fc.bias"}
    required = {name: item.requires_grad for name, item in module.named_parameters()}
    assert required.pop("fc.bias") is False
    assert all(required.values())


def test_all_layers_are_trained_but_not_what_the_owner_froze(digits):
    module = fresh()
    module.fc.bias.requires_grad_(False)
    before = module.fc.bias.clone()
    list(finetune(module, digits, Tuning(epochs=1), seed=0, pruned_parameters={"conv.weight"}))
    assert torch.equal(module.fc.bias, before)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"trainable": {"conv.wight"}}, "no parameter 'conv.wight' to train"),
        ({"trainable": ()}, "There is no parameter to train"),
        ({"masks": {"fc": torch.ones(1, dtype=torch.bool)}}, "no parameter 'fc', for which"),
        (
            {"masks": {"fc.bias": torch.ones(9, dtype=torch.bool)}},
            r"is torch.bool \(9,\); it must be torch.bool \(10,\)",
        ),
        ({"masks": {"fc.bias": torch.ones(10)}}, r"is torch.float32 \(10,\)"),
    ],
)
def test_names_and_masks_that_do_not_fit_are_refused(digits, arguments, words):
    with pytest.raises(RunError, match=words):
        FineTuner(fresh(), digits, Tuning(epochs=1), seed=0, **arguments)


def test_closing_or_stopping_leaves_the_module_in_eval_mode_with_ordinary_weights(digits):
    module = fresh()
    steps = finetune(module, digits, Tuning(epochs=3), seed=0)
    next(steps)
    assert module.training
    steps.close()
    assert not any(part.training for part in module.modules())
    assert all(item.requires_grad and item.is_contiguous() for item in module.parameters())
    assert all(item.grad is None for item in module.parameters())

    asked = []
    tuner = FineTuner(module, digits, Tuning(epochs=3, batch_size=64), seed=0)
    with pytest.raises(StoppedError):
        list(tuner.run(lambda: len(asked) >= 2 or asked.append(0)))
    assert not module.training
    assert len(asked) == 2


def test_no_epochs_change_nothing(digits):
    module = fresh()
    before = copy.deepcopy(module.state_dict())
    assert list(finetune(module, digits, Tuning(epochs=0), seed=0)) == []
    assert same_bits(before, module.state_dict())


@pytest.mark.filterwarnings("ignore:invalid value")
def test_a_loss_that_is_no_number_ends_the_run_with_a_sentence(digits):
    wanted = Tuning(epochs=3, optimiser="sgd", learning_rate=10.0, momentum=0.99, batch_size=32)
    module = nn.Sequential(nn.Flatten(), nn.Linear(64, 99), nn.Linear(99, 99), nn.Linear(99, 10))
    with pytest.raises(RunError, match=r"Training failed in epoch 1: the loss is (nan|inf)"):
        list(finetune(module, digits, wanted, seed=0))
    assert not module.training


def test_a_model_for_other_classes_is_refused(digits):
    module = nn.Sequential(nn.Flatten(), nn.Linear(64, 4))
    with pytest.raises(DataError, match="tells 4 classes apart"):
        list(finetune(module, digits, Tuning(epochs=1), seed=0))


def test_flips_of_what_is_no_image_are_refused(digits):
    flat = Split(digits.train.inputs.flatten(1), digits.train.labels, 16.0, 0.0, 1.0)
    with pytest.raises(DataError, match="Horizontal flips need images"):
        FineTuner(
            fresh(), replace(digits, train=flat), Tuning(epochs=1, horizontal_flip=True), seed=0
        )


def test_half_of_the_images_are_mirrored_and_nothing_else_changes():
    images = torch.arange(2000 * 6).reshape(2000, 1, 2, 3)
    result = flipped(images, torch.Generator().manual_seed(0))
    mirrored = (result == images.flip(-1)).all(dim=(1, 2, 3))
    kept = (result == images).all(dim=(1, 2, 3))
    assert (mirrored ^ kept).all()
    assert 900 < mirrored.sum() < 1100


def test_train_samples_are_a_seeded_choice_that_grows_at_its_end(digits):
    def trained_on(n, seed):
        seen = []

        class Spy(nn.Module):
            def __init__(self):
                super().__init__()
                self.fc = nn.Linear(64, 10)

            def forward(self, images):
                if self.training:
                    seen.extend(images.flatten(1).mul(1e6).round().tolist())
                return self.fc(images.flatten(1))

        list(finetune(Spy(), digits, Tuning(epochs=1, train_samples=n), seed=seed))
        return {tuple(image) for image in seen}

    few, more, other = trained_on(40, 1), trained_on(80, 1), trained_on(40, 2)
    assert (len(few), len(more)) == (40, 80)
    assert few < more
    assert few != other
    assert len(trained_on(10_000, 1)) == 250


def test_a_single_sample_left_over_joins_the_last_batch(digits):
    data = replace(digits, train=digits.train.first(65))
    steps = list(finetune(fresh(), data, Tuning(epochs=1, batch_size=32), seed=0))
    assert [step.n_batches for step in steps if isinstance(step, BatchProgress)] == [2, 2]


def test_one_sample_is_not_trained_on(digits):
    with pytest.raises(DataError, match="at least two samples"):
        FineTuner(fresh(), replace(digits, train=digits.train.first(1)), Tuning(epochs=1), seed=0)


def test_the_learning_rate_warms_up_and_falls_to_zero_or_stays():
    wanted = Tuning(learning_rate=2.0, warmup_steps=4)
    rates = [learning_rate(wanted, step, 12) for step in range(13)]
    assert rates[:5] == [0.5, 1.0, 1.5, 2.0, 2.0]
    assert rates[8] == pytest.approx(1.0)
    assert rates[12] == pytest.approx(0.0)
    constant = Tuning(learning_rate=2.0, learning_rate_schedule="constant")
    assert {learning_rate(constant, step, 12) for step in range(12)} == {2.0}
    assert learning_rate(Tuning(learning_rate=2.0, warmup_steps=50), 1, 2) == 2.0


def test_draws_differ_by_purpose_and_place_and_repeat():
    places = [(1, "order", 1), (1, "order", 2), (1, "flip", 1), (2, "order", 1), (1, "flip", 1, 1)]
    draws = {tuple(torch.randperm(50, generator=generator(*place)).tolist()) for place in places}
    assert len(draws) == 5
    with seeded_globally(3, "dropout", 1):
        first = torch.rand(3)
    with seeded_globally(3, "dropout", 1):
        assert torch.equal(torch.rand(3), first)


def test_recalibration_gives_the_mean_statistics_of_the_batches(digits):
    module = fresh().train()
    module.norm.eval()
    module.norm.running_mean.fill_(99.0)
    weights = copy.deepcopy(dict(module.named_parameters()))
    assert recalibrate_batchnorm(module, digits.train, n_samples=200, batch_size=50)
    features = [module.conv(digits.train.batch(slice(i, i + 50))[0]) for i in range(0, 200, 50)]
    mean = torch.stack([item.mean((0, 2, 3)) for item in features]).mean(0)
    variance = torch.stack([item.var((0, 2, 3)) for item in features]).mean(0)
    assert torch.allclose(module.norm.running_mean, mean, atol=1e-5)
    assert torch.allclose(module.norm.running_var, variance, rtol=1e-4)
    assert module.norm.num_batches_tracked == 4
    assert module.norm.momentum == 0.1
    assert (module.training, module.norm.training, module.dropout.training) == (True, False, True)
    assert same_bits(weights, dict(module.named_parameters()))


def test_recalibration_of_a_network_without_batch_norm_does_nothing(digits):
    module = initial_module("mlp_digits", 0)
    before = copy.deepcopy(module.state_dict())
    assert not recalibrate_batchnorm(module, digits.train)
    assert same_bits(before, module.state_dict())


def test_recalibration_brings_back_what_ruined_statistics_cost():
    data = load_dataset("digits")
    module = load_model("bundled:cnn_digits").module
    dense = evaluate(module, data.validation).accuracy
    module.bn1.running_mean += 3
    module.bn2.running_var *= 50
    assert evaluate(module, data.validation).accuracy < 0.6
    recalibrate_batchnorm(module, data.train)
    assert evaluate(module, data.validation).accuracy > dense - 0.02


def test_few_samples_make_one_incomplete_batch(digits):
    module = fresh()
    recalibrate_batchnorm(module, digits.train, n_samples=30)
    assert module.norm.num_batches_tracked == 1
