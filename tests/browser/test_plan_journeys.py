"""What an engineer does on the Plan page, once with the pointer and once by keyboard alone."""

import re

import pytest

from tests.browser.test_journeys import (
    HANDLE,
    STRIP,
    number_field,
    open_plan,
    removed,
    settle,
    until,
)

pytestmark = pytest.mark.browser

TABLE = ".st-key-layer_table"
ACTIVE = """() => {
  let element = document.activeElement;
  while (element?.shadowRoot?.activeElement) element = element.shadowRoot.activeElement;
  return element;
}"""


def totals(page):
    """Return ``{label: (before, after)}`` as exact integers."""
    found = {}
    for item in page.locator(f"{STRIP} .item").all():
        title = item.get_attribute("title") or ""
        exact = re.match(r"([\d,]+) to ([\d,]+)", title)
        if exact:
            before, after = (int(text.replace(",", "")) for text in exact.groups())
            found[item.locator(".label").inner_text()] = (before, after)
    return found


def row(page, layer):
    return page.locator(f"{TABLE} tbody tr[data-key]").filter(
        has=page.get_by_role("button", name=layer, exact=True)
    )


class Pointer:
    """Clicks, and types into fields it has clicked."""

    def __init__(self, page):
        self.page = page

    def choose(self, label, option):
        field = self.page.locator(f"input[aria-label*='{label}']").first
        # A list closes when the click that opens it scrolls the page first, as no hand does.
        field.hover()
        field.click()
        self.page.get_by_role("option", name=option, exact=True).click()
        settle(self.page)

    def number(self, label, text):
        field = number_field(self.page, label)
        field.click()
        field.fill(text)
        field.press("Enter")
        settle(self.page)

    def select(self, layer):
        row(self.page, layer).get_by_role("button", name=layer, exact=True).click()
        settle(self.page)

    def ratio(self, layer, text):
        field = row(self.page, layer).locator("input.ratio")
        field.click()
        field.fill(text)
        field.press("Enter")
        settle(self.page)

    def pin(self, layer):
        row(self.page, layer).locator("input[type=checkbox]").nth(1).click()
        settle(self.page)

    def push_threshold(self):
        plot = self.page.locator(".st-key-threshold svg").bounding_box()
        knob = self.page.locator(HANDLE).bounding_box()
        start = knob["x"] + knob["width"] / 2
        self.page.mouse.move(start, knob["y"] + 30)
        self.page.mouse.down()
        self.page.mouse.move(start + plot["width"] * 0.04, knob["y"] + 30, steps=4)
        self.page.mouse.up()

    def undo(self):
        self.page.get_by_role("button", name="Undo").locator("visible=true").click()

    def show(self, view):
        self.page.get_by_role("radio", name=view, exact=True).click()
        settle(self.page)


class Keyboard:
    """Never touches the pointer: Tab until something has the focus, then keys."""

    def __init__(self, page):
        self.page = page

    def tab_to(self, condition):
        """Press Tab until ``condition`` (JavaScript about ``e``) holds for what has the focus."""
        keys = self.page.keyboard
        for _ in range(260):
            if self.page.evaluate(
                f"() => {{ const e = ({ACTIVE})(); return Boolean({condition}); }}"
            ):
                return
            keys.press("Tab")
        raise AssertionError(f"no Tab stop where {condition}")

    def choose(self, label, option):
        self.tab_to(f"e.getAttribute('aria-label')?.includes('{label}') && e.matches('input')")
        self.page.keyboard.type(option)
        self.page.get_by_role("option", name=option, exact=True).wait_for()
        self.page.keyboard.press("Enter")
        settle(self.page)

    def number(self, label, text):
        self.tab_to(
            f"e.matches('input[type=number]') && e.getAttribute('aria-label') === '{label}'"
        )
        self.page.keyboard.press("Control+a")
        self.page.keyboard.type(text)
        self.page.keyboard.press("Enter")
        settle(self.page)

    def go_to_row(self, layer):
        self.tab_to("e.matches('table')")
        self.page.keyboard.press("Home")
        for _ in range(80):
            if row(self.page, layer).get_attribute("class").count("active"):
                return
            self.page.keyboard.press("ArrowDown")
        raise AssertionError(f"no row for {layer}")

    def select(self, layer):
        self.go_to_row(layer)
        self.page.keyboard.press("Enter")
        settle(self.page)

    def ratio(self, layer, text):
        self.go_to_row(layer)
        self.page.keyboard.type(text)
        self.page.keyboard.press("Enter")
        settle(self.page)

    def pin(self, layer):
        self.go_to_row(layer)
        self.page.keyboard.press("p")
        settle(self.page)

    def push_threshold(self):
        self.tab_to("e.getAttribute('role') === 'slider' && e.matches('g')")
        self.page.keyboard.press("ArrowRight")

    def undo(self):
        self.page.wait_for_timeout(250)  # a button that is being drawn hears no key
        self.page.keyboard.press("Control+z")

    def show(self, view):
        self.tab_to("e.matches('[role=radio]') && e.innerText.trim() === 'Selected layer'")
        for _ in range(8):
            self.page.keyboard.press("ArrowRight")
            if self.page.evaluate(f"() => ({ACTIVE})().innerText.trim()") == view:
                break
        self.page.keyboard.press("Enter")
        settle(self.page)


@pytest.fixture(params=[Pointer, Keyboard], ids=["pointer", "keyboard"])
def hands(request, page):
    return request.param(page)


def test_lenet_is_tuned_to_95_percent_layer_by_layer(page, server, hands):
    open_plan(page, server.url, "lenet_300_100")
    for layer in ("fc1", "fc2", "fc3"):
        hands.ratio(layer, "95")
    weights = 784 * 300 + 300 * 100 + 100 * 10
    left = weights - (235_200 * 95 + 30_000 * 95 + 1_000 * 95) // 100
    until(lambda: totals(page)["Non-zeros"][1], lambda n: n == left + 410)


def test_resnet_loses_half_its_macs_by_group_beside_a_pinned_layer(page, server, hands):
    open_plan(page, server.url, "resnet_8")
    hands.choose("What is pruned", "Units")
    hands.pin("conv1")
    hands.choose("Global setting", "MACs budget")
    hands.number("Keep at most this share of the multiply-accumulates (%)", "50")
    before, after = until(lambda: totals(page)["MACs per sample"], lambda n: 2 * n[1] <= n[0])
    assert after > 0.45 * before
    until(lambda: row(page, "blocks.2.conv2").inner_text(), lambda text: "64 / 64" not in text)
    assert "16 / 16" in row(page, "conv1").inner_text()


def test_heads_of_a_transformer_leave(page, server, hands):
    open_plan(page, server.url, "vit_tiny")
    hands.choose("What is pruned", "Units")
    hands.select("blocks.0.attention.qkv")
    page.get_by_role("heading", name="blocks.0.attention.qkv: 4 heads").wait_for()
    hands.number("Count", "2")
    until(lambda: removed(page), lambda n: n == 2)
    before, after = totals(page)["Parameters"]
    assert after < before


def test_hidden_units_of_a_gru_leave(page, server, hands):
    open_plan(page, server.url, "gru_128")
    hands.choose("What is pruned", "Units")
    hands.ratio("gru", "50")
    until(lambda: "64 / 128" in row(page, "gru").inner_text(), bool)
    before, after = totals(page)["MACs per sample"]
    assert after < 0.6 * before


def test_the_coupled_layers_of_a_residual_stage_are_found(page, server, hands):
    open_plan(page, server.url, "resnet_8")
    hands.choose("What is pruned", "Units")
    hands.select("blocks.1.conv2")
    page.get_by_text(re.compile(r"What leaves with channel \d+ of 'blocks\.1\.conv2'")).wait_for()
    listed = page.get_by_text("the addition in blocks.1 (Block) needs the same units").first
    listed.wait_for()
    assert page.get_by_text("blocks.1.shortcut.0").count() >= 2


def test_ten_steps_are_undone(page, server, hands):
    open_plan(page, server.url, "mlp_digits")
    first = totals(page)
    counts = [removed(page)]
    for _ in range(10):
        hands.push_threshold()
        counts.append(until(lambda: removed(page), lambda n: n > counts[-1]))
        settle(page)
        page.wait_for_timeout(250)  # a key is committed a moment after the last one
        settle(page)
    for wanted in reversed(counts[:-1]):
        hands.undo()
        until(lambda: removed(page), lambda n, wanted=wanted: n == wanted)
        settle(page)
    assert totals(page) == first


def test_a_link_opens_the_same_plan_layer_and_view(page, server, hands, chromium):
    open_plan(page, server.url, "lenet_5")
    hands.ratio("fc1", "80")
    hands.select("conv2")
    hands.show("All layers")
    address = until(
        lambda: page.evaluate("location.href"), lambda url: "view=all" in url and "plan=z." in url
    )
    fresh = chromium.new_page()
    fresh.goto(address)
    fresh.locator(f"{STRIP} .item").first.wait_for()
    until(lambda: totals(fresh), lambda found: found == totals(page))
    fresh.get_by_role("radio", name="All layers", exact=True, checked=True).wait_for()
    assert "conv2" in fresh.locator(f"{TABLE} tbody tr.selected").inner_text()
    fresh.close()


def test_plans_are_compared_also_where_they_prune_different_things(page, server):
    hands = Pointer(page)
    open_plan(page, server.url, "cnn_digits")
    hands.number("Count", "12")
    for name in ("weights", "units"):
        page.get_by_role("button", name="Snapshots").locator("visible=true").click()
        page.get_by_role("textbox", name="Name of the present plan").fill(name)
        page.keyboard.press("Enter")
        page.get_by_role("button", name="Save snapshot").click()
        page.get_by_text(f"{name} (present plan)").wait_for()
        page.get_by_role("button", name="Snapshots").locator("visible=true").click()
        until(page.get_by_role("textbox", name="Name of the present plan").count, lambda n: n == 0)
        settle(page)
        if name == "weights":
            hands.choose("What is pruned", "Units")
        hands.number("Count", "4" if name == "weights" else "7")
    page.get_by_role("button", name="Differences").locator("visible=true").click()
    dialog = page.get_by_role("dialog")
    for name, text in (
        ("weights", "cannot be set side by side"),
        ("units", "Layers that differ: 1 of 3"),
        ("The dense model", "Layers that differ: 1 of 3"),
    ):
        dialog.locator("input[aria-label*='Compare the present plan']").click()
        page.get_by_role("option", name=name, exact=True).click()
        dialog.get_by_text(text).wait_for()
        assert dialog.locator("[data-testid=stException]").count() == 0


def test_undo_takes_back_what_is_being_typed_before_the_plan(page, server):
    open_plan(page, server.url, "mlp_digits")
    Pointer(page).number("Count", "100")
    until(lambda: removed(page), lambda n: n == 100)
    search = page.get_by_role("searchbox", name="Search layers")
    search.click()
    page.keyboard.type("fc")
    page.keyboard.press("Control+z")
    until(search.input_value, lambda text: text != "fc")
    assert removed(page) == 100
    number_field(page, "Count").click()
    page.keyboard.press("Control+z")
    until(lambda: removed(page), lambda n: n == 0)


def test_undo_and_snapshots_change_every_page_at_once(page, server):
    hands = Pointer(page)
    open_plan(page, server.url, "mlp_digits")
    before = totals(page)["Non-zeros"]
    hands.number("Count", "100")
    after = until(lambda: totals(page)["Non-zeros"], lambda n: n != before)
    page.get_by_role("link", name="Model", exact=True).click()
    page.locator(".st-key-first_heatmap canvas").wait_for()
    until(lambda: totals(page)["Non-zeros"], lambda n: n == after)
    hands.undo()
    until(lambda: totals(page)["Non-zeros"], lambda n: n == before)


def test_layers_are_scanned_and_a_plan_is_searched_while_one_works(page, server):
    page.goto(f"{server.url}/plan?model=bundled:mlp_digits&view=sensitivity")
    page.get_by_role("button", name="Scan the layers").click()
    page.get_by_text("30 plans measured").wait_for(timeout=120_000)
    assert page.locator(f"{TABLE} tbody svg polyline").count() == 3
    page.get_by_role("button", name="Set the ratios").click()
    until(lambda: totals(page)["Non-zeros"], lambda n: n[1] < n[0])
    page.get_by_role("radio", name="Search", exact=True).click()
    number = number_field(page, "Plans")
    number.fill("8")
    number.press("Enter")
    settle(page)
    page.get_by_role("button", name="Search", exact=True).click()
    page.get_by_role("button", name="Measure up to 8 plans").wait_for(timeout=120_000)
    before = totals(page)["Non-zeros"]
    page.get_by_role("button", name="Take this plan").click()
    until(lambda: totals(page)["Non-zeros"], lambda n: n != before)
