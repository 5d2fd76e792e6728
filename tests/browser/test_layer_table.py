"""The table of layers in a real browser: the keyboard, several rows at once, 500 rows, files."""

import csv
import json

import pytest

from tests import many_layers
from tests.browser.conftest import ROOT, serve
from tests.browser.test_journeys import settle, until

pytestmark = pytest.mark.browser

TABLE = "[role=grid][aria-label='Prunable layers']"
FIRST = "stage_0_block_0_conv"


@pytest.fixture(scope="module")
def table_server(tmp_path_factory):
    script = ROOT / "tests" / "browser" / "layer_table_app.py"
    with serve(tmp_path_factory.mktemp("state"), str(script)) as running:
        yield running


@pytest.fixture
def table(page, table_server):
    page.goto(table_server.url)
    grid = page.locator(TABLE)
    grid.locator("tbody tr").first.wait_for(timeout=60_000)
    settle(page)
    return grid


def recipe(page):
    return json.loads(page.locator("[data-testid=stCode] code").inner_text())


def row(table, name):
    return table.locator("tbody tr").filter(
        has=table.page.get_by_role("button", name=name, exact=True)
    )


def ratio(table, name):
    return row(table, name).locator("input.ratio").input_value()


def focused(page):
    return page.evaluate(
        "() => { let at = document.activeElement;"
        " while (at?.shadowRoot?.activeElement) at = at.shadowRoot.activeElement;"
        " return at.tagName + ' ' + (at.getAttribute('role') || ''); }"
    )


def active(table):
    return table.locator("tr.active .name").get_attribute("title")


def test_ratios_are_typed_one_after_the_other_without_a_mouse(page, table):
    table.focus()
    for text in ("30", "50", "62,5"):
        page.keyboard.type(text)
        page.keyboard.press("Enter")
    wanted = {
        FIRST: {"kind": "ratio", "value": 0.3},
        "stage_0_block_1_conv": {"kind": "ratio", "value": 0.5},
        many_layers.EVIL: {"kind": "ratio", "value": 0.625},
    }
    until(lambda: recipe(page)["layers"], lambda layers: layers == wanted)
    until(lambda: ratio(table, FIRST), lambda text: text == "25")  # 2 of 8: 30 % are 2.4 channels
    settle(page)
    assert focused(page) == "TABLE grid"
    assert active(table) == many_layers.LONG
    assert row(table, "stage_0_block_1_conv").locator(".setting").inner_text() == "own"
    page.keyboard.press("ArrowUp")
    page.keyboard.type("12")
    page.keyboard.press("Escape")
    assert ratio(table, many_layers.EVIL) == "62.5"
    page.keyboard.press("ArrowUp")
    page.keyboard.press("+")
    until(lambda: recipe(page)["layers"]["stage_0_block_1_conv"]["value"], lambda v: v == 0.51)
    page.keyboard.press("g")
    until(lambda: recipe(page)["layers"], lambda layers: len(layers) == 2)
    assert focused(page) == "TABLE grid"


def test_many_edits_before_the_server_answers_are_all_kept(page, table):
    table.focus()
    for _ in range(25):
        page.keyboard.type("50")
        page.keyboard.press("ArrowDown")
    until(lambda: len(recipe(page)["layers"]), lambda n: n == 25)
    assert {own["value"] for own in recipe(page)["layers"].values()} == {0.5}
    until(table.locator("input.ratio.pending").count, lambda n: n == 0)
    settle(page)
    assert focused(page) == "TABLE grid"


def test_what_is_no_ratio_is_refused_and_said(page, table):
    table.focus()
    page.keyboard.type("100")
    page.keyboard.press("Enter")
    assert "from 0 to 99.99" in page.locator(".layers .status").inner_text()
    assert recipe(page)["layers"] == {}
    page.keyboard.press("Escape")
    assert focused(page) == "TABLE grid"


def test_several_rows_are_changed_at_once_by_mouse(page, table):
    names = [FIRST, "stage_0_block_1_conv", many_layers.EVIL, many_layers.LONG]
    row(table, FIRST).locator(".kind").click()
    row(table, many_layers.LONG).locator(".kind").click(modifiers=["Shift"])
    row(table, many_layers.EVIL).locator(".kind").click(modifiers=["ControlOrMeta"])
    chosen = [name for name in names if name != many_layers.EVIL]
    assert table.locator("tr[aria-selected=true]").count() == 3
    bar = page.get_by_role("group", name="Change the marked layers")
    assert bar.locator(".what").inner_text() == "3 layers"
    bar.get_by_label("Share to prune of the marked layers (%)").fill("37.5")
    bar.get_by_role("button", name="Set", exact=True).click()
    until(lambda: sorted(recipe(page)["layers"]), lambda layers: layers == sorted(chosen))
    bar.get_by_role("button", name="Pin", exact=True).click()
    until(lambda: sorted(recipe(page)["pins"]), lambda pins: pins == sorted(chosen))
    assert row(table, FIRST).locator(".setting").inner_text() == "pinned"
    bar.get_by_role("button", name="Unpin", exact=True).click()
    until(lambda: recipe(page)["pins"], lambda pins: pins == [])
    bar.get_by_role("button", name="Do not prune").click()
    until(lambda: sorted(recipe(page)["pins"]), lambda pins: pins == sorted(chosen))
    assert recipe(page)["layers"] == {}
    assert not page.get_by_label(f"Prune {FIRST}", exact=True).is_checked()
    bar.get_by_role("button", name="Back to global").click()
    until(lambda: recipe(page)["pins"], lambda pins: pins == [])


def test_several_rows_are_changed_at_once_by_keyboard(page, table):
    table.focus()
    page.keyboard.press("Space")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Space")
    page.keyboard.press("Shift+ArrowDown")
    page.keyboard.press("x")
    wanted = [FIRST, many_layers.EVIL, many_layers.LONG]
    until(lambda: sorted(recipe(page)["pins"]), lambda pins: pins == sorted(wanted))
    page.keyboard.press("x")
    until(lambda: recipe(page)["pins"], lambda pins: pins == [])
    page.keyboard.type("50")
    page.keyboard.press("Enter")
    until(lambda: sorted(recipe(page)["layers"]), lambda layers: layers == sorted(wanted))
    page.keyboard.press("Escape")
    assert table.locator("tr[aria-selected=true]").count() == 0


def test_search_filters_and_order_work_together(page, table):
    shown = page.locator(".layers .shown")
    assert shown.inner_text() == "500 layers"
    page.get_by_label("Type of the layers shown").select_option("Linear")
    assert shown.inner_text() == "250 of 500 layers"
    page.get_by_label("Search layers").fill("head_7")
    assert shown.inner_text() == "11 of 500 layers"  # head_7 and head_70 to head_79
    page.get_by_role("button", name="Layer", exact=True).click()
    page.get_by_role("button", name="Layer", exact=True).click()
    assert table.locator("tbody tr .name").first.get_attribute("title") == "head_79"
    page.get_by_label("Search layers").press("Enter")
    page.keyboard.press("Home")
    page.keyboard.type("25")
    page.keyboard.press("Enter")
    until(lambda: list(recipe(page)["layers"]), lambda layers: layers == ["head_79"])
    page.get_by_label("Search layers").fill("")
    page.get_by_label("Type of the layers shown").select_option("")
    page.get_by_label("Which layers are shown").select_option("own")
    assert table.locator("tbody tr .name").all_inner_texts() == ["head_79"]
    assert "not shown" in table.locator("tfoot .rest").inner_text()
    page.get_by_label("Search layers").fill("nothing is called that")
    assert table.locator("tbody").inner_text().strip() == "No layer matches."


def test_only_rows_in_sight_exist_and_the_last_is_reached_by_keyboard(page, table):
    assert table.locator("tbody tr[data-key]").count() < 60
    assert table.get_attribute("aria-rowcount") == "503"
    table.focus()
    page.keyboard.press("End")
    assert active(table) == "head_249"
    last = row(table, "head_249")
    assert last.get_attribute("aria-rowindex") == "501"
    box, foot = last.bounding_box(), table.locator("tfoot").bounding_box()
    assert box["y"] + box["height"] <= foot["y"] + 1
    assert table.get_attribute("aria-activedescendant") == last.get_attribute("id")
    page.keyboard.press("Enter")
    until(lambda: active(table), lambda name: name == "head_249")


def test_foreign_names_are_text_and_long_ones_are_cut_in_the_middle(page, table):
    assert row(table, many_layers.EVIL).locator("img").count() == 0
    assert page.evaluate("typeof window.hacked") == "undefined"
    name = row(table, many_layers.LONG).locator(".name")
    start, end = name.inner_text().split("…")
    assert many_layers.LONG.startswith(start)
    assert many_layers.LONG.endswith(end)
    assert min(len(start), len(end)) > 5
    assert name.get_attribute("title") == many_layers.LONG


def test_columns_are_chosen_once_and_found_again(page, table):
    heads = table.locator("th")
    assert "Unit" not in heads.all_inner_texts()
    page.get_by_role("button", name="Columns", exact=True).click()
    panel = page.get_by_role("dialog", name="Columns of the table")
    panel.get_by_label("Unit").check()
    panel.get_by_label("Threshold").uncheck()
    page.keyboard.press("Escape")
    assert panel.count() == 0
    page.reload()
    heads.first.wait_for()
    names = [text.strip() for text in heads.all_inner_texts()]
    assert "Unit" in names
    assert "Threshold" not in names


def test_what_was_measured_has_columns(page, table, table_server):
    assert not {"Sensitivity", "Time"} & set(table.locator("th").all_inner_texts())
    page.goto(f"{table_server.url}/?measured")
    table.locator("polyline").first.wait_for()
    assert {"Sensitivity", "Time"} <= set(table.locator("th").all_inner_texts())
    said = row(table, FIRST).locator("svg").get_attribute("aria-label")
    assert "90.0 % at 0.0 %, 87.5 % at 25.0 %" in said


def test_the_table_is_downloaded_with_exact_numbers(page, table, tmp_path):
    with page.expect_download() as started:
        page.get_by_role("button", name="CSV", exact=True).click()
    started.value.save_as(tmp_path / "layers.csv")
    with (tmp_path / "layers.csv").open(encoding="utf-8-sig", newline="") as file:
        lines = list(csv.DictReader(file))
    by_name = {line["layer"]: line for line in lines}
    assert many_layers.EVIL in by_name
    assert by_name[FIRST]["total"] == "8"
    assert by_name[FIRST]["params"] == str(8 * 8 + 8)
    assert sum(int(line["params"] or 0) for line in lines) == 500 * 72
    assert by_name["head_249"]["type"] == "Linear"


def test_the_keys_are_explained(page, table):
    table.focus()
    page.keyboard.press("?")
    panel = page.get_by_role("dialog", name="Keys of the table")
    assert "pin or unpin" in panel.inner_text()
    page.keyboard.press("Escape")
    assert panel.count() == 0
    assert focused(page).startswith("BUTTON")


def test_nothing_moves_when_values_change(page, table):
    table.focus()
    widths = (
        "() => [...document.querySelectorAll('*')].flatMap((one) => one.shadowRoot"
        " ? [...one.shadowRoot.querySelectorAll('th, .layers')] : []).map((one) => {"
        " const box = one.getBoundingClientRect();"
        " return [box.x, box.y, box.width, box.height]; })"
    )
    before = page.evaluate(widths)
    page.keyboard.press("Control+a")
    page.keyboard.type("50")
    page.keyboard.press("Enter")
    until(lambda: len(recipe(page)["layers"]), lambda n: n == 499)
    settle(page)
    assert page.evaluate(widths) == before


def test_500_rows_are_drawn_in_less_than_a_tenth_of_a_second(page, table):
    table.focus()
    for _ in range(5):
        page.keyboard.type("50")
        page.keyboard.press("Enter")
        settle(page)
    until(lambda: len(recipe(page)["layers"]), lambda n: n == 5)
    took = page.evaluate(
        "() => performance.getEntriesByName('layer-table').map((entry) => entry.duration)"
    )
    assert len(took) >= 3
    assert min(took) < 100  # the least: the machine may have other things to do


def test_on_the_page_quick_edits_and_selections_change_nothing_else(page, server):
    page.goto(f"{server.url}/plan?model=bundled:lenet_300_100")
    table = page.locator(TABLE)
    table.locator("tbody tr").first.wait_for()
    page.locator(".st-key-threshold [role=slider]").wait_for()
    settle(page)
    table.focus()
    for text in ("30", "50", "60"):
        page.keyboard.type(text)
        page.keyboard.press("Enter")
    page.keyboard.press("Enter")
    page.keyboard.press("ArrowUp")
    page.keyboard.press("Enter")
    ratios = {"fc1": "30", "fc2": "50", "fc3": "60"}
    until(
        lambda: table.locator("tr.selected .name").get_attribute("title"),
        lambda name: name == "fc2",
    )
    until(lambda: table.locator("input.ratio.pending").count(), lambda n: n == 0)
    settle(page)
    assert {name: ratio(table, name) for name in ratios} == ratios
    assert page.get_by_label("Ratio (%)").input_value() == "50.00"
