"""Int8 files: what they store, that they compute it, and what is said of them."""

import dataclasses
import io
import json

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from pruning_core.command_line import main
from pruning_core.errors import InvalidRecipeError, MissingEvidenceError, UnknownNameError
from pruning_core.exporting import export as export_module
from pruning_core.exporting.document import run_document
from pruning_core.exporting.int8_table import int8_rows, int8_sentences, milliseconds, speed_words
from pruning_core.exporting.reopen import open_run
from pruning_core.exporting.report.page import render
from pruning_core.loading.dataset import load_dataset
from pruning_core.loading.model import load_model
from pruning_core.planning.recipe import Quantisation, Ratio, Recipe, Tuning
from pruning_core.planning.resolve import resolve
from pruning_core.quantising import quantise as module
from pruning_core.quantising.quantise import quantise
from pruning_core.quantising.quantiser import QUANTISERS
from pruning_core.quantising.stored import store_weights
from pruning_core.runs.events import Finished, StageStarted
from pruning_core.runs.pipeline import execute, write_run
from pruning_core.scoring.score import score
from pruning_core.surgery.prune import prune
from pruning_core.tracing.trace import trace


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Times are measured for a moment only."""
    monkeypatch.setattr(module, "SECONDS", 0.01)
    monkeypatch.setattr("pruning_core.evaluation.latency.WARM_UP_SECONDS", 0.01)


def result_of(identity, share=0.0, **changes):
    recipe = Recipe(
        model=f"bundled:{identity}",
        target=Ratio(value=share),
        tuning=Tuning(epochs=0),
        **changes,
    )
    return list(execute(recipe))[-1].result


def dense(identity):
    """A dense network as the result of a run that measured nothing."""
    model = load_model(f"bundled:{identity}")
    network = trace(model.module, model.inputs)
    recipe = Recipe(model=model.identity)
    plan = resolve(recipe, network, score(model, network, recipe))
    return export_module.result_of(prune(model, network, plan), model, network, plan)


@pytest.fixture(scope="module")
def masked():
    """A CNN with 80 % of its weights masked."""
    return result_of("cnn_digits", 0.8)


@pytest.fixture(scope="module")
def digits():
    return load_dataset("digits")


def initialisers(content):
    graph = onnx.load(io.BytesIO(content)).graph
    return {item.name: numpy_helper.to_array(item) for item in graph.initializer}


def answers(content, inputs):
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: inputs.numpy()})[0].argmax(1)


def linear(weights):
    """One matrix product as an ONNX file."""
    outputs, inputs = weights.shape
    graph = helper.make_graph(
        [helper.make_node("Gemm", ["x", "w"], ["y"], transB=1)],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, inputs])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, outputs])],
        [numpy_helper.from_array(weights, "w")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def test_each_output_has_a_scale_and_zero_stays_zero():
    weights = np.array([[1.27, 0.0, -0.02, 0.63], [0.0, -25.4, 12.7, 0.2]], np.float32)
    model = linear(weights)
    assert store_weights(model) == ("w",)
    stored = {item.name: numpy_helper.to_array(item) for item in model.graph.initializer}
    assert stored["w_quantized"].dtype == np.int8
    assert stored["w_quantized"].tolist() == [[127, 0, -2, 63], [0, -127, 64, 1]]  # 63.5 -> 64
    assert stored["w_scale"] == pytest.approx([0.01, 0.2])
    assert "w" not in stored
    onnx.checker.check_model(model, full_check=True)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    x = np.array([[1.0, 2.0, 3.0, 4.0]], np.float32)
    (y,) = session.run(None, {"x": x})
    assert y[0] == pytest.approx([1.27 - 0.06 + 2.52, 0.2 * (-254 + 192 + 4)], rel=1e-5)


@pytest.mark.parametrize("kind", QUANTISERS)
def test_a_masked_cnn_becomes_a_quarter_and_keeps_its_zeros(kind, masked, digits):
    found = quantise(masked, kind, data=digits).quantised
    values = initialisers(found.content)
    int8 = [value for value in values.values() if value.dtype in (np.int8, np.uint8)]
    n_weights = sum(p.numel() for p in masked.model.module.parameters() if p.ndim > 1)
    assert found.n_int8 == sum(value.size for value in int8) >= n_weights
    assert found.n_float < 0.02 * found.n_int8
    assert found.int8_bytes == len(found.content) < found.float_bytes / 3
    matrices = [value for value in int8 if value.ndim > 1]
    assert sum(value.size for value in matrices) == n_weights
    n_zero = sum(int((p == 0).sum()) for p in masked.surgery.module.parameters() if p.ndim > 1)
    assert n_zero >= 0.79 * n_weights
    assert sum(int((value == 0).sum()) for value in matrices) >= n_zero
    assert found.left == ()
    assert found.n_calibration == (256 if kind == "static" else 0)


@pytest.mark.parametrize("kind", QUANTISERS)
def test_accuracy_and_agreement_are_those_of_the_file(kind, masked, digits):
    found = quantise(masked, kind, data=digits).quantised
    inputs, labels = digits.test.batch(slice(None))
    mine = answers(found.content, inputs)
    with torch.no_grad():
        theirs = masked.surgery.module(inputs).argmax(1).numpy()
    n = len(labels)
    assert found.after.n == n
    assert found.after.accuracy == pytest.approx((mine == labels.numpy()).mean(), abs=2 / n)
    assert found.before.accuracy == pytest.approx((theirs == labels.numpy()).mean(), abs=1 / n)
    assert found.agreement == pytest.approx((mine == theirs).mean(), abs=3 / n)
    low, high = found.change
    assert low < found.after.accuracy - found.before.accuracy + 1e-9
    assert high > found.after.accuracy - found.before.accuracy - 1e-9
    assert [speed.batch_size for speed in found.speed] == [1, 32]
    assert all(speed.backend == "onnxruntime" and speed.threads == 1 for speed in found.speed)


def test_recurrent_layers_and_convolutions_without_an_int8_operator_are_named(digits):
    gru = dense("gru_128")
    data = load_dataset(gru.model.data, source="bundled")
    data = dataclasses.replace(data, test=data.test.first(100))
    result = quantise(gru, "static", data=data, samples=32)
    found = result.quantised
    assert set(found.stored) == {"gru.weight_ih_l0", "gru.weight_hh_l0"}
    assert found.int8_bytes < found.float_bytes / 3
    sentences = int8_sentences(run_document(result)["quantised"])
    assert any("gru.weight_hh_l0" in text for text in sentences)


def test_attention_keeps_its_position_table_in_float32_and_says_so():
    vit = dense("vit_tiny")
    found = quantise(vit, "dynamic", data=None).quantised
    assert found.left == ("pos_embed",)
    assert found.stored == ("patches.weight",)
    assert (found.before, found.after, found.agreement, found.change) == (None,) * 4
    content = onnx.load(io.BytesIO(found.content)).graph
    kinds = [node.op_type for node in content.node]
    # Four blocks of four weighted products, and the head; QK and AV stay products of floats.
    assert kinds.count("MatMulInteger") == 17
    assert kinds.count("MatMul") == 8


def test_ranges_are_watched_on_training_samples_and_never_on_test_samples(
    masked, digits, monkeypatch
):
    seen = []
    entry = QUANTISERS["static"]

    def spied(source, target, calibration):
        seen.extend(feed for batch in calibration() for feed in batch.values())
        return entry.quantise(source, target, calibration)

    spy = dataclasses.replace(entry, quantise=spied)
    monkeypatch.setattr(module, "QUANTISERS", {"static": spy})
    quantise(masked, "static", data=digits, samples=100)
    expected = digits.train.batch(slice(0, 100))[0].numpy()
    assert np.array_equal(np.concatenate(seen), expected)


def test_a_run_makes_the_file_and_its_folder_gives_it_back(tmp_path):
    recipe = Recipe(
        model="bundled:mlp_digits",
        target=Ratio(value=0.5),
        tuning=Tuning(epochs=0),
        quantisation=Quantisation(kind="static", samples=64),
    )
    assert Recipe.from_json(recipe.to_json()) == recipe
    events = list(execute(recipe))
    assert [e.stage for e in events if isinstance(e, StageStarted)][-1] == "quantise"
    assert isinstance(events[-1], Finished)
    result = write_run(events[-1].result, tmp_path)
    assert (tmp_path / "model.int8.onnx").read_bytes() == result.quantised.content
    again = open_run(tmp_path)
    assert again.quantised.content == result.quantised.content
    assert run_document(again)["quantised"] == run_document(result)["quantised"]
    html = (tmp_path / "report.html").read_text()
    assert "In int8 (static)" in html
    assert "64 samples of the training split" in html
    # Without the wish there is no file, and nothing is missing.
    write_run(result_of("mlp_digits"), tmp_path)
    assert not (tmp_path / "model.int8.onnx").exists()
    assert json.loads((tmp_path / "report.json").read_text())["quantised"] is None


def test_recipes_from_before_keep_their_fingerprints():
    plain = Recipe(model="bundled:mlp_digits")
    assert "quantisation" in plain.to_json()
    assert plain.fingerprint != plain.replace(quantisation=Quantisation(kind="static")).fingerprint
    values = json.loads(plain.to_json())
    del values["quantisation"]
    assert Recipe.from_json(json.dumps(values)).fingerprint == plain.fingerprint


def test_what_cannot_be_done_is_refused_before_the_run_begins(tmp_path, monkeypatch):
    recipe = Recipe(model="bundled:mlp_digits", quantisation=Quantisation(kind="statik"))
    with pytest.raises(UnknownNameError, match="Did you mean 'static'"):
        list(execute(recipe))
    (tmp_path / "homeless_int8.py").write_text(
        "from torch import nn\ndef make():\n    return nn.Sequential(nn.Linear(6, 8))\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    own = Recipe(model="python:homeless_int8:make", input_shape=(6,), target=Ratio(value=0.5))
    with pytest.raises(MissingEvidenceError, match="Name a data set, or choose 'weights'"):
        list(execute(own.replace(quantisation=Quantisation(kind="static"))))
    result = list(execute(own.replace(quantisation=Quantisation(kind="dynamic"))))[-1].result
    assert result.quantised.n_int8 >= 48
    with pytest.raises(InvalidRecipeError, match="samples"):
        Quantisation.read(kind="static", samples=0)


def test_the_command_line_quantises_a_finished_run(tmp_path, capsys):
    write_run(result_of("mlp_digits", 0.5), tmp_path)
    assert main(["quantise", str(tmp_path), "--kind", "weights", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["int8_bytes"] == (tmp_path / "model.int8.onnx").stat().st_size
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["quantised"]["kind"] == "weights"
    assert main(["quantise", str(tmp_path), "--kind", "int4"]) == 2
    assert "No kind of quantisation is called 'int4'" in capsys.readouterr().err
    assert main(["quantise", str(tmp_path / "none")]) == 2
    assert "There is no run folder" in capsys.readouterr().err


def test_rows_say_sizes_points_and_times_in_words():
    speed = {
        "batch_size": 1, "threads": 1, "ratio": 1.25, "ratio_low": 1.2, "ratio_high": 1.3,
        "verdict": "faster",
        "before": {"median_ms": 0.5, "low_ms": 0.4, "high_ms": 0.6},
        "after": {"median_ms": 0.4, "low_ms": 0.3, "high_ms": 0.5},
    }  # fmt: skip
    side = {"accuracy": 0.9, "accuracy_interval": [0.88, 0.92], "f1": 0.9, "loss": None, "n": 1000}
    found = {
        "float_bytes": 4000, "int8_bytes": 1000, "speed": [speed], "change": [-0.01, 0.03],
        "before": side, "after": side | {"accuracy": 0.91, "loss": 0.25},
    }  # fmt: skip
    rows = int8_rows(found)
    assert rows[0] == ("File", "4 kB", "1 kB", "4.00x smaller")
    assert rows[1][3] == "+1.00 points (-1.00 to +3.00)"
    assert rows[4][1:3] == ("not finite", "0.2500")
    assert rows[5][0] == "Batch of 1, 1 thread"
    assert rows[5][1:] == (
        "0.500 ms (0.400 to 0.600)", "0.400 ms (0.300 to 0.500)", "1.25x faster (1.20 to 1.30)"
    )  # fmt: skip
    assert milliseconds({"median_ms": 2034.2, "low_ms": 541.0, "high_ms": 99.9}) == (
        "2,034 ms (541 to 99.9)"
    )
    slow = speed | {"ratio": 0.5, "verdict": "slower"}
    assert speed_words(slow).startswith("2.00x slower")
    assert speed_words(speed | {"verdict": "no measurable gain"}).startswith("no measurable gain")


def test_the_report_has_no_section_on_int8_without_a_file(masked):
    assert "In int8" not in render(run_document(masked), masked.recipe)
