"""Distillation: the loss against torch's own, cached answers, matched features, whole runs."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from pruning_core.errors import RunError, UnknownNameError
from pruning_core.loading.dataset import load_dataset
from pruning_core.loading.model import initial_module, load_model
from pruning_core.planning.recipe import Distillation, Ratio, Recipe, Schedule, Tuning
from pruning_core.runs.checkpoint import Checkpoint
from pruning_core.runs.pipeline import execute
from pruning_core.tasks.registry import CLASSIFICATION
from pruning_core.tuning.distilling import Teacher
from pruning_core.tuning.draws import generator
from pruning_core.tuning.finetune import BatchProgress, FineTuner
from tests.core.far_device import FAR, FarDevice
from tests.core.test_runs_pipeline import carried_out, of_kind, weights


@pytest.fixture(scope="module")
def digits():
    data = load_dataset("digits")
    return replace(data, train=data.train.first(150), validation=data.validation.first(40))


def losses(tuner) -> list[float]:
    return [step.loss for step in tuner.run() if isinstance(step, BatchProgress)]


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
def test_the_softened_loss_is_torchs_divergence_times_the_square(temperature):
    draw = torch.Generator().manual_seed(0)
    student, teacher = (torch.randn(7, 5, generator=draw, dtype=torch.float64) for _ in range(2))
    divergence = functional.kl_div(
        (student / temperature).log_softmax(1),
        (teacher / temperature).softmax(1),
        reduction="batchmean",
    )
    found = CLASSIFICATION.imitation(student, teacher, temperature)
    assert found.item() == pytest.approx(temperature**2 * divergence.item())
    by_hand = sum(
        p * torch.log(p / q)
        for one, other in zip(teacher, student, strict=True)
        for p, q in zip(
            (one / temperature).softmax(0), (other / temperature).softmax(0), strict=True
        )
    )
    assert found.item() == pytest.approx(temperature**2 * by_hand.item() / 7)
    same = CLASSIFICATION.imitation(teacher, teacher, temperature)
    assert same.item() == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("augmented", [False, True])
def test_a_step_minimises_labels_and_answers_in_their_shares(digits, augmented):
    wanted = Distillation(temperature=3.0, alpha=0.7)
    settings = Tuning(
        epochs=2, batch_size=50, optimiser="sgd", momentum=0.0, learning_rate=0.05,
        learning_rate_schedule="constant", distillation=wanted, horizontal_flip=augmented,
    )  # fmt: skip
    dense = load_model("bundled:mlp_digits").module
    ours, theirs = initial_module("mlp_digits", 3), initial_module("mlp_digits", 3)
    before = copy.deepcopy(dense.state_dict())
    tuner = FineTuner(ours, digits, settings, seed=5)
    tuner.learn_from(Teacher(dense, wanted), {})
    found = losses(tuner)
    optimiser, expected = torch.optim.SGD(theirs.parameters(), lr=0.05), []
    theirs.train()
    for epoch in (1, 2):
        order = torch.randperm(150, generator=generator(5, "order", epoch))
        for batch, indices in enumerate(order.split(50)):
            images, labels = digits.train.batch(indices)
            if augmented:
                mirrored = torch.rand(50, generator=generator(5, "flip", epoch, batch)) < 0.5
                images[mirrored] = images[mirrored].flip(-1)
            with torch.no_grad():
                answers = (dense(images) / 3).softmax(1)
            logits = theirs(images)
            soft = functional.kl_div((logits / 3).log_softmax(1), answers, reduction="batchmean")
            loss = 0.3 * functional.cross_entropy(logits, labels) + 0.7 * 9 * soft
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            expected.append(loss.item())
    assert found == pytest.approx(expected, rel=1e-4)
    assert all(torch.equal(before[name], item) for name, item in dense.state_dict().items())


def test_the_teacher_answers_each_sample_once_unless_images_change(digits):
    for flip, n_expected in ((False, 150), (True, 3 * 150)):
        dense, seen = load_model("bundled:mlp_digits").module, []
        handle = dense.register_forward_hook(
            lambda _m, inputs, _o, seen=seen: seen.append(len(inputs[0]))
        )
        wanted = Distillation()
        settings = Tuning(epochs=3, batch_size=50, distillation=wanted, horizontal_flip=flip)
        tuner = FineTuner(initial_module("mlp_digits", 3), digits, settings, seed=5)
        tuner.learn_from(Teacher(dense, wanted), {})
        losses(tuner)
        handle.remove()
        assert sum(seen) == n_expected


class Narrow(nn.Module):
    """A convolution and a reader; ``keep`` channels of eight."""

    def __init__(self, keep=None):
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.conv = nn.Conv2d(1, 8, 3)
            self.fc = nn.Linear(8, 10)
        if keep is not None:
            full = self.conv
            self.conv = nn.Conv2d(1, len(keep), 3)
            self.conv.load_state_dict(
                {name: item[keep] for name, item in full.state_dict().items()}
            )
            wide = self.fc
            self.fc = nn.Linear(len(keep), 10)
            self.fc.load_state_dict({"weight": wide.weight[:, keep], "bias": wide.bias})

    def forward(self, images):
        return self.fc(functional.relu(self.conv(images)).mean(dim=(2, 3)))


def feature_tuner(digits, dense, student, kept):
    wanted = Distillation(alpha=0.0, features=("conv",), feature_weight=2.0)
    plain = Tuning(epochs=1, batch_size=150, optimiser="sgd", momentum=0.0, learning_rate=1e-6)
    settings = plain.model_copy(update={"distillation": wanted})
    tuner = FineTuner(student, digits, settings, seed=5)
    tuner.learn_from(Teacher(dense, wanted), kept)
    return tuner


def test_features_are_matched_at_the_units_that_stayed(digits):
    keep = np.array([1, 4, 6])
    dense, student = Narrow(), Narrow(keep)
    kept = {
        "conv.weight": (keep, None, None, None),
        "conv.bias": (keep,),
        "fc.weight": (None, keep),
    }
    images, labels = digits.train.batch(slice(None))
    hard = functional.cross_entropy(student(images), labels).item()
    (loss,) = losses(feature_tuner(digits, dense, student, kept))
    assert loss == pytest.approx(hard, rel=1e-4)  # the features are still those of the dense one
    with torch.no_grad():
        student.conv.bias += 0.5
    hard = functional.cross_entropy(student(images), labels).item()
    (loss,) = losses(feature_tuner(digits, dense, student, kept))
    assert loss == pytest.approx(hard + 2.0 * 0.25, rel=1e-3)
    assert not student.conv._forward_hooks
    assert not dense.conv._forward_hooks


def test_features_that_cannot_be_matched_are_refused(digits):
    with pytest.raises(
        RunError, match=r"'conv' cannot be matched.*\(150, 8, 6, 6\).*\(150, 3, 6, 6\)"
    ):
        losses(feature_tuner(digits, Narrow(), Narrow(np.array([0, 1, 2])), {}))
    with pytest.raises(UnknownNameError, match=r"No layer to match is called 'conv9'"):
        Teacher(Narrow(), Distillation(features=("conv9",)))
    with pytest.raises(RunError, match="the pruned network no longer has it"):
        losses(feature_tuner(digits, Narrow(), nn.Sequential(nn.Flatten(), nn.Linear(64, 10)), {}))


def test_the_teacher_teaches_on_an_accelerator_as_well(digits):
    found = []
    for device in (torch.device("cpu"), FAR):
        dense, student = Narrow(), Narrow()
        with FarDevice():
            dense.to(device)
            student.to(device)
            for features in ((), ("conv",)):
                wanted = Distillation(features=features)
                settings = Tuning(epochs=1, batch_size=50, distillation=wanted)
                tuner = FineTuner(student, digits, settings, seed=5)
                tuner.learn_from(Teacher(dense, wanted), {})
                found.append(losses(tuner))
    assert found[0] == pytest.approx(found[2], rel=1e-3)
    assert found[1] == pytest.approx(found[3], rel=1e-3)


def recipe(**changes) -> Recipe:
    distillation = Distillation(features=("conv1", "conv2"), feature_weight=0.1)
    return Recipe(
        model="bundled:cnn_digits",
        granularity="unit",
        target=Ratio(value=0.5),
        schedule=Schedule(rounds=2),
        tuning=Tuning(epochs=1, train_samples=300, distillation=distillation),
    ).replace(**changes)


@pytest.mark.parametrize("features", [(), ("conv1", "conv2")])
def test_a_run_learns_from_the_dense_network_and_resumes_to_the_same_bits(features):
    tuning = recipe().tuning.model_dump()
    tuning["distillation"]["features"] = features
    events, whole = carried_out(recipe(tuning=tuning))
    _, plain = carried_out(recipe(tuning=tuning | {"distillation": None}))
    assert weights(whole) != weights(plain)
    for point in of_kind(events, Checkpoint):
        _, result = carried_out(recipe(tuning=tuning), resume=point)
        assert weights(result) == weights(whole)


def test_names_of_layers_to_match_are_checked_before_the_long_work():
    tuning = Tuning(distillation=Distillation(features=("conv7",)))
    with pytest.raises(UnknownNameError, match="No layer to match is called 'conv7'"):
        list(execute(recipe(tuning=tuning)))
