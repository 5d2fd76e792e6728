"""What a person does, in a real browser: look, drag, type, pin, prune, reload, cancel, download."""

import json
import re
import time
from pathlib import Path

import pytest

from pruning_core.figures import numbers

pytestmark = pytest.mark.browser

ROOT = Path(__file__).resolve().parents[2]
STRIP = ".st-key-strip_numbers"
HANDLE = ".st-key-threshold [role=slider]"


def strip_values(page):
    """Return the counted numbers after the arrow, by label."""
    counted = page.locator(f"{STRIP} .item").filter(has=page.locator(".badge.exact"))
    labels = counted.locator(".label").all_inner_texts()
    return dict(zip(labels, counted.locator(".after").all_inner_texts(), strict=True))


def open_plan(page, url, model):
    page.goto(f"{url}/plan?model=bundled:{model}")
    page.locator(HANDLE).wait_for()
    page.locator(".st-key-layer_table tbody tr").first.wait_for()
    settle(page)


def settle(page):
    """Wait until the server has nothing left to do."""
    page.wait_for_function(
        "() => document.querySelector('[data-testid=stApp]')?.dataset.testScriptState"
        " === 'notRunning'"
    )


def until(read, wanted, seconds=40.0):
    """Wait until ``wanted(read())`` holds and return what was read."""
    end = time.monotonic() + seconds
    while not wanted(value := read()):
        assert time.monotonic() < end, f"still {value!r}"
        time.sleep(0.05)
    return value


def removed(page):
    return int(page.locator(HANDLE).get_attribute("aria-valuenow"))


def ratio_of(page, layer):
    row = page.locator(".st-key-layer_table tbody tr").filter(has_text=layer).first
    return float(row.locator("input.ratio").input_value())


def number_field(page, label):
    """Return the field called ``label``; while one takes the place of another there are two."""
    field = page.get_by_role("spinbutton", name=label, exact=True)
    until(field.count, lambda n: n == 1)
    return field


def type_number(page, label, text):
    field = number_field(page, label)
    field.fill(text)
    field.press("Enter")


def test_first_picture_and_totals_appear_without_a_click(page, cold_server):
    page.goto(cold_server.url)
    picture = page.locator(".st-key-first_heatmap canvas")
    picture.wait_for()
    assert "Heatmap of |w|" in picture.get_attribute("aria-label")
    page.locator(f"{STRIP} .item").first.wait_for()
    assert strip_values(page)["Parameters"] == "267 k"
    page.locator("[role=figure] .js-plotly-plot .main-svg").first.wait_for()
    assert "LeNet-300-100" in page.locator("h3").all_inner_texts()


def test_deep_link_on_a_cold_server_lands_in_the_shell(page, cold_server):
    page.goto(f"{cold_server.url}/plan?model=bundled:mlp_digits")
    page.locator(HANDLE).wait_for()
    assert page.get_by_role("dialog").count() == 0
    assert page.get_by_role("link", name="Export").count() == 1
    assert page.locator("h3").first.inner_text() == "fc1: 8,192 weights"
    assert "mlp_digits" in page.url


def test_dragging_shows_exact_totals_live_and_the_server_confirms(page, server):
    open_plan(page, server.url, "lenet_5")
    page.locator("input[aria-label*='What is pruned']").first.click()
    page.get_by_role("option", name="Units", exact=True).click()
    until(lambda: page.locator(HANDLE).get_attribute("aria-valuemax"), lambda m: m == "20")
    settle(page)
    before = strip_values(page)
    plot = page.locator(".st-key-threshold svg").bounding_box()
    knob = page.locator(HANDLE).bounding_box()
    page.mouse.move(knob["x"] + knob["width"] / 2, knob["y"] + 30)
    page.mouse.down()
    page.mouse.move(plot["x"] + plot["width"] * 0.5, plot["y"] + 90, steps=12)
    live_count, live = removed(page), strip_values(page)
    assert live_count > 0
    assert live["Parameters"] != before["Parameters"]
    page.mouse.up()
    until(lambda: ratio_of(page, "conv1"), lambda ratio: ratio == 5 * live_count)
    settle(page)
    assert removed(page) == live_count
    assert strip_values(page) == live
    assert page.locator(".st-key-threshold .warning").inner_text() == ""


def test_the_keyboard_moves_the_threshold(page, server):
    open_plan(page, server.url, "mlp_digits")
    page.locator(HANDLE).focus()
    page.keyboard.press("PageUp")
    moved = until(lambda: removed(page), lambda n: n > 0)
    until(lambda: ratio_of(page, "fc1"), lambda ratio: ratio > 5)
    page.keyboard.press("ArrowLeft")
    until(lambda: removed(page), lambda n: n < moved)


def test_threshold_count_and_ratio_are_views_of_one_value(page, server):
    open_plan(page, server.url, "mlp_digits")
    total = int(page.locator(HANDLE).get_attribute("aria-valuemax"))
    type_number(page, "Ratio (%)", "25")
    until(lambda: removed(page), lambda n: n == total // 4)
    shown = lambda label: number_field(page, label).input_value()  # noqa: E731
    until(lambda: shown("Count"), lambda text: text == str(total // 4))
    before = shown("Threshold")
    type_number(page, "Count", "10")
    until(lambda: removed(page), lambda n: n == 10)
    until(lambda: shown("Threshold"), lambda text: text != before)
    page.get_by_role("button", name="Follow global").click()
    until(lambda: removed(page), lambda n: n == 0)


def test_a_pinned_layer_stays_when_the_global_setting_moves(page, server):
    open_plan(page, server.url, "lenet_300_100")
    type_number(page, "Ratio (%)", "40")
    until(lambda: ratio_of(page, "fc1"), lambda ratio: ratio == 40)
    page.get_by_label("Pin fc1").check()
    settle(page)
    type_number(page, "Share to remove (%)", "90")
    until(lambda: ratio_of(page, "fc2"), lambda ratio: ratio > 50)
    assert ratio_of(page, "fc1") == 40
    page.get_by_label("Pin fc1").uncheck()
    settle(page)
    type_number(page, "Share to remove (%)", "80")
    until(lambda: ratio_of(page, "fc1"), lambda ratio: ratio > 60)


def test_prune_reload_in_between_see_accuracies_and_download(page, server, tmp_path):
    open_plan(page, server.url, "mlp_digits")
    type_number(page, "Share to remove (%)", "50")
    until(lambda: strip_values(page)["Non-zeros"], lambda text: text != "17.2 k")
    page.get_by_role("link", name="Run", exact=True).click()
    type_number(page, "Epochs", "2")
    settle(page)
    page.get_by_role("button", name="Prune", exact=True).click()
    page.get_by_role("button", name="Cancel").wait_for()
    until(lambda: page.evaluate("location.href"), lambda url: "run=" in url)
    run = re.search(r"run=([\w-]+)", page.url).group(1)
    page.reload()
    page.get_by_text(f"Run {run}").wait_for()
    page.get_by_text("Accuracy, 95 % interval").or_(page.get_by_text("Measured on")).first.wait_for(
        timeout=90_000
    )
    report = json.loads((server.state / "runs" / run / "export" / "report.json").read_text())
    shown = page.locator("[data-testid=stMetricValue]").all_inner_texts()
    assert shown == [f"{100 * report['accuracy'][m]:.2f} %" for m in ("dense", "pruned", "tuned")]
    page.get_by_role("link", name="Export", exact=True).click()
    page.get_by_text("model.onnx").first.wait_for()
    for name in ("model.safetensors", "model.onnx", "recipe.json", "report.html"):
        with page.expect_download() as download:
            page.get_by_role("button", name=name).click()
        path = tmp_path / name
        download.value.save_as(path)
        original = server.state / "runs" / run / "export" / name
        assert path.read_bytes() == original.read_bytes()


def test_a_run_can_be_cancelled(page, server):
    page.goto(f"{server.url}/run?model=bundled:cnn_digits")
    type_number(page, "Epochs", "500")
    settle(page)
    page.get_by_role("button", name="Prune", exact=True).click()
    page.get_by_text(re.compile(r"epoch \d+ of 500")).first.wait_for(timeout=60_000)
    page.get_by_role("button", name="Cancel").click()
    page.locator("[data-testid=stMarkdownBadge]", has_text="cancelled").or_(
        page.get_by_text("cancelled", exact=True)
    ).first.wait_for()


def test_a_heatmap_can_be_enlarged_and_read_as_numbers(page, server):
    open_plan(page, server.url, "mlp_digits")
    page.get_by_role("button", name="Enlarge").click()
    dialog = page.get_by_role("dialog")
    dialog.locator(".js-plotly-plot .main-svg").first.wait_for()
    assert "Heatmap of |w|" in dialog.locator("[role=figure]").first.get_attribute("aria-label")
    dialog.get_by_role("button", name="Numbers").click()
    page.locator("[data-testid=stDataFrame]").last.wait_for()


def test_the_search_narrows_the_table_and_the_layer_is_in_the_address(page, server):
    open_plan(page, server.url, "vit_tiny")
    rows = page.locator(".st-key-layer_table tbody tr")
    everything = rows.count()
    page.get_by_label("Search layers").fill("attention")
    assert 0 < rows.count() < everything
    page.get_by_role("button", name="blocks.1.attention.qkv").click()
    until(lambda: page.evaluate("location.href"), lambda url: "layer=blocks.1.attention.qkv" in url)
    page.reload()
    page.locator(HANDLE).wait_for()
    until(
        lambda: page.locator(".st-key-layer_table tr.selected .name").inner_text(),
        lambda name: name == "blocks.1.attention.qkv",
    )


def test_numbers_are_written_alike_in_the_browser_and_in_python(page):
    script = (ROOT / "pages/common/components/shared.js").read_text()
    values = [0, 1, 9, 99.5, 935, 999, 999.6, 1000, 1234, 61706, 999_499, 999_500, 1.21e6, 2e13]
    scores = [0, 1e-7, 1.234e-5, 0.00012345, 0.5, 1, 12.3456, 1234.6, 12345.6, 1e9, -0.25]
    written = page.evaluate(
        "([script, values, scores]) => new Function('values', 'scores', script + `"
        "return [values.map(formatCount), values.map(formatSize),"
        " values.map((v) => formatPercent(v / 1e4)), scores.map((v) => formatScore(v)),"
        " values.map((v) => formatReduction(2e13, v))]`)(values, scores)",
        [script, values, scores],
    )
    assert written == [
        [numbers.count(value) for value in values],
        [numbers.size(value) for value in values],
        [numbers.percent(value / 1e4) for value in values],
        [numbers.significant(value) for value in scores],
        [numbers.reduction(2e13, value) for value in values],
    ]


def test_nothing_is_asked_of_other_hosts(page, server):
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(server.url)
    page.locator("[role=figure] .js-plotly-plot .main-svg").first.wait_for()
    foreign = [url for url in asked if not url.startswith((server.url, "data:", "blob:"))]
    assert foreign == []
