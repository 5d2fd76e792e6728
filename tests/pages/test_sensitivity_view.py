"""The Sensitivity view: what a scan measured, how it goes on, and what its button does."""

import pytest

from pages.common import measuring, scanning
from pruning_core.loading.dataset import load_dataset
from pruning_core.loading.model import bundled_models, load_model
from pruning_core.planning.recipe import Count, Ratio, Recipe
from pruning_core.runs import scans
from pruning_core.runs.setup import Setup
from pruning_core.scoring.score import score
from pruning_core.tracing.trace import trace
from tests.pages.conftest import figures, open_view
from tests.pages.test_pages import widget

UNITS = Recipe(model="bundled:mlp_digits", granularity="unit", normalise="mean")
MODELS = [card.identity for card in bundled_models()]


def scanned(recipe, most=None):
    model = load_model(recipe.model)
    network = trace(model.module, model.inputs)
    scores = score(model, network, recipe)
    setup = Setup(recipe, model, network, scores, load_dataset(model.data))
    steps = scans.carry_out(setup, n=40)
    for number, _ in enumerate(steps, start=1):
        if number == most:
            steps.close()


@pytest.mark.parametrize("identity", MODELS)
def test_every_model_can_be_scanned(app, identity):
    open_view(app, Recipe(model=identity), "sensitivity")
    assert widget(app.button, "Scan the layers")


def test_what_was_measured_is_drawn_and_is_in_the_table_of_layers(app, component):
    open_view(app, UNITS, "sensitivity")
    scanned(UNITS)
    app.run()
    curves, table = figures(app)
    assert {trace["name"] for trace in curves["data"]} == {"fc1", "fc2"}
    assert table["layout"]["title"]["text"].startswith("20 plans measured")
    rows = {row["name"]: row for row in component(app, "layers")["rows"]}
    ratios, accuracies, lost = rows["fc1"]["sensitivity"]
    assert ratios[0] == lost[0] == 0
    assert len(ratios) == len(accuracies) == 11
    assert lost == pytest.approx([100 * (accuracies[0] - value) for value in accuracies])
    assert not [button for button in app.button if "scan" in button.label.lower()]


def test_a_scan_that_was_stopped_can_go_on(app, bench):
    open_view(app, UNITS, "sensitivity")
    scanned(UNITS, most=3)
    app.run()
    assert any("after 3 measurements" in text.value for text in app.markdown)
    widget(app.button, "Go on with the scan").click().run()
    assert scanning.found(UNITS) is not None
    assert bench.wait(scanning.question_of(UNITS), 120).state == "done"
    assert scanning.found(UNITS).finished


def test_the_ratios_a_layer_alone_tolerates_are_set_except_where_it_is_pinned(app):
    recipe = UNITS.replace(pins=("fc2",), layers={"fc2": Count(value=3)})
    open_view(app, recipe, "sensitivity")
    scanned(UNITS)
    app.run()
    widget(app.number_input, "Each layer alone may lose (points)").set_value(100.0).run()
    widget(app.button, "Set the ratios").click().run()
    own = app.session_state["recipe"].layers
    assert own["fc2"] == Count(value=3)
    largest = max(p.ratio for p in scanning.found(UNITS).points if p.site == "fc1")
    assert own["fc1"] == Ratio(value=largest)


def test_without_data_the_view_says_what_it_needs(app, monkeypatch):
    monkeypatch.setattr(measuring, "has_data", lambda _: False)
    open_view(app, UNITS, "sensitivity")
    assert any("no data set is known" in info.value for info in app.info)
