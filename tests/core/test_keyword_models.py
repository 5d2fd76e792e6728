"""Models called by keyword go through the whole pipeline."""

import json
import sys

import numpy as np
import onnxruntime
import pytest
import torch
from safetensors.torch import load_file

from pruning_core.command_line import main
from pruning_core.exporting.reopen import open_run
from pruning_core.inputs import Inputs
from pruning_core.loading.model import load_model

FACTORY = """
import torch
from torch import nn

class Tagger(nn.Module):
    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(50, 12)
        self.up, self.down = nn.Linear(12, 20), nn.Linear(20, 12)
        self.head = nn.Linear(12, 3)

    def forward(self, *, tokens, scale, extra=None):
        x = self.table(tokens)
        x = x + self.down(self.up(x * scale).relu())
        return {"tags": self.head(x), "pooled": (x.mean(1), extra[0] + 0)}

def build():
    tokens = torch.arange(7)[None]
    return Tagger(), {"tokens": tokens, "scale": torch.ones(7, 1), "extra": [torch.ones(1, 2)]}
"""
RECIPE = {
    "version": 1,
    "model": "python:own_tagger:build",
    "granularity": "unit",
    "target": {"kind": "ratio", "value": 0.5},
}


@pytest.fixture
def recipe(tmp_path, monkeypatch):
    (tmp_path / "own_tagger.py").write_text(FACTORY)
    monkeypatch.syspath_prepend(str(tmp_path))
    path = tmp_path / "recipe.json"
    path.write_text(json.dumps(RECIPE))
    yield path
    sys.modules.pop("own_tagger", None)


@pytest.mark.usefixtures("recipe")
def test_inputs_are_named_by_their_keywords_and_know_which_carry_the_batch():
    inputs = load_model("python:own_tagger:build").inputs
    assert set(inputs.names) == {"tokens", "scale", "extra_0"}
    carried = dict(zip(inputs.names, inputs.carry_batch, strict=True))
    assert carried == {"tokens": True, "scale": False, "extra_0": True}
    assert Inputs((torch.ones(1), [torch.ones(1)])).names == ("input_0", "input_1_0")


def test_a_run_writes_every_file_and_is_reopened(recipe, tmp_path, capsys):
    assert main(["run", str(recipe), "--out", str(tmp_path / "run")]) == 0, capsys.readouterr().err
    result = open_run(tmp_path / "run")
    assert result.onnx is not None
    assert result.onnx.max_abs_difference < 1e-4
    small = result.surgery.module.eval()
    assert type(small).__name__ == "Tagger"
    assert result.surgery.form == "module"
    assert small.up.out_features == 10
    session = onnxruntime.InferenceSession(str(tmp_path / "run" / "model.onnx"))
    shapes = {item.name: item.shape for item in session.get_inputs()}
    assert shapes["tokens"][0] == shapes["extra_0"][0] == "batch"
    assert shapes["scale"] == [7, 1]
    tokens = torch.randint(50, (4, 7))
    given = {"tokens": tokens, "scale": torch.rand(7, 1), "extra": [torch.rand(4, 2)]}
    fed = {"tokens": given["tokens"], "scale": given["scale"], "extra_0": given["extra"][0]}
    found = session.run(None, {name: x.numpy() for name, x in fed.items()})
    with torch.no_grad():
        expected = small(**given)
    for mine, theirs in zip(found, (expected["tags"], *expected["pooled"]), strict=True):
        assert np.abs(mine - theirs.numpy()).max() < 1e-4

    out = tmp_path / "dense.safetensors"
    assert main(["restore", str(tmp_path / "run"), "--out", str(out)]) == 0
    assert load_file(out)["up.weight"].shape == (20, 12)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"criterion": "taylor"}, "needs"),
        ({"data": "digits"}, "called with"),
    ],
)
def test_where_data_are_needed_one_sentence_says_so(recipe, tmp_path, capsys, change, words):
    recipe.write_text(json.dumps(RECIPE | change))
    assert main(["run", str(recipe), "--out", str(tmp_path / "run")]) == 2
    error = capsys.readouterr().err
    assert words in error.splitlines()[-1], error
    assert "internal" not in error
