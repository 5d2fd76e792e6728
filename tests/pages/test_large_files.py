"""Weights too large for plans on the Model page: looked at and cut in blocks."""

import json
import sys

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from pages.common import starter
from pruning_core import streaming


@pytest.fixture
def path(tmp_path, monkeypatch):
    """A file that counts as too large, offered by whoever started the server."""
    draw = torch.Generator().manual_seed(0)
    state = {"a.weight": torch.randn(40, 30, generator=draw), "b.weight": torch.zeros(20, 10)}
    file = tmp_path / "big.safetensors"
    save_file(state, file)
    monkeypatch.setattr(starter, "MOST_VALUES", 1000)
    monkeypatch.setattr(streaming, "_BLOCK", 256)
    monkeypatch.setattr(sys, "argv", ["app.py", "--model", str(file)])
    starter._offer.cache_clear()
    yield file
    starter._offer.cache_clear()


def test_a_file_too_large_for_plans_is_looked_at_and_cut_exactly(app, path):
    app.run()
    assert not app.exception
    assert not app.error
    drawn = [json.loads(element.proto.bytes) for element in app.get("bidi_component")]
    alts = [data.get("alt", "") for data in drawn]
    assert any(text.startswith("Heatmap of |w| in layer a.weight, 40 by 30") for text in alts)
    assert any(text.startswith("Histogram of the magnitudes of a.weight") for text in alts)
    next(button for button in app.button if button.label.startswith("Read the whole file")).click()
    app.run()
    while not app.slider:
        app.run()
    app.slider[0].set_value(30.0).run()
    text = next(x.value for x in app.markdown if x.value.startswith("Threshold"))
    values = np.concatenate([x.numpy().ravel() for x in load_file(path).values()])
    threshold = float(app.code[0].value.split()[-3])
    gone = int((np.abs(values) < np.float32(threshold)).sum())
    assert f"**{gone:,}** of 1,400 weights" in text
    assert abs(gone / 1400 - 0.3) < 0.01
    assert not list(path.parent.glob("*masked*"))
    app.button(key="write_masked").click().run()
    while "write_masked" not in [button.key for button in app.button]:
        app.run()
    assert not app.exception
    assert f"{gone:,} of its weights" in app.success[0].value.replace("\\", "")
    masked = load_file(path.with_name("big-masked.safetensors"))
    for name, values in load_file(path).items():
        kept = torch.where(values.abs() < threshold, 0, values)
        assert torch.equal(masked[name], kept)
    assert not list(path.parent.glob(".*part"))


def test_a_shared_server_writes_no_file_for_visitors(app, path, monkeypatch):
    monkeypatch.setattr("pages.common.access.is_shared", lambda: True)
    app.run()
    next(button for button in app.button if button.label.startswith("Read the whole file")).click()
    app.run()
    while not app.slider:
        app.run()
    assert "write_masked" not in [button.key for button in app.button]
    assert any("shared server" in caption.value for caption in app.caption)
