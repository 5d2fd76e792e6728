"""One recipe, three ways: the page's cache, the command line and Python prune the same units."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from pages.common import cache
from pruning_core import Recipe, load_model, preview, resolve, score, trace

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = sorted((ROOT / "examples").glob("*.json"))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_page_command_line_and_python_make_the_same_masks(path):
    recipe = Recipe.from_json(path.read_bytes())
    model = load_model(recipe.model)
    network = trace(model.module, model.inputs)
    plan = resolve(recipe, network, score(model, network, recipe))
    command = [sys.executable, "-m", "pruning_core", "preview", str(path), "--json"]
    answer = json.loads(subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout)
    shown = cache.plan(recipe)
    assert shown.fingerprint == plan.fingerprint == answer["mask_fingerprint"]
    after = preview(network, plan).after
    assert cache.preview(recipe).after == after
    totals = {name: answer[name]["after"] for name in ("params", "nonzero", "macs", "bytes")}
    assert tuple(totals.values()) == (after.params, after.nonzero, after.macs, after.n_bytes)
