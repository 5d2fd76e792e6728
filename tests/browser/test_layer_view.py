"""The detail view of a layer in a real browser: units by click and by keyboard alone."""

import pytest

from tests.browser.test_journeys import HANDLE, open_plan, removed, settle, until

pytestmark = pytest.mark.browser

TILES = ".st-key-units .tile"


def open_units(page, url, model, layer):
    open_plan(page, url, model)
    page.locator("input[aria-label*='What is pruned']").first.click()
    page.get_by_role("option", name="Units", exact=True).click()
    page.get_by_role("button", name=layer, exact=True).first.click()
    page.locator(TILES).first.wait_for()
    settle(page)


def words(page, unit):
    return page.locator(f"{TILES}[data-unit='{unit}']").get_attribute("aria-label")


def test_units_are_picked_by_click_and_by_brush(page, server):
    open_units(page, server.url, "lenet_5", "conv1")
    page.locator(f"{TILES}[data-unit='7']").click()
    page.get_by_text("Channel 7 of 'conv1' stays").wait_for()
    page.get_by_role("radio", name="prune it").click()
    page.locator(f"{TILES}[data-unit='7']").click()
    until(lambda: removed(page), lambda n: n == 1)
    page.get_by_text("Channel 7 of 'conv1' goes: it was picked by hand to go").wait_for()
    first, third = (page.locator(TILES).nth(place).bounding_box() for place in (0, 2))
    page.mouse.move(first["x"] + 9, first["y"] + 9)
    page.mouse.down()
    page.mouse.move(third["x"] + 9, third["y"] + 9, steps=8)
    page.mouse.up()
    until(lambda: removed(page), lambda n: n in (3, 4))
    settle(page)
    page.get_by_role("button", name="Clear picks of this layer").click()
    until(lambda: removed(page), lambda n: n == 0)


def test_units_are_picked_by_keyboard_alone(page, server):
    open_units(page, server.url, "lenet_5", "conv1")
    page.locator(HANDLE).focus()
    for _ in range(60):
        page.keyboard.press("Tab")
        if page.evaluate(
            "() => { let e = document.activeElement;"
            " while (e?.shadowRoot?.activeElement) e = e.shadowRoot.activeElement;"
            " return e?.classList.contains('tile'); }"
        ):
            break
    page.keyboard.press("ArrowRight")
    tile = page.locator(f"{TILES}:focus")
    unit = tile.get_attribute("data-unit")
    page.keyboard.press("Enter")
    page.get_by_text(f"Channel {unit} of 'conv1' stays").wait_for()
    page.keyboard.press("p")
    until(lambda: removed(page), lambda n: n == 1)
    until(lambda: words(page, unit), lambda text: text.endswith("pruned, picked by hand to go"))
    assert page.locator(f"{TILES}:focus").get_attribute("data-unit") == unit
    page.keyboard.press("k")
    until(lambda: removed(page), lambda n: n == 0)
    page.keyboard.press("a")
    until(lambda: words(page, unit), lambda text: text.endswith("stays"))
    assert page.locator(".st-key-threshold .warning").inner_text() == ""


PICTURE = ".st-key-layer_heatmap canvas.main"
SHOWN = ".st-key-layer_heatmap .where"


def test_the_picture_is_enlarged_by_a_box_and_by_keys_and_opens_kernels(page, server):
    open_units(page, server.url, "lenet_5", "conv2")
    box = page.locator(PICTURE).bounding_box()
    page.mouse.move(box["x"] + 120, box["y"] + 120)
    page.mouse.down()
    page.mouse.move(box["x"] + 240, box["y"] + 220, steps=6)
    page.mouse.up()
    until(lambda: page.locator(SHOWN).inner_text(), lambda text: " of 50, inputs " in text)
    page.get_by_role("button", name="Whole layer").click()
    until(lambda: page.locator(SHOWN).inner_text(), lambda text: text == "")
    page.locator(PICTURE).focus()
    page.keyboard.press("+")
    until(
        lambda: page.locator(SHOWN).inner_text(),
        lambda text: text == "outputs 13 to 37 of 50, inputs 5 to 14 of 20",
    )
    page.keyboard.press("Shift+ArrowDown")
    until(lambda: page.locator(SHOWN).inner_text(), lambda text: "outputs 19 to 43" in text)
    page.keyboard.press("0")
    until(lambda: page.locator(SHOWN).inner_text(), lambda text: text == "")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    page.get_by_text("Kernel from input 1 to output 0: 5 x 5, L1 norm").wait_for()


def test_heads_are_chosen_in_the_grid_of_the_whole_model(page, server):
    open_units(page, server.url, "vit_tiny", "blocks.0.attention.qkv")
    heads = page.locator(".st-key-heads .head")
    until(heads.count, lambda n: n == 16)
    heads.nth(6).click()
    page.get_by_text("Head 2 of 'blocks.1.attention.qkv' stays").wait_for()
    until(lambda: page.locator(f"{TILES}").count(), lambda n: n == 4)
    settle(page)
    page.keyboard.press("ArrowDown")
    page.keyboard.press("p")
    goes = "pruned, picked by hand to go"
    until(lambda: heads.nth(10).get_attribute("aria-label"), lambda text: text.endswith(goes))
    page.get_by_text("Attention heads of the model: 1 of 16 pruned").wait_for()
    page.keyboard.press("Enter")
    page.get_by_text("Head 2 of 'blocks.2.attention.qkv' goes: it was picked by hand").wait_for()
