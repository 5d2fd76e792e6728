"""Forms that are made on demand: each loads back, without this project, to the same network."""

import csv
import io
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import safetensors.torch
import torch

from pruning_core import Recipe, export
from pruning_core.command_line import main
from pruning_core.errors import DataError, ExportError
from pruning_core.exporting.document import run_document
from pruning_core.exporting.exporter import EXPORTERS
from pruning_core.exporting.formats.figures import standalone
from pruning_core.exporting.model_card import write_hub_folder
from pruning_core.exporting.sparse import packed, read_sparse
from pruning_core.exporting.spreadsheet import csv_text
from pruning_core.runs.pipeline import execute, write_run
from tests.core.test_exporting import MODELS, inputs, logits, pruned_result

ROOT = Path(__file__).resolve().parents[2]
ON_DEMAND = [key for key, entry in EXPORTERS.items() if entry.on_demand]
# All bundled networks: EXPORT_MODELS=all (some minutes); two small ones otherwise.
CASES = [("bundled:cnn_digits", "weight"), ("bundled:vit_tiny", "unit")]
if os.environ.get("EXPORT_MODELS") == "all":
    CASES = [(identity, kind) for identity in MODELS for kind in ("unit", "weight")]


@pytest.fixture(scope="module")
def measured():
    """A run of a small network with a mixed plan: some units leave, some weights are masked."""
    recipe = Recipe(
        model="bundled:mlp_digits",
        granularity="unit",
        target={"kind": "ratio", "value": 0.3},
        also=({"granularity": "weight", "target": {"kind": "ratio", "value": 0.7}},),
        tuning={"epochs": 1, "train_samples": 200},
    )
    return list(execute(recipe))[-1].result


@pytest.fixture(scope="module")
def folder(measured, tmp_path_factory):
    path = tmp_path_factory.mktemp("run")
    write_run(measured, path)
    return path


def alone(code, *arguments, cwd):
    """Run code in a process that cannot import this project, and return what it printed."""
    blocked = (
        "import sys\n"
        "class Block:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.partition('.')[0] in {'pruning_core', 'safetensors', 'numpy'}:\n"
        "            raise ModuleNotFoundError(f'{name} is not there')\n"
        "sys.meta_path.insert(0, Block())\n"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-W", "ignore", "-c", blocked + code, *map(str, arguments)],
        cwd=cwd,
        check=False,
        capture_output=True,
        text=True,
        env={"PATH": os.environ["PATH"], "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(("identity", "granularity"), CASES)
def test_the_python_source_runs_with_torch_alone(identity, granularity, tmp_path):
    result = pruned_result(identity, granularity)
    path = export(result, "python", tmp_path)
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        assert names == [
            "pruned_network/pruned_network.py",
            "pruned_network/pruned_network.safetensors",
        ]
        for name in names:
            (tmp_path / Path(name).name).write_bytes(archive.read(name))
    source = (tmp_path / "pruned_network.py").read_text()
    assert "pruning_core" not in source
    assert "safetensors.torch" not in source
    x = inputs(result, 5)
    safetensors.torch.save_file({"x": x}, tmp_path / "x.safetensors")
    printed = alone(
        "sys.path.insert(0, sys.argv[1])\n"
        "import json, torch, pruned_network\n"
        "x = pruned_network.read_tensors('x.safetensors')['x']\n"
        "network = pruned_network.load()\n"
        "with torch.no_grad(): y = network(x)\n"
        "print(json.dumps([y.tolist(), sorted(network.state_dict())]))\n",
        tmp_path,
        cwd=tmp_path,
    )
    found, names = json.loads(printed)
    expected = logits(result.surgery.module, x)
    assert float((torch.tensor(found) - expected).abs().max()) < 1e-4
    assert set(result.surgery.module.state_dict()) <= set(names)


@pytest.mark.parametrize(("identity", "granularity"), CASES)
def test_the_program_of_pytorch_computes_the_same_at_any_batch_size(
    identity, granularity, tmp_path
):
    result = pruned_result(identity, granularity)
    program = torch.export.load(export(result, "pt2", tmp_path)).module()
    for n in (2, 9):
        x = inputs(result, n)
        difference = logits(program, x) - logits(result.surgery.module, x)
        assert float(difference.abs().max()) < 1e-4
    assert [item.name for item in tmp_path.iterdir()] == ["model.pt2"]


@pytest.mark.parametrize(("identity", "granularity"), CASES)
def test_masks_index_map_and_dense_shapes_lead_back_to_the_dense_network(
    identity, granularity, tmp_path
):
    result = pruned_result(identity, granularity)
    masks = safetensors.torch.load_file(export(result, "masks", tmp_path))
    dense = safetensors.torch.load_file(export(result, "dense_shapes", tmp_path))
    parameters = dict(result.model.module.named_parameters())
    assert set(masks) == set(parameters)
    for name, mask in masks.items():
        # The oracle: what is left in dense shapes is the dense weight where the mask is true.
        assert mask.dtype == torch.bool
        assert torch.equal(dense[name], parameters[name] * mask), name
    document = json.loads(export(result, "index_map", tmp_path).read_text())
    state = result.surgery.module.state_dict()
    for name, entry in document["tensors"].items():
        source = result.model.module.state_dict()[name]
        assert entry["shape_before"] == list(source.shape)
        for axis, kept in enumerate(entry["kept"]):
            if kept is not None:
                source = source.index_select(axis, torch.tensor(kept))
        assert torch.equal(source, state[name])
    removed = sum(unit["n"] - len(unit["kept"]) for unit in document["units"].values())
    assert removed == sum(result.plan.n_removed(site) for site in result.plan.keep)


def test_weights_without_zeros_read_back_to_the_same_bits(tmp_path):
    result = pruned_result("bundled:cnn_digits", "weight", 0.9)
    path = export(result, "sparse", tmp_path)
    plain_path = export(result, "safetensors", tmp_path)
    assert path.stat().st_size < 0.2 * plain_path.stat().st_size
    state, again = result.surgery.module.state_dict(), read_sparse(path)
    assert state.keys() == again.keys()
    assert all(torch.equal(again[name], state[name]) for name in state)
    with safetensors.safe_open(path, framework="np") as file:  # by hand, as the description says
        shape = json.loads(file.metadata()["shapes"])["fc1.weight"]
        bits = np.unpackbits(file.get_tensor("fc1.weight.bitmask"), count=np.prod(shape))
        flat = np.zeros(bits.size, np.float32)
        flat[bits == 1] = file.get_tensor("fc1.weight.values")
    assert np.array_equal(flat.reshape(shape), state["fc1.weight"].numpy())
    with pytest.raises(ExportError, match="too few zeros"):
        export(pruned_result("bundled:cnn_digits"), "sparse", tmp_path)
    (tmp_path / "half").write_bytes(path.read_bytes()[:-9])
    with pytest.raises(DataError, match="no packed weights"):
        read_sparse(tmp_path / "half")


def test_packing_leaves_small_and_odd_tensors_alone():
    state = {
        "n": torch.tensor(0),
        "e": torch.zeros(0, 3),
        "w": torch.zeros(3, 50),
        "b": torch.ones(4),
    }
    tensors, metadata = packed(state)
    assert json.loads(metadata["shapes"]) == {"w": [3, 50]}
    assert tensors["w.bitmask"].numel() == 19
    assert tensors["w.values"].numel() == 0
    assert torch.equal(tensors["b"], state["b"])


# The run again


def test_the_exported_script_makes_the_same_masks(measured, tmp_path):
    path = export(measured, "script", tmp_path)
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, str(path)],
        cwd=tmp_path,
        check=False,
        capture_output=True,
        text=True,
        env=environment,
    )
    assert done.returncode == 0, done.stderr
    assert "masks are the same: True" in done.stdout
    again = json.loads((tmp_path / "reproduced" / "report.json").read_text())
    known = run_document(measured)
    for name in ("mask_fingerprint", "keep", "recipe_fingerprint", "accuracy", "nonzero"):
        assert again[name] == json.loads(json.dumps(known[name])), name


def test_the_notebook_holds_the_code_of_the_script(measured, tmp_path):
    script = export(measured, "script", tmp_path).read_text()
    notebook = json.loads(export(measured, "notebook", tmp_path).read_text())
    assert (notebook["nbformat"], notebook["nbformat_minor"]) == (4, 5)
    code = ["".join(c["source"]) for c in notebook["cells"] if c["cell_type"] == "code"]
    assert script.endswith("\n\n".join(code) + "\n")
    assert len({cell["id"] for cell in notebook["cells"]}) == len(notebook["cells"])
    compile(script, "reproduce.py", "exec")


def test_odd_names_in_a_recipe_stay_text_in_the_script(tmp_path):
    result = pruned_result("bundled:mlp_digits")
    odd = "x'''\"\"\"\\n{0}; import os #\u2028"
    recipe = result.recipe.replace(layers={odd: {"kind": "count", "value": 1}})
    from dataclasses import replace

    text = export(replace(result, recipe=recipe), "script", tmp_path).read_text()
    found = {}
    exec(text[text.index("RECIPE") : text.index("recipe = ")], found)
    assert Recipe.from_json(found["RECIPE"]) == recipe


# To read


def test_tables_hold_the_numbers_of_the_report(measured, tmp_path):
    known = run_document(measured)
    with zipfile.ZipFile(export(measured, "tables", tmp_path)) as archive:
        tables = {
            name.removesuffix(".csv"): list(
                csv.DictReader(io.StringIO(archive.read(name).decode()))
            )
            for name in archive.namelist()
        }
    totals = {row["quantity"]: int(row["after"]) for row in tables["totals"]}
    assert totals == {key: known[key]["after"] for key in ("params", "nonzero", "macs", "bytes")}
    assert sum(int(row["nonzero_after"]) for row in tables["layers"]) == totals["nonzero"]
    (accuracy,) = [
        row for row in tables["metrics"] if (row["moment"], row["metric"]) == ("tuned", "accuracy")
    ]
    assert float(accuracy["value"]) == known["accuracy"]["tuned"]
    assert float(accuracy["low_95"]) < float(accuracy["value"]) < float(accuracy["high_95"])
    assert len(tables["epochs"]) == 1
    confusion = np.array(
        [[int(row[str(c)]) for c in range(10)] for row in tables["confusion_tuned"]]
    )
    assert np.array_equal(confusion, measured.tuned.confusion)


def test_cells_that_look_like_formulas_are_text():
    assert csv_text(("=a", "b"), [("=1+1", None), ("@x", -2)]) == "'=a,b\n'=1+1,\n'@x,-2\n"


def test_figures_are_drawings_of_their_own(measured, tmp_path):
    with zipfile.ZipFile(export(measured, "figures", tmp_path)) as archive:
        drawings = {name: archive.read(name).decode() for name in archive.namelist()}
    assert set(drawings) == {"accuracy.svg", "loss.svg", "layers.svg"}
    for text in drawings.values():
        root = ElementTree.fromstring(text)
        assert root.tag == "{http://www.w3.org/2000/svg}svg"
        assert "http" not in text.replace("http://www.w3.org/2000/svg", "")
        assert root.attrib["aria-label"]
    assert standalone("<svg a='1'>x</svg>").startswith('<svg xmlns="')


# Hugging Face


def test_push_writes_a_folder_in_the_hub_layout_without_network(folder, measured, tmp_path, capsys):
    target = tmp_path / "hub"
    assert main(["push", str(folder), "--to", str(target), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert set(said["files"]) == {path.name for path in target.iterdir()}
    config = json.loads((target / "config.json").read_text())
    assert config["base_model"] == "bundled:mlp_digits"
    assert config["inputs"] == [{"shape": ["batch", 1, 8, 8], "dtype": "float32"}]
    assert config["id2label"]["3"] == "3"
    card = (target / "README.md").read_text()
    head, front, body = card.split("---\n", 2)
    assert head == ""
    assert f"value: {measured.tuned.accuracy!r}" in front
    assert f"{measured.counted.nonzero:,}" in body
    assert f"{100 * measured.tuned.accuracy:.2f} %" in body
    state = safetensors.torch.load_file(target / "model.safetensors")
    assert all(torch.equal(state[k], v) for k, v in measured.surgery.module.state_dict().items())
    printed = alone(
        "sys.path.insert(0, sys.argv[1])\n"
        "from pruned_network import load\n"
        "print(sum(p.numel() for p in load().parameters()))\n",
        target,
        cwd=target,
    )
    assert int(printed) == measured.counted.params
    assert main(["push", str(folder), "--to", str(target)]) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert main(["push", str(tmp_path / "none"), "--to", str(target)]) == 2
    assert "no run folder" in capsys.readouterr().err


def test_a_network_without_source_is_pushed_all_the_same(tmp_path, monkeypatch):
    from pruning_core.exporting.formats import python

    def refuse(*_):
        raise ExportError("This network cannot be written as one Python file.")

    monkeypatch.setattr(python, "write_source", refuse)
    result = pruned_result("bundled:mlp_digits")
    write_hub_folder(result, tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["source"] is None
    card = (tmp_path / "README.md").read_text()
    assert "Not measured: the run had no data." in card
    assert "from pruned_network" not in card


# Every form alike


@pytest.mark.parametrize("key", [key for key in ON_DEMAND if key not in {"python", "hugging_face"}])
def test_every_form_refuses_a_missing_folder_and_leaves_nothing(key, measured, tmp_path):
    with pytest.raises(ExportError):
        export(measured, key, tmp_path / "none" / "file")
    assert list(tmp_path.iterdir()) == []


def test_a_run_writes_none_of_them_by_itself(folder):
    names = {path.name for path in folder.iterdir()}
    assert not names & {EXPORTERS[key].file_name for key in ON_DEMAND}


def test_the_command_writes_a_form_from_the_folder(folder, tmp_path, capsys):
    assert main(["export", str(folder), "--format", "sparse", "--out", str(tmp_path / "s")]) == 0
    assert "bytes" in capsys.readouterr().out
    assert read_sparse(tmp_path / "s")
