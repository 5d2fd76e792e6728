"""Measured numbers in a real browser: they follow a drag, and never undo what a person does."""

import pytest

from pruning_core.evaluation.whatif import what_if
from pruning_core.loading.dataset import load_dataset
from pruning_core.loading.model import load_model
from pruning_core.planning.recipe import Count, Recipe
from pruning_core.planning.resolve import resolve
from pruning_core.scoring.score import score
from pruning_core.tracing.trace import trace
from tests.browser.test_journeys import (
    HANDLE,
    STRIP,
    open_plan,
    ratio_of,
    removed,
    settle,
    type_number,
    until,
)

pytestmark = pytest.mark.browser

MODEL = "bundled:lenet_300_100"


READ = """items => items.map(item => Object.fromEntries(
  ["label", "before", "after", "ratio", "detail", "badge"].map(
    kind => [kind, item.querySelector("." + kind).textContent])))"""


def item(page, label):
    """The texts of one item of the strip, by class, read at once; empty until it is there."""
    items = page.locator(f"{STRIP} .item").evaluate_all(READ)
    return next((found for found in items if found["label"] == label), {})


def accuracy(page):
    """The item when it has been measured, else nothing."""
    shown = item(page, "Accuracy what-if")
    return shown if shown.get("badge") == "MEASURED" else {}


def test_after_a_drag_the_accuracy_appears_and_is_the_cores(page, server):
    open_plan(page, server.url, "lenet_300_100")
    plot = page.locator(".st-key-threshold svg").bounding_box()
    knob = page.locator(HANDLE).bounding_box()
    page.mouse.move(knob["x"] + knob["width"] / 2, knob["y"] + 30)
    page.mouse.down()
    page.mouse.move(plot["x"] + plot["width"] * 0.6, plot["y"] + 90, steps=12)
    page.mouse.up()
    shown = until(lambda: accuracy(page), bool, seconds=120)
    settle(page)

    model = load_model(MODEL)
    network = trace(model.module, model.inputs)
    recipe = Recipe(model=MODEL).with_layer("fc1", Count(value=removed(page)))
    plan = resolve(recipe, network, score(model, network, recipe))
    expected = what_if(model, network, plan, load_dataset(model.data), n=1000)
    assert shown["before"] == f"{100 * expected.dense:.1f} %"
    assert shown["after"] == f"{100 * expected.accuracy:.1f} %"
    assert shown["ratio"] == f"{100 * expected.difference:+.1f} pts".replace("-", "\u2212")
    assert "n 1,000" in shown["detail"]


def test_what_is_typed_while_something_is_measured_is_kept(page, server):
    open_plan(page, server.url, "resnet_8")
    for share in (20, 45, 70, 30, 60):
        type_number(page, "Share to remove (%)", str(share))
        page.wait_for_timeout(700)
    settle(page)
    field = page.get_by_role("spinbutton", name="Share to remove (%)", exact=True)
    until(lambda: accuracy(page), bool, seconds=120)
    settle(page)
    assert float(field.input_value()) == 60
    assert ratio_of(page, "fc") > 0


def test_the_time_is_measured_from_the_strip(page, server):
    open_plan(page, server.url, "mlp_digits")
    page.locator(f"{STRIP} button", has_text="Measure").click()
    shown = until(
        lambda: item(page, "Time, 1 sample"),
        lambda texts: texts.get("badge") == "MEASURED",
        seconds=120,
    )
    assert shown["before"].endswith(" ms")
    page.get_by_role("button", name="Why?").click()
    page.get_by_text("Why is my file not smaller or faster?").first.wait_for()
    page.get_by_text("pairs").first.wait_for()
    page.get_by_text("The plan takes nothing away yet").wait_for()


def test_the_largest_ratio_within_a_drop_is_searched_and_taken_over(page, server):
    open_plan(page, server.url, "mlp_digits")
    page.locator("input[aria-label*='Global setting']").first.click()
    page.get_by_role("option", name="Maximum accuracy drop").click()
    type_number(page, "Give up at most (percentage points)", "2")
    settle(page)
    page.get_by_role("button", name="Find the largest ratio").click()
    page.get_by_text("points lost, measured on 200 validation examples").wait_for(timeout=120_000)
    settle(page)
    assert ratio_of(page, "fc1") > 20
    shown = until(lambda: accuracy(page), bool, seconds=120)
    lost = float(shown["ratio"].removesuffix(" pts").replace("\u2212", "-"))
    assert lost >= -2.0
    page.get_by_role("button", name="Undo").click()
    until(lambda: ratio_of(page, "fc1"), lambda ratio: ratio == 0)
