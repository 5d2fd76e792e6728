"""Devices: chosen by name, refused with a sentence, and never mixed with the processor."""

import ast
import copy
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from pruning_core import devices
from pruning_core.devices import check_precision, chosen_device, device_of, placed
from pruning_core.errors import RunError
from pruning_core.evaluation.evaluate import evaluate, right_answers
from pruning_core.loading.dataset import load_dataset
from pruning_core.loading.model import initial_module
from pruning_core.planning.recipe import Tuning
from pruning_core.tuning.batchnorm import recalibrate_batchnorm
from pruning_core.tuning.finetune import EpochResult, FineTuner
from tests.core.far_device import FAR, FarDevice, FarTensor

CORE = Path(devices.__file__).parent


@pytest.fixture(scope="module")
def digits():
    data = load_dataset("digits")
    return replace(data, train=data.train.first(130), validation=data.validation.first(60))


def test_the_name_the_variable_and_auto_choose(monkeypatch):
    monkeypatch.delenv("PRUNING_STUDIO_DEVICE", raising=False)
    monkeypatch.setattr(devices, "available", lambda: ("cuda", "cpu"))
    assert chosen_device().type == chosen_device("auto").type == "cuda"
    assert chosen_device("cpu").type == "cpu"
    monkeypatch.setenv("PRUNING_STUDIO_DEVICE", "cpu")
    assert chosen_device().type == "cpu"
    assert chosen_device("cuda").type == "cuda"


def test_devices_that_do_not_exist_or_are_not_here_are_refused(monkeypatch):
    monkeypatch.setattr(devices, "available", lambda: ("cpu",))
    with pytest.raises(RunError, match=r"'gpu' is no device. Choose one of auto, cpu, cuda, mps"):
        chosen_device("gpu")
    with pytest.raises(RunError, match=r"has no device 'cuda'. Choose one of cpu, or auto"):
        chosen_device("cuda")
    assert chosen_device("auto").type == "cpu"


def test_mixed_precision_is_refused_where_the_processor_has_no_instructions(monkeypatch):
    monkeypatch.setattr(devices, "supports_bfloat16", lambda device: False)
    check_precision("float32", torch.device("cpu"))
    with pytest.raises(RunError, match=r"does not pay on the device 'cpu'.*to float32"):
        check_precision("bfloat16", torch.device("cpu"))


@pytest.mark.filterwarnings("ignore:for .*copying from a non-meta parameter")
@pytest.mark.parametrize(
    "options",
    [
        {"optimiser": "adam", "weight_decay": 1e-3, "gradient_clip": 0.5, "label_smoothing": 0.1},
        {"optimiser": "sgd", "learning_rate": 0.05, "horizontal_flip": True, "restore_best": True},
        {"optimiser": "adamw", "augmentations": {"crop": 2, "cutout": 3, "rotation": 20}},
    ],
)
def test_training_on_an_accelerator_gives_what_the_processor_gives(digits, options):
    wanted = Tuning(epochs=2, batch_size=64, **options)
    near, far = initial_module("cnn_digits", 3), initial_module("cnn_digits", 3)
    masks = {"fc1.weight": torch.rand(near.fc1.weight.shape) > 0.5}
    expected = [
        step
        for step in FineTuner(near, digits, wanted, seed=5, masks=masks).run()
        if isinstance(step, EpochResult)
    ]
    with FarDevice(), placed(far, FAR):
        assert all(isinstance(item, FarTensor) for item in far.parameters())
        first = FineTuner(far, digits, wanted, seed=5, masks=masks)
        steps = first.run()
        found = [next(step for step in steps if isinstance(step, EpochResult))]
        state = copy.deepcopy(first.state())
        assert not any(isinstance(item, FarTensor) for item in state["module"].values())
        steps.close()
        tuner = FineTuner(far, digits, wanted, seed=5, masks=masks)
        tuner.load_state(state)
        found += [step for step in tuner.run() if isinstance(step, EpochResult)]
    assert device_of(far).type == "cpu"
    for mine, theirs in zip(found, expected, strict=True):
        assert mine.loss == pytest.approx(theirs.loss, rel=1e-3)
        assert mine.validation_loss == pytest.approx(theirs.validation_loss, rel=1e-3)
    for name, tensor in far.state_dict().items():
        if name not in {"conv1.bias", "conv2.bias"}:  # a batch norm takes them away again
            assert torch.allclose(tensor.float(), near.state_dict()[name].float(), atol=2e-3), name
    assert not far.fc1.weight[~masks["fc1.weight"]].any()


def test_measuring_and_recalibrating_follow_the_module(digits):
    near, far = initial_module("cnn_digits", 3), initial_module("cnn_digits", 3)
    assert recalibrate_batchnorm(near, digits.train, n_samples=100, batch_size=50)
    expected, right = evaluate(near, digits.validation), right_answers(near, digits.validation)
    with FarDevice(), placed(far, FAR):
        assert recalibrate_batchnorm(far, digits.train, n_samples=100, batch_size=50)
        found = evaluate(far, digits.validation)
        assert (right_answers(far, digits.validation) == right).all()
    assert found.loss == pytest.approx(expected.loss)
    assert (found.confusion == expected.confusion).all()


def test_the_accelerator_of_these_tests_notices_a_mix():
    with FarDevice():
        over_there = torch.ones(3).to(FAR)
        assert over_there.sum().item() == 3
        with pytest.raises(AssertionError, match="mixes"):
            over_there + torch.ones(3)


def test_parameters_stay_the_same_objects_when_a_module_is_placed():
    module = nn.Linear(2, 2)
    weight = module.weight
    with pytest.raises(ZeroDivisionError), placed(module, torch.device("cpu")):
        raise ZeroDivisionError
    assert module.weight is weight


def test_no_module_that_trains_or_measures_names_a_device():
    """``.cuda()``, ``"cuda"``, ``device="cpu"`` and the like stand in ``devices.py`` alone."""
    for folder in ("tuning", "evaluation", "loading"):
        for path in (CORE / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Constant) and path.name not in _MAY_NAME:
                    assert node.value not in {"cuda", "mps"}, path
                if isinstance(node, ast.Attribute):
                    assert node.attr != "cuda", path


_MAY_NAME = {"optimiser.py", "draws.py", "latency.py"}
