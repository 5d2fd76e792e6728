"""A person compares runs in a real browser: imports one, looks, swaps, reloads, shares the link."""

import io
import zipfile

import pytest

from pruning_core.planning.recipe import Ratio, Recipe, Tuning
from pruning_core.runs.pipeline import execute, write_run
from pruning_core.runs.store import Store
from tests.browser.test_journeys import settle, until

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A finished run of a small network that is often wrong."""
    recipe = Recipe(
        model="bundled:mlp_digits", target=Ratio(value=0.97), tuning=Tuning(epochs=0), seed=7
    )
    path = tmp_path_factory.mktemp("run")
    write_run(list(execute(recipe))[-1].result, path)
    return path


def test_a_run_is_imported_compared_and_found_again_by_its_link(page, cold_server, folder):
    page.goto(f"{cold_server.url}/compare")
    page.get_by_text("Runs appear here when they are done").wait_for()
    page.get_by_role("button", name="Import a run").click()
    field = page.locator("input[type=file]")
    field.wait_for(state="attached")
    field.set_input_files(
        {"name": "bad.zip", "mimeType": "application/zip", "buffer": b"PK\x03\x04 no zip"}
    )
    page.get_by_text("This is no zip file that can be read").wait_for()
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for path in folder.iterdir():
            archive.writestr(f"my run/{path.name}", path.read_bytes())
    field = page.locator("input[type=file]")
    if not field.count():
        page.get_by_role("button", name="Import a run").click()
    field.set_input_files(
        {"name": "from afar.zip", "mimeType": "application/zip", "buffer": packed.getvalue()}
    )
    page.get_by_text("Two networks side by side").wait_for()
    (record,) = Store(cold_server.state).all()
    assert record.label == "imported from afar"
    page.keyboard.press("Escape")
    # Dense against imported: measured here, on the same samples, beside the page.
    page.locator(".st-key-mask_overlap").wait_for(timeout=120_000)
    settle(page)
    metric = page.get_by_test_id("stMetric").filter(has_text="Right in A, wrong in B")
    lost = int(metric.get_by_test_id("stMetricValue").inner_text())
    assert lost > 0
    pictures = page.get_by_test_id("stImage").first.locator("img")
    until(pictures.count, lambda n: n == min(lost, 24))
    page.get_by_role("button", name="Swap").click()
    won = page.get_by_test_id("stMetric").filter(has_text="Wrong in A, right in B")
    until(lambda: won.get_by_test_id("stMetricValue").inner_text(), lambda text: text == str(lost))
    until(lambda: page.url, lambda url: f"pair={record.id}%3Apruned%2C{record.id}%3Adense" in url)
    page.reload()
    page.locator(".st-key-mask_overlap").wait_for()
    assert won.get_by_test_id("stMetricValue").inner_text() == str(lost)
