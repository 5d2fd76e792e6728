"""A person takes a result away in a real browser: makes a form, downloads it, and runs it."""

import shutil
import subprocess
import sys
import zipfile

import pytest

from pruning_core.planning.recipe import Ratio, Recipe, Tuning
from pruning_core.runs.pipeline import execute, write_run
from pruning_core.runs.store import Store

pytestmark = pytest.mark.browser

RECIPE = Recipe(
    model="bundled:mlp_digits",
    granularity="unit",
    target=Ratio(value=0.3),
    tuning=Tuning(epochs=0),
)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    path = tmp_path_factory.mktemp("run")
    result = list(execute(RECIPE))[-1].result
    write_run(result, path)
    return result, path


def test_python_source_is_made_downloaded_and_runs_alone(page, cold_server, finished, tmp_path):
    result, folder = finished
    store = Store(cold_server.state)
    shutil.copytree(folder, store.root / "copy")
    record = store.adopt(RECIPE, store.root / "copy", label="", accuracy={})
    page.goto(f"{cold_server.url}/export?run={record.id}")
    make = page.locator(".st-key-make_python button")
    make.wait_for()
    make.click()
    page.locator(".st-key-download_python button").wait_for(timeout=120_000)
    with page.expect_download() as waited:
        page.locator(".st-key-download_python button").click()
    archive = tmp_path / "network.zip"
    waited.value.save_as(archive)
    with zipfile.ZipFile(archive) as opened:
        for name in opened.namelist():
            (tmp_path / name.rpartition("/")[2]).write_bytes(opened.read(name))
    done = subprocess.run(
        [sys.executable, "-I", str(tmp_path / "pruned_network.py")],
        check=True,
        capture_output=True,
        text=True,
    )
    assert done.stdout == f"{result.counted.params:,} parameters\n"
    # What this network has no form for says why, and can be asked for again.
    page.locator(".st-key-make_sparse button").click()
    page.get_by_text("too few zeros").wait_for(timeout=120_000)
    assert page.locator(".st-key-make_sparse button").count() == 1
