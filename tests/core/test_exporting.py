"""Exported files: whole, checked, the same network, and readable back from the folder alone."""

import copy
import itertools
import json
import math
import re
import zlib
from base64 import b64encode
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import safetensors.torch
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from pruning_core import Recipe, export, load_model, prune, resolve, score, trace
from pruning_core.errors import ExportError, PruningError
from pruning_core.exporting.document import pack_mask, plain, run_document, unpack_mask
from pruning_core.exporting.export import result_of
from pruning_core.exporting.exporter import EXPORTERS, write_files
from pruning_core.exporting.formats.onnx import compare_onnx, export_onnx
from pruning_core.exporting.reopen import open_run
from pruning_core.exporting.report.charts import Bar, Line, bar_chart, line_chart
from pruning_core.exporting.report.page import render, summary
from pruning_core.exporting.wording import count, duration, percent, ratio, size, table
from pruning_core.exporting.writing import write_text
from pruning_core.figures.numbers import nice_ticks
from pruning_core.granularities import GRANULARITIES
from pruning_core.loading.model import bundled_models
from pruning_core.runs.pipeline import execute, write_run

MODELS = tuple(card.identity for card in bundled_models())


def pruned_result(identity, granularity="unit", share=0.4, **changes):
    """The result of a run that stops after pruning."""
    recipe = Recipe(
        model=identity,
        granularity=granularity,
        criterion="random",
        scope="local",
        target={"kind": "ratio", "value": share},
        **changes,
    )
    model = load_model(identity)
    network = trace(model.module, model.inputs)
    plan = resolve(recipe, network, score(model, network, recipe))
    return result_of(prune(model, network, plan), model, network, plan)


@pytest.fixture(scope="module")
def measured():
    """A whole run of a small network, measured and fine-tuned."""
    recipe = Recipe(
        model="bundled:cnn_digits",
        granularity="unit",
        target={"kind": "ratio", "value": 0.3},
        tuning={"epochs": 2},
        quantisation={"kind": "weights"},
    )
    return list(execute(recipe))[-1].result


@pytest.fixture(scope="module")
def folder(measured, tmp_path_factory):
    """The folder of that run; tests must not change it."""
    path = tmp_path_factory.mktemp("run")
    write_run(measured, path)
    return path


@pytest.fixture
def copied(folder, tmp_path):
    """A copy of the run folder that a test may damage."""
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    return tmp_path


def inputs(result, n):
    shape = result.model.example_inputs[0].shape[1:]
    return torch.randn(n, *shape, generator=torch.Generator().manual_seed(n))


def logits(module, x):
    with torch.no_grad():
        return module(x)


# The network in the files is the pruned network


@pytest.mark.parametrize("identity", MODELS)
def test_onnx_of_every_bundled_network_equals_pytorch_at_any_batch_size(identity, tmp_path, capfd):
    result = pruned_result(identity)
    path = export(result, "onnx", tmp_path / "model.onnx")
    assert capfd.readouterr() == ("", "")
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    (given_input,) = session.get_inputs()
    for n in (1, 2, 5, 16):
        x = inputs(result, n)
        (found,) = session.run(None, {given_input.name: x.numpy()})
        assert np.abs(found - logits(result.surgery.module, x).numpy()).max() < 1e-4
    assert result.surgery.module.training is False


@pytest.mark.parametrize("identity", MODELS)
def test_safetensors_hold_the_same_logits_and_the_indices_that_stayed(identity, tmp_path):
    result = pruned_result(identity)
    path = export(result, "safetensors", tmp_path / "model.safetensors")
    state = safetensors.torch.load_file(path)
    dense = result.model.module.state_dict()
    assert set(state) == set(dense) == set(result.surgery.module.state_dict())
    assert path.stat().st_size == result.counted.n_bytes == result.preview.after.n_bytes
    kept = json.loads(json.dumps(run_document(result)["kept"]))
    for name, tensor in state.items():
        expected = dense[name]
        for axis, indices in enumerate(kept.get(name, [])):
            if indices is not None:
                expected = expected.index_select(axis, torch.tensor(indices))
        assert torch.equal(tensor, expected), name
    other = prune(result.model, result.network, result.plan).module
    for parameter in other.parameters():
        parameter.data.zero_()
    other.load_state_dict(state)
    x = inputs(result, 3)
    assert torch.equal(logits(other, x), logits(result.surgery.module, x))


def test_a_class_that_fixes_its_batch_is_exported_for_any_by_its_graph(tmp_path, monkeypatch):
    (tmp_path / "counts_samples.py").write_text(
        "import torch\n"
        "from torch import nn\n\n\n"
        "class Counting(nn.Sequential):\n"
        "    def forward(self, x):\n"
        "        return super().forward(x) + torch.ones(len(x), 1).cumsum(1)\n\n\n"
        "def build():\n"
        "    return Counting(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3)), torch.randn(1, 6)\n",
        encoding="utf-8",
    )
    monkeypatch.syspath_prepend(tmp_path)
    goal = {"kind": "ratio", "value": 0.25}
    recipe = Recipe(model="python:counts_samples:build", granularity="unit", target=goal)
    result = list(execute(recipe))[-1].result
    x = torch.randn(5, 6)
    with torch.no_grad():
        expected = result.surgery.module(x).numpy()
    export(result, "onnx", tmp_path / "a.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "a.onnx")
    (found,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
    assert np.abs(found - expected).max() < 1e-5
    export(result, "pt2", tmp_path / "a.pt2")
    found = torch.export.load(tmp_path / "a.pt2").module()(x)
    found = found[0] if isinstance(found, list | tuple) else found
    assert np.abs(found.detach().numpy() - expected).max() < 1e-5


def test_masked_weights_export_with_their_zeros(tmp_path):
    result = pruned_result("bundled:mlp_digits", "weight", 0.9)
    state = safetensors.torch.load_file(export(result, "safetensors", tmp_path / "w"))
    zeros = sum(int((state[f"fc{i}.weight"] == 0).sum()) for i in (1, 2, 3))
    assert zeros == sum(round(0.9 * n) for n in (64 * 128, 128 * 64, 64 * 10))
    assert run_document(result)["kept"] == {}
    written = write_files(result, tmp_path)
    assert written.onnx.max_abs_difference < 1e-4


def test_onnx_is_checked_on_eight_samples_at_batch_one_and_seven(measured, tmp_path):
    entry = EXPORTERS["onnx"]
    checked = entry.write(measured, tmp_path / entry.file_name)
    assert checked.onnx.n == 1 + 7
    assert 0 <= checked.onnx.max_abs_difference < 1e-4


def test_onnx_is_checked_on_the_samples_of_the_run(measured, tmp_path, monkeypatch):
    from pruning_core.exporting.formats import onnx as form

    seen, compare = [], form.compare_onnx

    def watched(path, module, batches):
        seen.extend(batches)
        return compare(path, module, batches)

    monkeypatch.setattr(form, "compare_onnx", watched)
    EXPORTERS["onnx"].write(measured, tmp_path / "model.onnx")
    assert [len(inputs) for (inputs,) in seen] == [1, 7]
    assert all(torch.equal(inputs, measured.samples[: len(inputs)]) for (inputs,) in seen)


def test_large_outputs_may_differ_in_proportion(tmp_path):
    from pruning_core.exporting.formats.onnx import compare_onnx

    result = pruned_result("bundled:mlp_digits")
    module = copy.deepcopy(result.surgery.module)
    with torch.no_grad():
        module.fc3.weight.mul_(1e7)
    loud = replace(result, surgery=replace(result.surgery, module=module))
    path = tmp_path / "model.onnx"
    EXPORTERS["onnx"].write(loud, path)
    check = compare_onnx(path, module, [(inputs(result, 7),)])
    largest = float(logits(module, inputs(result, 7)).abs().max())
    assert check.max_abs_difference < 1e-4 * largest
    assert largest > 1e6


def test_onnx_holds_no_path_of_this_machine(folder):
    content = (folder / "model.onnx").read_bytes()
    assert str(Path(__file__).parents[2]).encode() not in content
    assert b"site-packages" not in content
    assert b".py" not in content
    model = onnx.load(folder / "model.onnx")
    assert model.graph.input[0].type.tensor_type.shape.dim[0].dim_param == "batch"


def test_a_file_that_differs_from_pytorch_is_refused_with_the_number(tmp_path):
    module = nn.Linear(4, 2).eval()
    x = (torch.ones(2, 4),)
    export_onnx(module, x, tmp_path / "m.onnx")
    assert compare_onnx(tmp_path / "m.onnx", module, [x]).n == 2
    with torch.no_grad():
        module.bias += 0.5
    with pytest.raises(ExportError, match=r"differs from PyTorch by 0\.5; less than 0\.0001"):
        compare_onnx(tmp_path / "m.onnx", module, [x])


def test_a_network_that_yields_no_numbers_is_refused(tmp_path):
    module = nn.Linear(4, 2).eval()
    with torch.no_grad():
        module.bias[0] = math.nan
    x = (torch.ones(2, 4),)
    export_onnx(module, x, tmp_path / "m.onnx")
    with pytest.raises(ExportError, match="differs from PyTorch by nan"):
        compare_onnx(tmp_path / "m.onnx", module, [x])


def test_a_file_that_onnxruntime_cannot_read_is_refused(tmp_path):
    (tmp_path / "m.onnx").write_bytes(b"no onnx")
    with pytest.raises(ExportError, match="onnxruntime cannot run the exported file"):
        compare_onnx(tmp_path / "m.onnx", nn.Identity(), [(torch.ones(1, 1),)])


class Branching(nn.Module):
    def forward(self, x):
        return x * 2 if bool(x.sum() > 0) else x


def test_a_network_without_onnx_form_gets_all_other_files_and_a_sentence(measured, tmp_path):
    (tmp_path / "model.onnx").write_bytes(b"of an older run")
    broken = replace(measured, surgery=replace(measured.surgery, module=Branching()))
    done = write_files(broken, tmp_path)
    assert not (tmp_path / "model.onnx").exists()
    assert done.problems["onnx"].startswith("The pruned network cannot be written as ONNX")
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["onnx"] == {"max_abs_difference": None, "n": None}
    assert report["problems"] == dict(done.problems)
    assert "cannot be written as ONNX" in (tmp_path / "report.html").read_text()
    assert (tmp_path / "model.safetensors").exists()


# Every format alike


def test_every_format_describes_itself():
    by_itself = [key for key, entry in EXPORTERS.items() if not entry.on_demand]
    assert by_itself == ["int8", "numbers", "onnx", "recipe", "report", "safetensors"]
    assert len({entry.file_name for entry in EXPORTERS.values()}) == len(EXPORTERS)
    for entry in EXPORTERS.values():
        assert entry.title
        assert entry.media_type.count("/") == 1
        assert entry.description.endswith(".")


BY_ITSELF = [key for key, entry in EXPORTERS.items() if not entry.on_demand]


@pytest.mark.parametrize("key", BY_ITSELF)
def test_every_format_refuses_a_missing_folder_and_leaves_nothing(key, measured, tmp_path):
    with pytest.raises(ExportError):
        export(measured, key, tmp_path / "none" / "file")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("key", BY_ITSELF)
def test_every_format_can_be_written_again_from_the_folder(key, folder, tmp_path):
    entry = EXPORTERS[key]
    path = export(folder, key, tmp_path)
    assert path == tmp_path / entry.file_name
    if key == "safetensors":
        first, again = (safetensors.torch.load_file(p / path.name) for p in (folder, tmp_path))
        assert first.keys() == again.keys()
        assert all(torch.equal(first[name], again[name]) for name in first)
    elif key != "onnx":
        assert path.read_bytes() == (folder / entry.file_name).read_bytes()


def test_export_takes_what_prune_returned(tmp_path):
    result = pruned_result("bundled:mlp_digits")
    parts = {"model": result.model, "network": result.network, "plan": result.plan}
    path = export(result.surgery, "report", tmp_path / "report.html", **parts)
    assert "no accuracy was measured" in path.read_text().lower()
    with pytest.raises(ExportError, match="give model, network and plan too"):
        export(result.surgery, "onnx", tmp_path / "model.onnx")
    with pytest.raises(ExportError, match="say where to write"):
        export(result, "onnx")


def test_a_file_is_whole_or_absent(tmp_path):
    path = tmp_path / "file.txt"
    write_text(path, "old")
    with pytest.raises(UnicodeEncodeError):
        write_text(path, "half of the ne\udc80")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]
    write_text(path, "new ✓")
    assert path.read_text(encoding="utf-8") == "new ✓"
    with pytest.raises(ExportError, match="could not be written: No such file or directory"):
        write_text(tmp_path / "none" / "file", "")


# The run folder read back


def test_a_reopened_run_is_the_run_that_was_written(measured, folder):
    again = open_run(folder)
    assert run_document(again) == json.loads((folder / "report.json").read_text())
    x = inputs(measured, 4)
    assert torch.equal(logits(again.surgery.module, x), logits(measured.surgery.module, x))
    assert again.plan.fingerprint == measured.plan.fingerprint
    assert again.preview.layers == measured.preview.layers
    assert again.counted == measured.counted
    assert (again.tuned.confusion == measured.tuned.confusion).all()


@pytest.mark.parametrize(
    ("identity", "granularity"),
    [
        *itertools.product(["bundled:mlp_digits", "bundled:resnet_8"], ["unit", "weight"]),
        *(("bundled:cnn_digits", granularity) for granularity in GRANULARITIES),
        ("bundled:vit_tiny", "depth"),
    ],
)
def test_a_run_without_measurements_can_be_reopened_too(identity, granularity, tmp_path):
    result = pruned_result(identity, granularity)
    for key in ("numbers", "recipe", "safetensors"):
        export(result, key, tmp_path)
    again = open_run(tmp_path)
    assert run_document(again) == run_document(result)
    assert again.surgery.masks.keys() == result.surgery.masks.keys()


@pytest.mark.parametrize(
    ("name", "damage", "words"),
    [
        ("report.json", lambda raw: None, "cannot be read: No such file"),
        ("recipe.json", lambda raw: None, "cannot be read: No such file"),
        ("model.safetensors", lambda raw: None, "model.safetensors"),
        ("report.json", lambda raw: raw[:-9], "is damaged"),
        ("report.json", lambda raw: b"[" * 100_000, "is damaged"),
        ("report.json", lambda raw: b'{"version": 2}', "no report of version 1"),
        ("report.json", lambda raw: b"[]", "no report of version 1"),
        ("report.json", lambda raw: b'{"version": 1}', "different runs"),
        ("report.json", lambda raw: raw.replace(b'"epochs"', b'"epoques"'), "is damaged"),
        ("report.json", lambda raw: raw.replace(b'"details"', b'"detail"'), "is damaged"),
        ("report.json", lambda raw: raw.replace(b'"bits": "', b'"bits": "!'), "is damaged"),
        ("report.json", lambda raw: raw.replace(b'"n": 16,', b'"n": 17,'), "damaged"),
        ("recipe.json", lambda raw: raw.replace(b'"seed": 0', b'"seed": 1'), "different runs"),
        ("recipe.json", lambda raw: raw.replace(b'"version": 1', b'"version": 3'), "version 1"),
        ("model.safetensors", lambda raw: raw[:-8], "is damaged"),
        ("model.safetensors", lambda raw: raw.replace(b"conv1.bias", b"conv9.bias"), "damaged"),
        ("model.safetensors", lambda raw: b"", "is damaged"),
    ],
)
def test_a_damaged_run_folder_is_refused_with_a_sentence(copied, name, damage, words):
    path = copied / name
    content = damage(path.read_bytes())
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(PruningError, match=re.escape(words)):
        open_run(copied)


# The numbers


def test_the_document_keeps_the_promised_fields(measured, folder):
    report = json.loads((folder / "report.json").read_text())
    assert report["version"] == 1
    assert report["params"] == {
        "before": sum(p.numel() for p in measured.model.module.parameters()),
        "after": sum(p.numel() for p in measured.surgery.module.parameters()),
    }
    for name in ("nonzero", "macs", "bytes"):
        assert 0 < report[name]["after"] < report[name]["before"]
    for name in ("accuracy", "precision", "recall", "f1", "loss", "n"):
        assert set(report[name]) == {"dense", "pruned", "tuned"}
        assert None not in report[name].values()
    assert [epoch["epoch"] for epoch in report["epochs"]] == [1, 2]
    assert report["onnx"]["max_abs_difference"] < 1e-4
    assert report["surgery"] == {"form": "module", "reason": ""}
    low, high = report["details"]["tuned"]["accuracy_interval"]
    assert low < report["accuracy"]["tuned"] < high
    assert report["recipe_fingerprint"] == measured.recipe.fingerprint


def test_bytes_are_those_of_the_plain_weights_file(measured, tmp_path):
    report = run_document(measured)
    path = export(measured, "safetensors", tmp_path / "model.safetensors")
    other = tmp_path / "plain.safetensors"
    safetensors.torch.save_file(dict(measured.surgery.module.state_dict()), other)
    assert path.stat().st_size == other.stat().st_size == report["bytes"]["after"]


@given(st.lists(st.booleans(), max_size=200))
def test_a_mask_survives_packing(values):
    mask = np.array(values, dtype=bool)
    packed = json.loads(json.dumps(pack_mask(mask)))
    assert (unpack_mask(packed) == mask).all()


@pytest.mark.parametrize(
    "packed",
    [
        {"n": -1, "bits": ""},
        {"n": "8", "bits": ""},
        {"n": 10**12, "bits": ""},
        {"n": 8, "bits": "not base64"},
        {"n": 8, "bits": b64encode(b"not deflated").decode()},
        {"n": 8, "bits": b64encode(zlib.compress(b"ab")).decode()},
        {"n": 8, "bits": b64encode(zlib.compress(bytes(50_000_000))).decode()},
    ],
)
def test_a_damaged_mask_is_refused(packed):
    with pytest.raises(ValueError, match=r"mask|base64|padding|data"):
        unpack_mask(packed)


def test_json_never_holds_what_is_no_number():
    values = {"a": math.nan, "b": [math.inf, np.float32(0.5)], 3: np.arange(2), "c": (None, True)}
    assert plain(values) == {"a": None, "b": [None, 0.5], "3": [0, 1], "c": [None, True]}


# The report


class Page(HTMLParser):
    """Collects tags, addresses and text; void elements need no end."""

    VOID = frozenset({"meta", "line", "circle", "rect", "polyline"})

    def __init__(self, html):
        super().__init__()
        self.open, self.tags, self.addresses, self.words = [], [], [], []
        self.feed(html)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.addresses += [value for key, value in attrs if key in {"src", "href"}]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)

    @property
    def text(self):
        return " ".join(self.words)


def test_the_report_is_one_file_that_asks_nobody(folder):
    html = (folder / "report.html").read_text()
    page = Page(html)
    assert page.addresses == []
    assert "script" not in page.tags
    assert "@import" not in html
    assert "url(" not in html
    assert len(html) < 100_000
    assert "prefers-color-scheme:dark" in html
    assert "@media print" in html


def test_the_report_shows_the_numbers_with_badge_unit_and_sample_count(measured, folder):
    text = Page((folder / "report.html").read_text()).text
    report = json.loads((folder / "report.json").read_text())
    for words in (
        "EXACT",
        "MEASURED",
        "95 % intervals. Accuracy, top-5",
        "Calibration error (ECE)",
        "Confusion matrix, fine-tuned",
        count(report["params"]["before"]),
        count(report["macs"]["after"]),
        percent(report["accuracy"]["tuned"]),
        "n = 500",
        "conv2",
        measured.plan.fingerprint,
        "largest difference",
        "2.13.0",
    ):
        assert words in text, words
    assert text.count("epoch") >= 2


def test_names_from_models_and_recipes_cannot_become_markup(measured):
    evil = '<script>alert(1)</script>"><img src=x onerror=y>'
    report = run_document(measured)
    report["model"] = report["model_title"] = evil
    report["layers"][0]["name"] = report["layers"][0]["kind"] = evil
    report["notes"] = {evil: [evil]}
    report["problems"] = {"onnx": evil}
    report["environment"] = {evil: evil}
    report["data"]["classes"] = [evil] * 10
    report["data"]["title"] = evil
    html = render(report, measured.recipe.replace(model=evil, pins=(evil,)))
    page = Page(html)
    assert not {"script", "img"} & set(page.tags)
    assert "<script>" not in html


def test_a_report_without_data_or_epochs_says_so():
    result = pruned_result("bundled:mlp_digits")
    page = Page(render(run_document(result), result.recipe))
    assert "Not measured: the run had no data." in page.text
    assert "Fine-tuning" not in page.text


def test_a_loss_that_is_not_finite_is_said_and_not_drawn(measured):
    report = run_document(measured)
    report["loss"]["tuned"] = None
    for epoch in report["epochs"]:
        epoch["loss"] = epoch["validation_loss"] = None
    text = Page(render(report, measured.recipe)).text
    assert "not finite" in text
    assert "Loss (cross-entropy)" in text


def test_a_deep_network_shows_its_largest_layers_and_lists_all(measured):
    report = run_document(measured)
    layer = report["layers"][0]
    report["layers"] = [
        {**layer, "name": f"layer.{i}", "before": {**layer["before"], "params": 10 + i}}
        for i in range(100)
    ]
    text = Page(render(report, measured.recipe)).text
    assert "the 40 largest of 100 layers" in text
    assert "layer.0 " in text
    assert "layer.99" in text


def test_the_summary_is_a_sentence_a_newcomer_understands(measured):
    text = summary(run_document(measured), measured.recipe)
    before, after = text.split(". It went from ")
    assert before == (
        "CNN 16-32 with batch norm was pruned by units with the criterion L1 norm (all layers "
        "ranked together), in one shot and fine-tuned for 2 epochs"
    )
    assert re.fullmatch(
        r"337,536 to [\d,]+ MACs \(\d\.\d\dx smaller\)\. "
        r"Test accuracy went from 9\d\.\d\d % to [\d.]+ % \(n = 500\)\.",
        after,
    )


# Charts and words


def test_ticks_are_round_and_enclose_the_values():
    assert nice_ticks(0, 1) == [0, 0.2, 0.4, 0.6, 0.8, 1]
    assert nice_ticks(88.2, 89.9) == [88, 88.5, 89, 89.5, 90]
    assert nice_ticks(3, 3)[0] < 3 < nice_ticks(3, 3)[-1]
    assert nice_ticks(0, 0)[0] < 0 < nice_ticks(0, 0)[-1]


@given(st.floats(-1e6, 1e6), st.floats(0, 1e6))
def test_ticks_enclose_any_range(low, width):
    ticks = nice_ticks(low, low + width)
    slack = 1e-6 * max(1, abs(low), width)
    assert ticks[0] <= low + slack
    assert ticks[-1] >= low + width - slack
    assert 2 <= len(ticks) <= 12


def test_curves_have_a_point_for_each_epoch_and_leave_gaps():
    svg = line_chart([Line("a<b", "first", [1.0, None, 3.0])], alt="three epochs")
    assert svg.count("<circle") == 2
    assert "a&lt;b" in svg
    assert 'aria-label="three epochs"' in svg
    assert "NaN" not in line_chart([Line("one", "first", [0.5])], alt="one epoch")


def test_bars_are_as_long_as_their_numbers():
    svg = bar_chart([Bar("x", 200, 50, "50 of 200"), Bar("y", 100, 100, "")], alt="two layers")
    widths = [float(width) for width in re.findall(r'<rect[^>]* width="([\d.]+)"', svg)]
    assert widths[1] / widths[0] == pytest.approx(0.25, abs=0.01)
    assert widths[2] / widths[0] == pytest.approx(0.5, abs=0.01)


def test_numbers_are_written_for_people():
    assert count(266_610) == "266,610"
    assert (percent(0.8812), percent(None)) == ("88.12 %", "not measured")
    assert (ratio(266_610, 14_000), ratio(1, 0)) == ("19.04x", "-")
    assert [size(n) for n in (999, 1066, 1_066_440, 2 * 10**9)] == [
        "999 bytes", "1.07 kB", "1.07 MB", "2 GB",
    ]  # fmt: skip
    assert [duration(s) for s in (0.034, 12.3, 75.2)] == ["0.03 s", "12 s", "1 min 15 s"]
    assert table(("Name", "n"), [("a", "1"), ("bb", "22")]) == (
        "Name   n\n----  --\na      1\nbb    22"
    )
