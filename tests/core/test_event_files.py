"""TensorBoard event files: what TensorBoard's own reader finds is what the report says."""

import builtins
import json

import pytest

from pruning_core.command_line import main
from pruning_core.planning.recipe import Ratio, Recipe, Tuning
from pruning_core.runs.event_files import EventFiles, check_installed
from pruning_core.runs.events import Note
from pruning_core.tuning.finetune import EpochResult

RECIPE = Recipe(
    model="bundled:mlp_digits",
    granularity="weight",
    target=Ratio(value=0.75),
    tuning=Tuning(epochs=2, train_samples=200, restore_best=False),
)


def read(folder):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    found = accumulator.EventAccumulator(str(folder))
    found.Reload()
    return found


def points(found, tag):
    return [(event.step, event.value) for event in found.Scalars(tag)]


def test_tensorboard_reads_what_the_report_says(tmp_path):
    pytest.importorskip("tensorboard")
    (tmp_path / "recipe.json").write_text(RECIPE.to_json())
    recipe, out, events = (str(tmp_path / name) for name in ("recipe.json", "out", "events"))
    assert main(["run", recipe, "--out", out, "--tensorboard", events]) == 0
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    found = read(events)

    for tag, key in (
        ("loss/training", "loss"),
        ("loss/validation", "validation_loss"),
        ("accuracy/validation", "validation_accuracy"),
        ("epoch/learning rate", "learning_rate"),
    ):
        expected = [(epoch["epoch"], pytest.approx(epoch[key])) for epoch in report["epochs"]]
        assert points(found, tag) == expected
    for moment, epoch in (("dense", 0), ("pruned", 0), ("tuned", 2)):
        expected = [(epoch, pytest.approx(report["accuracy"][moment]))]
        assert points(found, f"test accuracy/{moment}") == expected
    assert points(found, "left/parameters not zero") == [(0, report["nonzero"]["after"])]
    layer = report["layers"][0]
    share = 1 - layer["after"]["nonzero"] / layer["before"]["nonzero"]
    assert points(found, f"sparsity/{layer['name']}") == [(0, pytest.approx(share))]
    assert len(points(found, "batch/loss")) % 2 == 0
    assert f"not zero/{layer['name']}.weight" in found.Tags()["histograms"]
    text = found.Tensors("recipe/text_summary")[0].tensor_proto.string_val[0].decode()
    assert json.loads(text)["model"] == RECIPE.model


def test_what_was_written_after_the_last_checkpoint_is_hidden(tmp_path):
    pytest.importorskip("tensorboard")

    def epoch(number, loss):
        return EpochResult(number, 3, loss, 0.5, loss, 0.5, 0.1, 1.0, 100.0)

    with EventFiles(tmp_path, RECIPE) as files:
        for number in (1, 2, 3):
            files.add(epoch(number, float(number)))
        files.add(Note("something *odd* <b>"))
    with EventFiles(tmp_path, RECIPE, epoch=1) as files:
        files.add(epoch(2, 20.0))
    assert points(read(tmp_path), "loss/training") == [(1, 1.0), (2, 20.0)]


def test_without_tensorboard_there_is_one_sentence(tmp_path, monkeypatch, capsys):
    usual = builtins.__import__

    def without(name, *rest):
        if name.startswith("torch.utils.tensorboard"):
            raise ModuleNotFoundError(name="tensorboard")
        return usual(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(Exception, match="pip install -r requirements-cluster"):
        check_installed()
    (tmp_path / "recipe.json").write_text(RECIPE.to_json())
    recipe, out, events = (str(tmp_path / name) for name in ("recipe.json", "out", "events"))
    assert main(["run", recipe, "--out", out, "--tensorboard", events]) == 2
    assert "need the package tensorboard" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
