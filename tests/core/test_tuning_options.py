"""Options of fine-tuning: rates, smoothing, clipping, augmentation, stopping, best, freezing."""

import copy
import io
import math
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn import functional

from pruning_core import devices
from pruning_core.errors import DataError, InvalidRecipeError, RunError, UnknownNameError
from pruning_core.evaluation.evaluate import evaluate
from pruning_core.loading.dataset import Split, load_dataset
from pruning_core.loading.model import initial_module
from pruning_core.planning.recipe import Recipe, Tuning
from pruning_core.tuning.augmentations import AUGMENTATIONS
from pruning_core.tuning.averaging import WeightAverage, share_kept
from pruning_core.tuning.draws import generator
from pruning_core.tuning.finetune import BatchProgress, EpochResult, FineTuner, Rounds, finetune
from pruning_core.tuning.schedules import learning_rate
from pruning_core.tuning.watch import Watch

schedulers = torch.optim.lr_scheduler


@pytest.fixture(scope="module")
def digits():
    data = load_dataset("digits")
    return replace(data, train=data.train.first(250), validation=data.validation.first(60))


def rates_of_torch(make, n_steps):
    optimiser = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.5)
    scheduler = make(optimiser)
    rates = []
    for _ in range(n_steps):
        rates.append(optimiser.param_groups[0]["lr"])
        optimiser.step()
        scheduler.step()
    return rates


def rates(n_steps, **settings):
    wanted = Tuning(learning_rate=0.5, **settings)
    return [learning_rate(wanted, step, n_steps) for step in range(n_steps)]


def test_cosine_is_that_of_torch():
    expected = rates_of_torch(lambda it: schedulers.CosineAnnealingLR(it, 20), 20)
    assert rates(20) == pytest.approx(expected)


@pytest.mark.parametrize("n_steps", [1, 2, 7, 40, 1000])
def test_one_cycle_is_that_of_torch(n_steps):
    expected = rates_of_torch(
        lambda it: schedulers.OneCycleLR(it, 0.5, n_steps, cycle_momentum=False), n_steps
    )
    found = rates(n_steps, learning_rate_schedule="one_cycle")
    if n_steps > 3:  # torch divides by zero or starts beyond the top in the shortest ones
        assert found == pytest.approx(expected)
    assert max(found) <= 0.5
    assert min(found) >= 0


def test_one_cycle_rises_over_the_warm_up_steps_when_there_are_some():
    expected = rates_of_torch(
        lambda it: schedulers.OneCycleLR(it, 0.5, 40, pct_start=0.25, cycle_momentum=False), 40
    )
    found = rates(40, learning_rate_schedule="one_cycle", warmup_steps=10)
    assert found == pytest.approx(expected)
    assert found[9] == 0.5


def test_steps_are_those_of_torch_epoch_by_epoch():
    every = rates_of_torch(lambda it: schedulers.StepLR(it, 2, 0.3), 7)
    named = rates_of_torch(lambda it: schedulers.MultiStepLR(it, [1, 4], 0.3), 7)
    shape = {"learning_rate_schedule": "step", "step_factor": 0.3, "epochs": 7}
    assert rates(35, step_every=2, **shape)[::5] == pytest.approx(every)
    assert rates(35, step_every=2, **shape)[4::5] == pytest.approx(every)
    assert rates(35, step_milestones=(1, 4), **shape)[::5] == pytest.approx(named)
    warm = rates(35, step_every=2, warmup_steps=5, **shape)
    assert warm[:5] == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.5])
    assert warm[5:] == rates(35, step_every=2, **shape)[5:]


def test_milestones_that_do_not_rise_are_refused():
    with pytest.raises(InvalidRecipeError, match="each epoch must be later"):
        Recipe(model="bundled:mlp_digits").replace(tuning={"step_milestones": (3, 3)})


def test_what_came_later_leaves_the_fingerprints_of_older_recipes_alone():
    # Written down from the version before these settings existed.
    old = "3d34fdfff9a7c0b1bc2796c5ec264237d366c7937d2a2c9d079e710798f82976"
    recipe = Recipe(model="bundled:x")
    assert recipe.fingerprint == old
    for change in ({"label_smoothing": 0.1}, {"augmentations": {"crop": 2.0}}, {"patience": 3}):
        assert recipe.replace(tuning=change).fingerprint != old


def test_equal_recipes_are_equal_also_after_their_parts_were_asked_for():
    one, same = Recipe(model="bundled:x"), Recipe(model="bundled:x")
    assert one.parts.keys() == same.parts.keys()
    assert one == same
    assert one != same.replace(seed=1)


def test_label_smoothing_and_clipping_are_those_of_torch(digits):
    wanted = Tuning(
        epochs=1, batch_size=50, optimiser="sgd", momentum=0.0, learning_rate=0.3,
        learning_rate_schedule="constant", label_smoothing=0.2, gradient_clip=0.05,
    )  # fmt: skip
    theirs, ours = initial_module("mlp_digits", 3), initial_module("mlp_digits", 3)
    optimiser = torch.optim.SGD(theirs.parameters(), lr=0.3)
    losses, norms = [], []
    order = torch.randperm(250, generator=generator(5, "order", 1))
    theirs.train()
    for indices in order.split(50):
        images, labels = digits.train.batch(indices)
        share = torch.full((50, 10), 0.2 / 10)
        share[torch.arange(50), labels] += 0.8
        loss = -(share * functional.log_softmax(theirs(images), dim=1)).sum(dim=1).mean()
        optimiser.zero_grad()
        loss.backward()
        length = torch.sqrt(sum((item.grad**2).sum() for item in theirs.parameters()))
        for item in theirs.parameters():
            item.grad *= min(1.0, 0.05 / (length.item() + 1e-6))
        optimiser.step()
        losses.append(loss.item())
        norms.append(length.item())
    found = [s.loss for s in finetune(ours, digits, wanted, seed=5) if isinstance(s, BatchProgress)]
    assert min(norms) > 0.05
    assert found == pytest.approx(losses, rel=1e-4)
    for name, item in ours.named_parameters():
        assert torch.allclose(item, dict(theirs.named_parameters())[name], atol=1e-5)


def drawn(key, images, strength, seed=0, black=-1.0):
    return AUGMENTATIONS[key].change(images, strength, generator(seed, key), black)


def test_crops_are_windows_of_the_padded_image_and_all_of_them_occur():
    images = torch.arange(1.0, 13).reshape(1, 1, 3, 4).repeat(400, 2, 1, 1)
    padded = functional.pad(images[0], (1, 1, 1, 1), value=-1.0)
    windows = [padded[:, y : y + 3, x : x + 4] for y in range(3) for x in range(3)]
    found = [
        [torch.equal(window, image) for window in windows].index(True)
        for image in drawn("crop", images, 1)
    ]
    assert set(found) == set(range(9))


def test_cutout_hides_one_square_that_may_lie_over_the_edge():
    images = torch.ones(500, 3, 6, 8)
    hidden = drawn("cutout", images, 3) == 0
    assert (hidden == hidden[:, :1]).all()
    areas = hidden[:, 0].sum(dim=(1, 2))
    assert set(areas.tolist()) == {4, 6, 9}
    for mask in hidden[:, 0]:
        rows, columns = mask.any(1).nonzero().flatten(), mask.any(0).nonzero().flatten()
        assert mask.sum() == len(rows) * len(columns)
        assert rows[-1] - rows[0] == len(rows) - 1
        assert columns[-1] - columns[0] == len(columns) - 1


def test_turning_by_a_right_angle_moves_the_pixels_there(monkeypatch):
    images = torch.rand(200, 1, 5, 5)
    turned = drawn("rotation", images, 180)
    assert turned.shape == images.shape
    middle = (turned - images)[:, :, 2, 2].abs().max()
    assert middle < 1e-5  # the centre stays

    monkeypatch.setattr(torch, "rand", lambda n, generator: torch.ones(n))  # the highest angle
    found = drawn("rotation", images, 90)
    wide = drawn("rotation", torch.ones(1, 1, 4, 8), 90)
    assert torch.allclose(found, torch.rot90(images, 1, (2, 3)), atol=1e-5) or torch.allclose(
        found, torch.rot90(images, -1, (2, 3)), atol=1e-5
    )
    # A 4 x 8 image on its side: its 4 x 4 middle is covered, what is left and right is black.
    assert torch.allclose(wide[..., 2:6], torch.ones(1, 1, 4, 4), atol=1e-4)
    assert torch.allclose(wide[..., [0, 7]], torch.full((1, 1, 4, 2), -1.0), atol=1e-4)


@pytest.mark.parametrize("key", list(AUGMENTATIONS))
def test_an_augmentation_changes_images_by_seed_epoch_and_batch_alone(digits, key):
    entry = AUGMENTATIONS[key]
    assert entry.key == key
    assert 0 < entry.usual <= entry.high
    images, _ = digits.train.batch(slice(0, 40))
    kept = images.clone()
    one, same = (drawn(key, images, entry.usual) for _ in range(2))
    assert torch.equal(images, kept)
    assert torch.equal(one, same)
    assert one.shape == images.shape
    assert not torch.equal(one, drawn(key, images, entry.usual, seed=1))
    wanted = Tuning(epochs=1, batch_size=64, augmentations={key: entry.usual})
    plain, changed = initial_module("mlp_digits", 3), initial_module("mlp_digits", 3)
    list(finetune(plain, digits, wanted.model_copy(update={"augmentations": {}}), seed=1))
    list(finetune(changed, digits, wanted, seed=1))
    assert not torch.equal(plain.state_dict()["fc1.weight"], changed.state_dict()["fc1.weight"])


def test_augmentations_that_do_not_exist_or_fit_are_refused(digits):
    module = initial_module("mlp_digits", 0)

    def tuner(data=digits, **augmentations):
        return FineTuner(module, data, Tuning(augmentations=augmentations), seed=0)

    with pytest.raises(UnknownNameError, match=r"No augmentation is called 'crops'.*'crop'"):
        tuner(crops=2)
    with pytest.raises(InvalidRecipeError, match=r"crop is 1.5; it must be a whole number"):
        tuner(crop=1.5)
    with pytest.raises(InvalidRecipeError, match=r"rotation is 200.*above 0 and at most 180"):
        tuner(rotation=200)
    flat = Split(digits.train.inputs.flatten(1), digits.train.labels, 16.0, 0.0, 1.0)
    with pytest.raises(DataError, match=r"Augmentations \(crop\) need images"):
        tuner(replace(digits, train=flat), crop=2)


def watched(values, **settings):
    watch = Watch(Tuning(**settings))
    for epoch, value in enumerate(values, 1):
        is_loss = settings.get("watched", "loss") == "loss"
        loss, accuracy = (value, 0.0) if is_loss else (0.0, value)
        watch.note(epoch, loss, accuracy, lambda at=epoch: {"at": torch.tensor(at)})
        if watch.gave_up:
            return epoch, watch
    return None, watch


def test_patience_counts_epochs_without_a_real_improvement():
    losses = [1.0, 0.85, 0.8, 0.78, 0.76, 0.6]
    assert watched(losses, patience=2)[0] is None
    assert watched(losses, patience=2, min_delta=0.1)[0] == 4
    assert watched(losses, patience=3, min_delta=0.1)[0] == 5
    assert watched([1.0, 0.9, 0.8, 0.84, 0.83, 0.7], patience=2)[0] == 5
    assert watched([0.5, 0.6, 0.6, 0.6], patience=2, watched="accuracy")[0] == 4
    assert watched([math.nan, math.nan, 0.1], patience=1)[0] == 2


def test_the_first_of_the_best_epochs_is_kept_and_said():
    _, watch = watched([0.9, 0.5, 0.7, 0.5], restore_best=True)
    assert watch.best_weights == {"at": torch.tensor(2)}
    assert watch.remarks == (
        "The weights of epoch 2 are kept: its validation loss was the best, 0.5000.",
    )
    _, watch = watched([0.9, 0.95, 0.9], restore_best=True, watched="accuracy", patience=1)
    assert watch.remarks == (
        "Fine-tuning stopped after epoch 3: the validation accuracy had not improved for 1 epoch.",
        "The weights of epoch 2 are kept: its validation accuracy was the best, 95.00 %.",
    )
    assert watched([0.9, 0.5])[1].best_weights is None


def noisy(digits, **changes):
    """Settings and data with which the best epoch is not the last."""
    settings = Tuning(
        **{"epochs": 8, "batch_size": 32, "learning_rate": 0.1, "optimiser": "adam",
           "learning_rate_schedule": "constant"} | changes
    )  # fmt: skip
    return replace(digits, train=digits.train.first(96)), settings


def test_the_weights_of_the_best_epoch_are_handed_on_also_after_a_resume(digits):
    data, settings = noisy(digits, restore_best=True)
    whole = initial_module("mlp_digits", 3)
    tuner = FineTuner(whole, data, settings, seed=2)
    states, losses, weights = [], [], []
    for step in tuner.run():
        if isinstance(step, EpochResult):
            saved = io.BytesIO()
            torch.save(tuner.state(), saved)
            states.append(saved.getvalue())
            losses.append(step.validation_loss)
            weights.append(copy.deepcopy(whole.state_dict()))
    best = min(range(8), key=losses.__getitem__)
    assert best < 7
    assert all(torch.equal(whole.state_dict()[name], weights[best][name]) for name in weights[0])
    assert f"epoch {best + 1} are kept" in tuner.remarks[0]
    for state in states:
        resumed = initial_module("mlp_digits", 3)
        again = FineTuner(resumed, data, settings, seed=2)
        again.load_state(torch.load(io.BytesIO(state), weights_only=True))
        list(again.run())
        assert all(torch.equal(resumed.state_dict()[n], whole.state_dict()[n]) for n in weights[0])
        assert again.remarks == tuner.remarks


def test_an_early_end_is_the_same_after_a_resume(digits):
    data, settings = noisy(digits, patience=2, epochs=50)
    tuner = FineTuner(initial_module("mlp_digits", 3), data, settings, seed=2)
    states, epochs = [], []
    for step in tuner.run():
        if isinstance(step, EpochResult):
            states.append(tuner.state())
            epochs.append(step.epoch)
    assert 2 < len(epochs) < 50
    for done, state in enumerate(states, 1):
        again = FineTuner(initial_module("mlp_digits", 3), data, settings, seed=2)
        again.load_state(state)
        rest = [step.epoch for step in again.run() if isinstance(step, EpochResult)]
        assert rest == epochs[done:]
        assert again.remarks == tuner.remarks


def test_frozen_layers_keep_weights_and_statistics(digits):
    module = initial_module("cnn_digits", 3)
    before = copy.deepcopy(module.state_dict())
    wanted = Tuning(epochs=1, batch_size=64, freeze=("conv1", "bn1", "fc2"))
    list(finetune(module, digits, wanted, seed=0))
    changed = {n for n, item in module.state_dict().items() if not torch.equal(before[n], item)}
    assert {name.partition(".")[0] for name in changed} == {
        name.partition(".")[0] for name in before
    } - {"conv1", "bn1", "fc2"}
    assert all(item.requires_grad for item in module.parameters())


def test_layers_to_freeze_that_do_not_exist_are_refused(digits):
    module = initial_module("cnn_digits", 3)
    with pytest.raises(UnknownNameError, match=r"is called .conv..*conv1, conv2"):
        FineTuner(module, digits, Tuning(freeze=("conv",)), seed=0)
    owners = tuple({name.partition(".")[0] for name, _ in module.named_parameters()})
    with pytest.raises(RunError, match="or freeze fewer"):
        FineTuner(module, digits, Tuning(freeze=owners), seed=0)


def test_mixed_precision_computes_layers_in_bfloat16_and_keeps_float32_weights(digits, monkeypatch):
    monkeypatch.setattr(devices, "supports_bfloat16", lambda device: True)
    module = initial_module("mlp_digits", 3)
    kinds = set()
    module.fc1.register_forward_hook(
        lambda part, inputs, output: kinds.add((part.training, output.dtype))
    )
    steps = list(finetune(module, digits, Tuning(epochs=2, precision="bfloat16"), seed=0))
    assert kinds == {(True, torch.bfloat16), (False, torch.float32)}
    assert {item.dtype for item in module.parameters()} == {torch.float32}
    first, last = (step for step in steps if isinstance(step, EpochResult))
    assert last.loss < first.loss


def test_the_average_of_weights_is_worked_out_by_hand():
    layer = nn.Sequential(nn.Linear(1, 1, bias=False), nn.BatchNorm1d(1))
    weight, statistics = layer[0].weight, layer[1].running_mean
    with torch.no_grad():
        weight.fill_(1.0)
        average = WeightAverage(layer, 0.15)
        for value in (2.0, 4.0):
            weight.fill_(value)
            statistics.fill_(10 * value)
            layer[1].num_batches_tracked += 1
            average.update()
    # 1/10 of 1 and 9/10 of 2; then 2/11 would stay of that, but 0.15 is less.
    with average.in_place():
        assert weight.item() == pytest.approx(0.15 * 1.9 + 0.85 * 4.0)
        assert statistics.item() == pytest.approx(0.15 * 18.0 + 0.85 * 40.0)
        assert layer[1].num_batches_tracked == 2
    assert (weight.item(), statistics.item()) == (4.0, 40.0)
    assert [share_kept(0.999, n) for n in (0, 1, 8, 10**6)] == [1 / 10, 2 / 11, 1 / 2, 0.999]


def test_a_run_hands_on_the_average_of_torch_and_validates_it(digits):
    settings = Tuning(epochs=2, batch_size=50, learning_rate=0.01, average_decay=0.9)
    module = initial_module("cnn_digits", 3)
    name, owner = next((n, p) for n, p in module.named_parameters() if p.ndim == 4)
    mask = torch.rand(owner.shape, generator=torch.Generator().manual_seed(1)) > 0.5
    tuner = FineTuner(module, digits, settings, seed=2, masks={name: mask})
    theirs = torch.optim.swa_utils.AveragedModel(
        module,
        avg_fn=lambda mean, now, n: mean + (now - mean) * (1 - min(0.9, int(n) / (9 + int(n)))),
        use_buffers=True,
    )
    theirs.update_parameters(module)
    accuracies = []
    for step in tuner.run():
        if isinstance(step, BatchProgress):
            theirs.update_parameters(module)
        else:
            expected = evaluate(copy.deepcopy(theirs.module), digits.validation)
            accuracies.append((step.validation_loss, expected.loss))
    for ours, wanted in accuracies:
        assert ours == pytest.approx(wanted, rel=1e-4)
    for key, value in theirs.module.state_dict().items():
        if value.is_floating_point():
            assert torch.allclose(module.state_dict()[key], value, atol=1e-5), key
    assert not module.get_parameter(name)[~mask].any()


@pytest.mark.parametrize("restore_best", [False, True])
def test_an_average_ends_with_the_same_bits_after_a_resume(digits, restore_best):
    data, settings = noisy(digits, epochs=3, average_decay=0.9, restore_best=restore_best)
    whole = initial_module("cnn_digits", 3)
    tuner = FineTuner(whole, data, settings, seed=2)
    saved = io.BytesIO()
    for step in tuner.run():
        if isinstance(step, EpochResult) and step.epoch == 1:
            torch.save(tuner.state(), saved)
    saved.seek(0)
    resumed = initial_module("cnn_digits", 3)
    again = FineTuner(resumed, data, settings, seed=2)
    again.load_state(torch.load(saved, weights_only=True))
    list(again.run())
    wanted = whole.state_dict()
    assert all(torch.equal(item, wanted[name]) for name, item in resumed.state_dict().items())


def test_only_what_is_handed_on_is_an_average(digits):
    """A gradual round in the middle of a training goes on with its own weights."""
    weights = []
    for decay in (None, 0.9):
        settings = Tuning(epochs=1, batch_size=50, average_decay=decay)
        for is_last in (False, True):
            module = initial_module("mlp_digits", 3)
            rounds = Rounds(0, 2, gradual=True, is_last=is_last)
            list(FineTuner(module, digits, settings, seed=2, rounds=rounds).run())
            weights.append(next(module.parameters()).detach().clone())
    assert torch.equal(weights[0], weights[2])
    assert not torch.equal(weights[1], weights[3])
