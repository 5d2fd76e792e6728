"""The command line as other programs and people meet it: answers, exit codes and sentences."""

import functools
import json
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from pruning_core.command_line import main
from pruning_core.commands import models
from pruning_core.loading.dataset import load_dataset
from pruning_core.loading.model import bundled_models, load_model
from pruning_core.planning.advice import recommended
from pruning_core.planning.recipe import Recipe, Schedule
from pruning_core.planning.resolve import resolve
from pruning_core.scoring.score import score
from pruning_core.tracing.trace import trace

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted((ROOT / "examples").glob("*.json"))
SMALL = {
    "version": 1,
    "model": "bundled:mlp_digits",
    "granularity": "unit",
    "target": {"kind": "ratio", "value": 0.5},
    "tuning": {"epochs": 1},
}


def write(folder, recipe=SMALL, name="recipe.json", **changes):
    path = folder / name
    path.write_text(json.dumps({**recipe, **changes}))
    return str(path)


@pytest.fixture
def call(capsys):
    """Run the command line in this process; return exit code, stdout and stderr."""

    def run(*arguments):
        code = main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


@pytest.fixture
def refused(call):
    """Run the command line on wrong input; return the sentence on stderr."""

    def run(*arguments):
        code, out, err = call(*arguments)
        assert code == 2
        assert out == ""
        assert err.startswith("error: ")
        assert err.count("\n") == 1
        assert len(err) < 1100
        assert "Traceback" not in err
        return err

    return run


@pytest.fixture
def few_samples(monkeypatch):
    """Let runs in this process measure on 500 samples instead of ten thousand."""

    def load(key, **options):
        data = load_dataset(key, **options)
        return replace(data, validation=data.validation.first(500), test=data.test.first(500))

    monkeypatch.setattr("pruning_core.runs.pipeline.load_dataset", load)


def start(*arguments, **options):
    return subprocess.Popen(
        [sys.executable, "-m", "pruning_core", *map(str, arguments)],
        cwd=ROOT,
        stdin=options.pop("stdin", subprocess.DEVNULL),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        **options,
    )


# Answers


def test_models_lists_every_bundled_network_with_its_measured_accuracy(call):
    code, out, err = call("models", "--json")
    answer = json.loads(out)
    assert (code, err) == (0, "")
    assert [model["identity"] for model in answer["models"]] == [
        card.identity for card in bundled_models()
    ]
    assert all(0.8 < model["accuracy"] <= 1 and model["n"] >= 500 for model in answer["models"])
    assert "bundled:resnet_8" in call("models")[1]


def test_inspect_gives_the_hand_counted_costs_of_lenet_300_100(call):
    code, out, err = call("inspect", "bundled:lenet_300_100", "--json")
    answer = json.loads(out)
    assert (code, err) == (0, "")
    assert answer["params"] == 784 * 300 + 300 + 300 * 100 + 100 + 100 * 10 + 10
    assert answer["macs"] == 784 * 300 + 300 * 100 + 100 * 10
    assert [(group["kind"], group["n_units"]) for group in answer["groups"]] == [
        ("neuron", 300),
        ("neuron", 100),
    ]
    assert answer["unknown_operators"] == {}


def test_inspect_says_why_a_layer_shrinks_with_others_or_stays(call, refused):
    code, out, _ = call("inspect", "bundled:resnet_8", "--why", "blocks.0.conv2", "--json")
    found = {(item["parameter"], item["axis"]): item for item in json.loads(out)["why"]}
    assert code == 0
    made = found["blocks.0.conv2.weight", 0]
    assert made["group"] == "conv1"
    assert "the addition in blocks.0 (Block)" in made["because"][0]
    assert found["blocks.0.conv2.weight", 2]["group"] is None
    assert "Did you mean 'fc'?" in refused("inspect", "bundled:resnet_8", "--why", "fcc")


def test_inspect_reads_the_callers_own_model(call):
    code, out, _ = call("inspect", "python:torch.nn:Flatten", "--input-shape", "1,2,2")
    assert code == 2  # loaded, but there is nothing to prune
    assert out == ""


def test_tables_for_people_are_aligned_and_grouped_in_thousands(call):
    lines = call("inspect", "bundled:lenet_300_100")[1].splitlines()
    assert "266,610 parameters, 266,200 MACs for one sample" in lines[0]
    header, rule, first = lines[2:5]
    assert header.index("Kind") == first.index("Linear")
    assert set(rule) == {"-", " "}
    assert "235,500" in first


def test_preview_has_the_same_masks_as_python(call):
    path = ROOT / "examples" / "gru_128_hidden_units_50.json"
    code, out, err = call("preview", path, "--json")
    recipe = Recipe.from_json(path.read_bytes())
    model = load_model(recipe.model)
    network = trace(model.module, model.inputs)
    plan = resolve(recipe, network, score(model, network, recipe))
    answer = json.loads(out)
    assert (code, err) == (0, "")
    assert answer["mask_fingerprint"] == plan.fingerprint
    assert answer["recipe_fingerprint"] == recipe.fingerprint
    assert answer["sites"][0]["n_removed"] == 64
    assert answer["params"]["before"] == 61_962


def test_preview_for_people_names_totals_layers_and_masks(call, tmp_path):
    out = call("preview", write(tmp_path))[1]
    for words in ("Before", "After", "Ratio", "MACs for one sample", "fc1", "Mask fingerprint"):
        assert words in out


def test_preview_says_that_rounds_may_end_with_other_masks(call, tmp_path):
    path = write(tmp_path, schedule={"rounds": 3})
    assert "3 rounds" in json.loads(call("preview", path, "--json")[1])["notes"][""][-1]
    assert "3 rounds" in call("preview", path)[1]
    path = write(tmp_path, schedule={"rounds": 3, "first_step": 0.5, "max_drop": 1.0})
    assert "up to 3 rounds and rates" in (out := call("preview", path)[1])
    assert "fewer where accuracy falls" in out


def test_options_replace_entries_of_the_recipe(call, tmp_path):
    path = write(tmp_path, criterion="random")
    answers = [
        json.loads(call("preview", path, "--json", *more)[1])
        for more in ((), ("--seed", "1"), ("--model", "bundled:cnn_digits"), ("--data", "digits"))
    ]
    assert len({answer["recipe_fingerprint"] for answer in answers}) == 4
    assert len({answer["mask_fingerprint"] for answer in answers}) == 3  # data change nothing
    assert answers[2]["model"] == "bundled:cnn_digits"


def test_a_recipe_comes_through_stdin():
    process = start("preview", "-", "--json", stdin=subprocess.PIPE)
    out, err = process.communicate(json.dumps(SMALL).encode(), timeout=120)
    assert (process.returncode, err) == (0, b"")
    assert json.loads(out)["model"] == "bundled:mlp_digits"


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_examples_run_from_end_to_end(call, few_samples, tmp_path, path):
    recipe = Recipe.from_json(path.read_bytes())
    short = recipe.replace(
        tuning=recipe.tuning.model_copy(update={"epochs": 1, "train_samples": 512}),
        schedule=Schedule(),
    )
    quick = tmp_path / path.name
    quick.write_text(short.to_json())
    code, out, err = call("run", quick, "--out", tmp_path / "run", "--json")
    report = json.loads(out)
    assert code == 0, err
    assert report == json.loads((tmp_path / "run" / "report.json").read_text())
    assert {item.name for item in (tmp_path / "run").iterdir()} == {
        "report.json",
        "recipe.json",
        "model.safetensors",
        "model.onnx",
        "report.html",
    }
    assert report["onnx"]["max_abs_difference"] < 1e-4
    assert report["nonzero"]["after"] < 0.75 * report["nonzero"]["before"]
    few_are_left = report["nonzero"]["after"] < 0.03 * report["nonzero"]["before"]
    assert report["accuracy"]["tuned"] > (0.2 if few_are_left else 0.4)
    assert report["n"] == {"dense": 500, "pruned": 500, "tuned": 500}


def test_examples_are_what_their_names_say(call):
    answers = {path.stem: json.loads(call("preview", path, "--json")[1]) for path in EXAMPLES}
    weights = answers["lenet_300_100_weights_95"]
    assert sum(site["n_removed"] for site in weights["sites"]) == round(0.95 * 266_200)
    recommended_way = next(path for path in EXAMPLES if "recommended" in path.stem)
    recipe = Recipe.from_json(recommended_way.read_bytes())
    assert recipe == recommended(recipe)
    channels = answers["resnet_8_channels_half_macs"]
    assert 0.45 < channels["macs"]["after"] / channels["macs"]["before"] <= 0.5
    assert channels["sites"][0]["n_removed"] == 0  # pinned
    assert answers["gru_128_hidden_units_50"]["sites"][0]["n_removed"] == 64
    kernels = answers["resnet_8_kernels_40"]["sites"]
    assert sum(site["n_removed"] for site in kernels) == round(
        0.4 * sum(site["n_units"] for site in kernels)
    )
    mixed = answers["vit_tiny_mixed"]
    assert mixed["macs"]["after"] <= 0.6 * mixed["macs"]["before"]
    gone = {site["name"]: site["n_removed"] for site in mixed["sites"]}
    assert gone["depth/branches"] == 1
    assert 2 * gone["2:4/blocks.1.fc1"] == 128 * 64
    for site in answers["vit_tiny_pattern_2_4"]["sites"]:
        assert 2 * site["n_removed"] == site["n_units"]


def test_run_tells_of_adaptive_rounds_that_were_undone(call, tmp_path):
    schedule = {"rounds": 3, "shape": "linear", "first_step": 0.6, "max_drop": 6.0}
    path = write(
        tmp_path,
        target={"kind": "ratio", "value": 0.96},
        schedule=schedule,
        tuning={"epochs": 1, "train_samples": 300},
    )
    code, out, err = call("run", path, "--out", tmp_path / "run", "--json")
    assert code == 0, err
    report = json.loads(out)
    assert "round 1 of 3" in err
    assert ": more than the recipe allows" in err
    assert "Adaptive rounds came" in report["notes"][""][-1]
    assert Recipe.from_json((tmp_path / "run" / "recipe.json").read_text()).schedule.first_step


def test_run_prints_progress_to_stderr_and_only_the_report_to_stdout(call, tmp_path):
    code, out, err = call("run", write(tmp_path), "--out", tmp_path / "deep" / "run", "--json")
    assert code == 0
    assert json.loads(out)["version"] == 1
    assert "epoch 1 of 1" in err
    assert "dense: test accuracy" in err
    assert "writing the files" in err


def test_run_for_people_names_the_metrics_and_the_files(call, tmp_path):
    out = call("run", write(tmp_path), "--out", tmp_path / "run")[1]
    for words in ("Accuracy", "Test samples n", "Dense", "Pruned", "Fine-tuned", "model.onnx"):
        assert words in out


def test_a_run_may_be_repeated_into_its_own_folder(call, tmp_path):
    recipe = write(tmp_path)
    first = json.loads(call("run", recipe, "--out", tmp_path / "run", "--json")[1])
    second = json.loads(call("run", recipe, "--out", tmp_path / "run", "--json")[1])
    assert first["mask_fingerprint"] == second["mask_fingerprint"]
    assert first["accuracy"] == second["accuracy"]
    assert first["loss"] == second["loss"]


def test_run_overwrites_other_files_only_when_told(call, refused, tmp_path):
    folder = tmp_path / "thesis"
    folder.mkdir()
    (folder / "chapter.txt").write_text("years of work")
    assert "--overwrite" in refused("run", write(tmp_path), "--out", folder)
    assert call("run", write(tmp_path), "--out", folder, "--overwrite")[0] == 0
    assert (folder / "chapter.txt").read_text() == "years of work"


def test_a_run_of_another_recipe_is_replaced_only_when_told(call, refused, tmp_path):
    folder = tmp_path / "run"
    assert call("run", write(tmp_path), "--out", folder)[0] == 0
    before = (folder / "report.json").read_bytes()
    assert "a run of another recipe" in refused("run", write(tmp_path, seed=7), "--out", folder)
    assert (folder / "report.json").read_bytes() == before
    assert call("run", write(tmp_path, seed=7), "--out", folder, "--overwrite")[0] == 0


@pytest.mark.parametrize("name", ["safetensors", "onnx", "recipe", "report", "numbers"])
def test_export_writes_one_file_again_from_the_folder_alone(call, tmp_path, finished, name):
    target = tmp_path / "again"
    code, out, err = call("export", finished, "--format", name, "--out", target, "--json")
    answer = json.loads(out)
    assert (code, err) == (0, "")
    assert answer["path"] == str(target)
    assert answer["bytes"] == target.stat().st_size > 0


def test_export_without_a_file_writes_into_the_run_folder(call, finished):
    (finished / "report.html").unlink()
    assert call("export", finished, "--format", "report")[0] == 0
    assert (finished / "report.html").read_text().startswith("<!doctype html>")


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A small finished run."""
    folder = tmp_path_factory.mktemp("finished")
    assert main(["run", write(folder, name="r.json"), "--out", str(folder / "run"), "--json"]) == 0
    return folder / "run"


# Wrong input: exit code 2 and one sentence


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "COMMAND"),
        (("fly",), "invalid choice: 'fly'"),
        (("inspect",), "MODEL"),
        (("models", "--jsn"), "unrecognized arguments: --jsn"),
        (("run", "r.json"), "--out"),
        (("inspect", "bundled:lenet5"), "Did you mean 'lenet_5'?"),
        (("inspect", "lenet_5"), "bundled:NAME"),
        (("inspect", "bndled:lenet_5"), "Did you mean 'bundled'?"),
        (("inspect", "python:no_such_module:build"), "no_such_module"),
        (("inspect", "python:torch.nn:ReLU"), "input shape"),
        (("inspect", "bundled:lenet_5", "--input-shape", "1,x"), "1,28,28"),
        (("inspect", "bundled:lenet_5", "--input-shape", "0"), "1,28,28"),
        (("inspect", "bundled:lenet_5", "--input-shape", "3,32,32"), "(3, 32, 32)"),
        (("preview", "no_such_recipe.json"), "cannot be read"),
        (("preview", "a\0b"), "cannot be read"),
        (("export", "no_such_run", "--format", "onnx"), "no run folder"),
    ],
)
def test_wrong_arguments_end_with_2_and_one_sentence(refused, arguments, words):
    assert words in refused(*arguments)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"model": "bundled:nothing"}, "No bundled model is called 'nothing'"),
        ({"model": 7}, "model:"),
        ({"criterion": "l11"}, "Did you mean 'l1'?"),
        ({"granularity": "channel"}, "channel"),
        ({"layers": {"fc9": {"kind": "ratio", "value": 0.5}}}, "fc9"),
        ({"pins": ["conv7"]}, "conv7"),
        ({"data": "imagenet"}, "imagenet"),
        ({"data": "fashion_mnist", "criterion": "taylor"}, "fashion_mnist"),
        ({"target": {"kind": "ratio", "value": 1.0}}, "less than 1"),
        ({"target": {"kind": "ratio", "value": -0.1}}, "greater than or equal to 0"),
        ({"target": {"kind": "ratio", "value": float("nan")}}, "NaN"),
        ({"target": {"kind": "threshold", "value": float("inf")}}, "Infinity"),
        ({"target": {"kind": "ratio", "value": "0.5"}}, "number"),
        ({"target": {"kind": "magic", "value": 1}}, "magic"),
        ({"version": 2}, "version 1"),
        ({"version": None}, "version 1"),
        ({"seed": -1}, "seed"),
        ({"seed": 10**400}, "seed"),
        ({"code": "import os"}, "code"),
        ({"tuning": {"epochs": 10**12}}, "epochs"),
        ({"input_shape": [3, 32, 32]}, "(3, 32, 32)"),
        ({"model": "\x1b[31mred\nline"}, "\\x1b[31mred"),
    ],
)
def test_wrong_recipes_end_with_2_and_one_sentence(refused, tmp_path, changes, words):
    assert words in refused("preview", write(tmp_path, **changes))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "not valid JSON"),
        (b"[1, 2]", "is a list"),
        (b"null", "NoneType"),
        (b"{", "not valid JSON"),
        (b"\xff\xfe\x80", "not valid JSON"),
        (b'{"version": 1, "model": "\xff"}', "not valid JSON"),
        (b"[" * 1_000_000, "nested too deeply"),
        (b'{"a":' * 150_000, "nested too deeply"),
        (b" " * 1_000_001, "1,000,000"),
        (b'{"version": 1, "version": 1}', "twice"),
        (b'{"version": ' + b"1" * 5000 + b"}", "not valid JSON"),
    ],
    ids=lambda value: repr(value)[:20],
)
def test_files_that_are_no_recipes_end_with_2_and_one_sentence(refused, tmp_path, content, words):
    path = tmp_path / "recipe.json"
    path.write_bytes(content)
    assert words in refused("preview", path)
    assert words in refused("run", path, "--out", tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_folder_and_an_endless_file_are_no_recipes(refused, tmp_path):
    assert "is a folder" in refused("preview", tmp_path)
    assert "1,000,000" in refused("preview", "/dev/zero")


def test_an_unusable_output_folder_is_refused_before_any_work(refused, tmp_path):
    (tmp_path / "file").write_text("")
    assert "cannot be used" in refused("run", write(tmp_path), "--out", tmp_path / "file")
    assert "cannot be used" in refused("run", write(tmp_path), "--out", tmp_path / "file" / "x")


def test_the_options_of_fine_tuning_and_the_device_come_from_recipe_and_option(
    call, refused, tmp_path
):
    tuning = {
        "epochs": 2,
        "train_samples": 200,
        "learning_rate_schedule": "one_cycle",
        "augmentations": {"crop": 1, "cutout": 2},
        "label_smoothing": 0.1,
        "gradient_clip": 1.0,
        "freeze": ["fc1"],
        "restore_best": True,
        "patience": 5,
        "average_decay": 0.99,
    }
    tuning["distillation"] = {"alpha": 0.5, "features": ["fc1"]}
    sparse = {"kind": "group_lasso", "strength": 1e-3, "epochs": 1}
    path = write(tmp_path, tuning=tuning, sparse=sparse)
    code, out, err = call("run", path, "--out", tmp_path / "run", "--device", "cpu", "--json")
    assert code == 0
    assert json.loads(out)["environment"]["device"] == "cpu"
    written = Recipe.from_json((tmp_path / "run" / "recipe.json").read_bytes())
    assert written.tuning.augmentations == {"crop": 1.0, "cutout": 2.0}
    assert "are kept: its validation loss was the best" in err
    assert "units are zero" in err
    assert (written.sparse.kind, written.tuning.distillation.features) == ("group_lasso", ("fc1",))
    words = refused("run", path, "--out", tmp_path / "other", "--device", "tpu")
    assert "'tpu' is no device" in words
    assert not (tmp_path / "other").exists()


def test_a_failed_run_leaves_no_empty_folder(call, tmp_path):
    assert call("run", write(tmp_path, criterion="l11"), "--out", tmp_path / "run")[0] == 2
    assert not (tmp_path / "run").exists()


def test_a_data_folder_must_exist(refused, tmp_path):
    message = refused(
        "run", write(tmp_path), "--out", tmp_path / "run", "--data-folder", tmp_path / "none"
    )
    assert "data folder" in message


def test_an_unknown_export_format_names_the_known_ones(refused, finished):
    assert "Did you mean 'onnx'?" in refused("export", finished, "--format", "onx")


def test_a_folder_that_is_no_run_is_refused(refused, tmp_path):
    assert "recipe.json" in refused("export", tmp_path, "--format", "onnx")


# Our own faults and the outside world


def test_an_unexpected_error_ends_with_1_and_one_line(call, monkeypatch):
    def broken():
        raise KeyError("first line\nsecond line")

    monkeypatch.setattr("pruning_core.loading.model.bundled_models", broken)
    code, out, err = call("models")
    assert (code, out) == (1, "")
    assert err.startswith("error: internal error, KeyError")
    assert err.count("\n") == 1
    assert "Traceback" in call("models", "--debug")[2]


def test_help_and_wrong_arguments_do_not_wait_for_torch():
    code = (
        "import sys\n"
        "from pruning_core.command_line import main\n"
        "assert main(['--help']) == 0 and main(['run', '--help']) == 0\n"
        "assert main(['preview', '/nowhere.json']) == 2\n"
        "assert 'torch' not in sys.modules\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_a_reader_that_leaves_is_no_error():
    process = start("models")
    process.stdout.close()
    err = process.stderr.read()
    process.stderr.close()
    assert (process.wait(120), err) == (0, b"")


def test_ctrl_c_ends_with_130_and_says_how_to_go_on(tmp_path):
    recipe = write(tmp_path, tuning={"epochs": 1000})
    # Where the tests run in the background, Ctrl-C is ignored, and children would inherit that.
    listens = functools.partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    process = start("run", recipe, "--out", tmp_path / "run", preexec_fn=listens)
    for line in process.stderr:
        if b"epoch 2 of" in line:  # so the checkpoint of the first is written
            break
    time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert out == b""
    assert re.search(rb"the same command goes on after epoch \d+\.\nstopped\n$", err)
    assert b"Traceback" not in err
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["checkpoints"]


def test_ctrl_c_that_a_library_turns_into_its_own_error_still_ends_with_130(monkeypatch, capsys):
    def answer(_):
        try:
            signal.raise_signal(signal.SIGINT)
        except KeyboardInterrupt:
            raise ValueError("Error calling function") from None

    monkeypatch.setattr(models, "answer", answer)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        assert main(["models"]) == 130
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)
    assert capsys.readouterr().err == "stopped\n"


def test_names_that_stdout_cannot_show_become_escapes(tmp_path):
    process = start(
        "preview",
        write(tmp_path, model="bundled:é☃"),
        env={**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"},
    )
    _, err = process.communicate(timeout=120)
    assert process.returncode == 2
    assert b"Traceback" not in err


# The caller's own model


OWN_MODEL = """
import torch
from torch import nn

class Sum(nn.Module):
    def __init__(self):
        super().__init__()
        self.left, self.right, self.out = nn.Linear(4, 16), nn.Linear(6, 16), nn.Linear(16, 3)

    def forward(self, x, y):
        return {"answer": self.out(torch.relu(self.left(x) + self.right(y)))}

def two_inputs():
    return Sum(), (torch.randn(1, 4), torch.randn(1, 6))

def one_input():
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))

def no_onnx():
    class Fixed(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(4, 4)

        def forward(self, x):
            return torch.linalg.qr(self.layer(x).reshape(-1, 2, 2))[0].flatten(1)

    return Fixed(), torch.randn(1, 4)
"""


@pytest.fixture
def own_model(tmp_path, monkeypatch):
    """Let ``python:own_nets:...`` be found, as if the command were started in its folder."""
    (tmp_path / "own_nets.py").write_text(OWN_MODEL)
    monkeypatch.syspath_prepend(tmp_path)


def test_the_callers_own_model_is_trained_on_named_data(call, own_model, tmp_path):
    recipe = write(tmp_path, model="python:own_nets:one_input")
    options = ("--data", "digits", "--input-shape", "1,8,8", "--out", tmp_path / "run", "--json")
    code, out, err = call("run", recipe, *options)
    report = json.loads(out)
    assert code == 0, err
    assert report["n"]["tuned"] == 500
    assert report["params"]["after"] == 64 * 16 + 16 + 16 * 10 + 10
    assert call("export", tmp_path / "run", "--format", "onnx")[0] == 0


def test_a_model_with_two_inputs_and_no_data_is_pruned_and_exported(call, own_model, tmp_path):
    recipe = write(tmp_path, model="python:own_nets:two_inputs")
    code, out, err = call("run", recipe, "--out", tmp_path / "run", "--json")
    report = json.loads(out)
    assert code == 0, err
    assert report["params"]["after"] == 4 * 8 + 8 + 6 * 8 + 8 + 8 * 3 + 3
    assert report["accuracy"] == {"dense": None, "pruned": None, "tuned": None}
    assert report["onnx"]["n"] == 8
    assert "no accuracy is measured" in err


def test_a_model_without_onnx_form_keeps_its_other_files_and_is_told(call, own_model, tmp_path):
    recipe = write(tmp_path, model="python:own_nets:no_onnx", granularity="weight")
    code, out, _ = call("run", recipe, "--out", tmp_path / "run")
    assert code == 0
    assert "Warning: The pruned network cannot be written as ONNX" in out
    assert not (tmp_path / "run" / "model.onnx").exists()
    assert (tmp_path / "run" / "model.safetensors").exists()
    code, out, err = call("export", tmp_path / "run", "--format", "onnx")
    assert (code, out) == (2, "")
    assert "linalg_qr" in err
