"""A file of weights alone, and in an architecture whose names or shapes differ."""

import contextlib
import io
import re
import zipfile

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import nn
from torch.nn.utils import prune as torch_prune

from pruning_core import export
from pruning_core.errors import (
    DataError,
    ExportError,
    MissingEvidenceError,
    UnsupportedModelError,
)
from pruning_core.exporting.exporter import EXPORTERS
from pruning_core.exporting.reopen import open_run
from pruning_core.exporting.sparse import read_sparse
from pruning_core.loading.fitting import fit, fitted
from pruning_core.loading.model import load_model
from pruning_core.loading.permitted import is_permitted, permit
from pruning_core.loading.providers.weights import read_tensors
from pruning_core.loading.weights import read_weights
from pruning_core.planning.recipe import Recipe
from pruning_core.planning.resolve import resolve
from pruning_core.preview import preview
from pruning_core.runs.importing import import_run
from pruning_core.runs.pipeline import execute, write_run
from pruning_core.runs.store import Store
from pruning_core.scoring.score import score
from pruning_core.tracing.trace import trace


@pytest.fixture(autouse=True)
def own_state(tmp_path, monkeypatch):
    monkeypatch.setenv("PRUNING_STUDIO_STATE", str(tmp_path / "state"))


class Small(nn.Module):
    def __init__(self, n_classes=10):
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3)
        self.norm = nn.BatchNorm2d(4)
        self.fc = nn.Linear(4, n_classes)

    def forward(self, x):
        return self.fc(self.norm(self.conv(x)).relu().mean((2, 3)))


def small(seed=0, **options):
    torch.manual_seed(seed)
    return Small(**options)


def stored(tmp_path, state, name="w.safetensors"):
    path = tmp_path / name
    safetensors.torch.save_file(dict(state), path)
    return path


ODD = {
    "block.10.weight": torch.randn(6, 5),
    "block.2.weight": torch.randn(8, 3, 3, 3),
    "block.2.bias": torch.randn(8),
    "forward": torch.randn(4, 4).half(),
    ".hidden": torch.randn(3, 4, 5),
    "stack.experts": torch.randn(3, 7, 100),
    "video.weight": torch.randn(2, 3, 2, 2, 2),
    "steps": torch.tensor(3),
}


def test_weights_alone_have_exact_totals_and_masks_and_nothing_that_needs_a_forward(tmp_path):
    path = stored(tmp_path, ODD)
    model = load_model(f"weights:{path}")
    network = trace(model.module, model.inputs)
    floats = {name: tensor for name, tensor in ODD.items() if tensor.is_floating_point()}
    recipe = Recipe(model=model.identity, target={"kind": "ratio", "value": 0.5})
    plan = resolve(recipe, network, score(model, network, recipe))
    counted = preview(network, plan)
    matrices = [tensor for tensor in floats.values() if tensor.ndim > 1]
    n_weights = sum(tensor.numel() for tensor in matrices)
    assert not network.has_forward
    assert network.groups == ()
    assert counted.before.macs == 0
    assert counted.before.params == sum(tensor.numel() for tensor in floats.values())
    assert counted.before.n_bytes == path.stat().st_size
    assert counted.before.nonzero - counted.after.nonzero == n_weights // 2
    with pytest.raises(MissingEvidenceError, match="weights without an architecture"):
        score(model, network, recipe.replace(criterion="synflow"))


def test_layers_are_in_the_order_of_their_numbers(tmp_path):
    model = load_model(f"weights:{stored(tmp_path, ODD)}")
    names = [layer.name for layer in trace(model.module, model.inputs).layers]
    assert names.index("block.2") < names.index("block.10")


def test_a_run_of_weights_alone_writes_the_masks_of_torch_prune_under_the_original_names(tmp_path):
    path = stored(tmp_path, ODD)
    recipe = Recipe(model=f"weights:{path}", target={"kind": "ratio", "value": 0.6})
    *_, finished = execute(recipe)
    folder = tmp_path / "run"
    folder.mkdir()
    result = write_run(finished.result, folder)
    found = read_weights(folder / "model.safetensors")
    assert set(found) == set(ODD)
    layers = nn.ModuleDict()
    for number, (name, tensor) in enumerate(ODD.items()):
        if tensor.ndim > 1:
            layer = nn.Module()
            layer.w = nn.Parameter(tensor.float())
            layer.name = name
            layers[str(number)] = layer
    torch_prune.global_unstructured(
        [(layer, "w") for layer in layers.values()], torch_prune.L1Unstructured, amount=0.6
    )
    for layer in layers.values():
        assert torch.equal(found[layer.name] != 0, layer.w_mask.bool())
        assert torch.equal(found[layer.name].float(), layer.w.detach())
    assert result.problems["onnx"]


def test_files_have_the_bytes_that_were_counted_and_the_names_of_the_file_in_every_form(tmp_path):
    """Names that are changed inside have other lengths and another order."""
    state = {
        "zz top.weight": torch.randn(20, 12),
        "class.weight": torch.randn(9, 12),
        "a b c.conv.weight": torch.randn(4, 3, 3, 3),
        "(1).bias": torch.randn(20),
    }
    path = stored(tmp_path, state)
    recipe = Recipe(model=f"weights:{path}", target={"kind": "ratio", "value": 0.6})
    *_, finished = execute(recipe)
    result, folder = finished.result, tmp_path / "run"
    folder.mkdir()
    write_run(result, folder)
    written = folder / "model.safetensors"
    assert written.stat().st_size == result.preview.after.n_bytes
    found = read_weights(written)
    masks = read_weights(export(folder, "masks", tmp_path / "masks.safetensors"))
    assert {name: mask.shape for name, mask in masks.items()} == {
        name: tensor.shape for name, tensor in state.items()
    }
    sparse = read_sparse(export(folder, "sparse", tmp_path / "sparse.safetensors"))
    for name, tensor in state.items():
        assert torch.equal(found[name], tensor * masks[name])
        assert torch.equal(sparse[name], found[name])
    dense = read_weights(export(folder, "dense_shapes", tmp_path / "dense.safetensors"))
    assert dense.keys() == state.keys()
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for file in folder.iterdir():
            archive.write(file, file.name)
    imported = import_run(
        packed, "run.zip", store=Store(tmp_path / "state"), allow_python=lambda _: True
    )
    assert imported.state == "done"


HOSTILE = {
    'ok") if open("ran", "w") else getattr(self, "ok.weight': torch.randn(4, 8),
    "ok', open('ran', 'w'), '.weight": torch.randn(4, 8),
    'x\\");open("ran","w")#.weight': torch.randn(4, 8),
    "a;open('ran','w');.weight": torch.randn(4, 8),
    "ok.weight": torch.randn(3, 8),
    "class.weight": torch.randn(3, 8),
    "type.weight": torch.randn(3, 8),
    "_type.weight": torch.randn(2, 8),
    "a:b.weight": torch.randn(2, 8),
    "a_b.weight": torch.randn(2, 5),
    "a_b": torch.randn(2, 5),
    "\u00b2": torch.randn(2, 5),
}


def test_no_name_of_a_file_runs_as_code_in_any_form_and_every_name_comes_back(
    tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    path = stored(tmp_path, HOSTILE)
    recipe = Recipe(model=f"weights:{path}", target={"kind": "ratio", "value": 0.5})
    *_, finished = execute(recipe)
    result, folder = finished.result, tmp_path / "run"
    folder.mkdir()
    write_run(result, folder)
    for key in EXPORTERS:
        with contextlib.suppress(ExportError):
            export(result, key, folder)
        assert not list(tmp_path.rglob("ran")), key
    assert (folder / "pruned_network.zip").is_file()
    assert (folder / "model.pt2").is_file()
    found, again = read_weights(folder / "model.safetensors"), open_run(folder)
    assert {name: x.shape for name, x in found.items()} == {n: x.shape for n, x in HOSTILE.items()}
    mine, other = again.surgery.module.state_dict(), result.surgery.module.state_dict()
    assert mine.keys() == other.keys()
    assert all(torch.equal(mine[name], other[name]) for name in mine)
    for name in mine:
        assert all(re.fullmatch(r"[A-Za-z0-9_-]+", part) for part in name.split("."))


@pytest.mark.parametrize("name", ['a"b', "a'b", "a\\b", "a\nb"])
def test_a_model_with_names_that_could_become_code_is_not_traced(name):
    model = nn.Sequential()
    model.add_module(name, nn.Linear(3, 2))
    with pytest.raises(UnsupportedModelError, match="quotes, backslashes"):
        trace(model, torch.zeros(1, 3))


def test_data_cannot_be_put_through_weights_alone(tmp_path):
    path = stored(tmp_path, ODD)
    with pytest.raises(DataError, match="no data can be put through"):
        list(execute(Recipe(model=f"weights:{path}", data="digits")))


@pytest.mark.parametrize(
    "rename",
    [
        lambda name: name,
        lambda name: f"module.{name}",
        lambda name: f"_orig_mod.module.{name}",
        lambda name: f"some_wrapper.{name}",
        lambda name: name.replace("norm.weight", "norm.gamma").replace("norm.bias", "norm.beta"),
    ],
)
def test_usual_differences_of_names_are_found_and_the_result_computes_the_same(rename):
    source, target = small(1), small(2)
    state = {rename(name): tensor for name, tensor in source.state_dict().items()}
    found = fit(target, state)
    assert found.is_whole
    assert bool(found.rules) == (next(iter(state)) != "conv.weight" or "norm.gamma" in state)
    x = torch.randn(3, 1, 8, 8)
    made = fitted(target, state, "w").eval()
    assert torch.equal(made(x), source.eval()(x))


def test_another_number_of_classes_changes_the_last_layer_alone():
    source = small(1, n_classes=3)
    found = fit(small(2), source.state_dict())
    assert (found.n_classes, found.problem) == (3, "")
    made = fitted(small(2), source.state_dict(), "w").eval()
    x = torch.randn(2, 1, 8, 8)
    assert torch.equal(made(x), source.eval()(x))


def test_other_shapes_and_missing_tensors_are_named():
    state = small(1).state_dict()
    wrong = state | {"conv.weight": torch.zeros(5, 1, 3, 3)}
    with pytest.raises(UnsupportedModelError, match=r"'conv.weight' has the shape \(4, 1, 3, 3\)"):
        fitted(small(), wrong, "w")
    less = {name: tensor for name, tensor in state.items() if name != "norm.running_var"}
    less["norm.runing_var"] = state["norm.running_var"]
    with pytest.raises(UnsupportedModelError, match=r"Did the file call it 'norm\.runing_var'"):
        fitted(small(), less, "w")
    verdicts = {row.name or row.file_name: row.verdict for row in fit(small(), less).rows}
    assert verdicts["norm.running_var"] == "missing in the file"
    assert verdicts["norm.runing_var"] == "not used"


def test_weights_go_into_a_bundled_architecture_by_name(tmp_path):
    dense = load_model("bundled:lenet_5")
    state = {f"module.{name}": value for name, value in dense.module.state_dict().items()}
    path = tmp_path / "mine.pth"
    torch.save({"state_dict": state}, path)
    model = load_model(f"weights:{path}@bundled:lenet_5")
    assert model.weights_sha256 == dense.weights_sha256
    assert model.data == dense.data
    with pytest.raises(UnsupportedModelError, match="do not fit"):
        load_model(f"weights:{path}@bundled:resnet_8")


def test_an_architecture_that_runs_code_is_refused_where_code_is(tmp_path, monkeypatch):
    path = stored(tmp_path, small().state_dict())
    identity = f"weights:{path}@python:tests.core.test_weights_files:small"
    assert load_model(identity, input_shape=(1, 8, 8)).module.fc.out_features == 10
    with pytest.raises(UnsupportedModelError, match="run code when they are loaded"):
        load_model(identity, input_shape=(1, 8, 8), allow_python=False)
    monkeypatch.setenv("PRUNING_STUDIO_MODELS", "[]")
    assert not is_permitted(identity)
    permit(["python:tests.core.test_weights_files:small"])
    assert is_permitted(identity)


def test_weights_that_hold_nan_are_opened_and_named_when_they_are_rated(tmp_path):
    path = stored(tmp_path, {"fc.weight": torch.tensor([[np.nan, 1.0], [2.0, 3.0]])})
    model = load_model(f"weights:{path}")
    with pytest.raises(UnsupportedModelError, match="'fc' are not all finite"):
        score(model, trace(model.module, model.inputs), Recipe(model=model.identity))


def test_blocks_of_a_sorted_file_go_where_their_numbers_say(tmp_path):
    state = {f"b.{i}.weight": torch.full((8, 8), float(i)) for i in range(12)}
    path = stored(tmp_path, {"a.weight": torch.randn(8, 5), **state})
    target = nn.ModuleDict({"first": nn.Linear(5, 8, bias=False)})
    target.update({f"blk{i}": nn.Linear(8, 8, bias=False) for i in range(12)})
    made = fitted(target, read_tensors(str(path))[0], "w")
    assert [int(made.get_submodule(f"blk{i}").weight[0, 0]) for i in range(12)] == list(range(12))


def test_a_file_of_this_machine_obeys_the_rules_for_names(tmp_path):
    path = stored(tmp_path, {"a\nopen('ran','w')\n.weight": torch.ones(2, 2)})
    with pytest.raises(DataError, match="not printable"):
        read_tensors(str(path))


def test_whole_numbers_of_a_file_of_this_machine_become_no_weights(tmp_path):
    path = stored(tmp_path, {"fc.weight": torch.ones(8, 5, dtype=torch.int8)})
    with pytest.raises(DataError, match="holds whole numbers"):
        read_tensors(str(path))
    target = nn.ModuleDict({"fc": nn.Linear(5, 8, bias=False)})
    with pytest.raises(UnsupportedModelError, match="holds whole numbers"):
        fitted(target, {"fc.weight": torch.ones(8, 5, dtype=torch.int8)}, "w")
