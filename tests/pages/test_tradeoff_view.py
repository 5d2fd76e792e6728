"""The Search view: what was measured, which plans are offered, and taking one over."""

import pytest

from pages.common import studying
from pruning_core.evaluation.tradeoff import front, varied
from pruning_core.loading.dataset import load_dataset
from pruning_core.loading.model import bundled_models, load_model
from pruning_core.planning.recipe import Count, Recipe
from pruning_core.runs import studies
from pruning_core.runs.setup import Setup
from pruning_core.scoring.score import score
from pruning_core.tracing.trace import trace
from tests.pages.conftest import figures, open_view
from tests.pages.test_pages import widget

UNITS = Recipe(model="bundled:mlp_digits", granularity="unit", normalise="mean")
MODELS = [card.identity for card in bundled_models()]


def searched(recipe, cost):
    model = load_model(recipe.model)
    network = trace(model.module, model.inputs)
    scores = score(model, network, recipe)
    setup = Setup(recipe, model, network, scores, load_dataset(model.data))
    list(studies.carry_out(setup, cost, n_trials=8, n=40))


@pytest.mark.parametrize("identity", MODELS)
def test_every_model_can_be_searched(app, identity):
    open_view(app, Recipe(model=identity), "search")
    assert not widget(app.button, "Search").disabled


def test_a_plan_that_was_found_is_looked_at_and_taken_over(app):
    recipe = UNITS.replace(pins=("fc2",), layers={"fc2": Count(value=3)})
    searched(recipe, "macs")
    open_view(app, recipe, "search")
    (figure,) = figures(app)
    study = studying.found(recipe, "macs")
    best = front(study.trials, "macs")
    assert len(figure["data"]) == 4
    chosen = widget(app.selectbox, "Plan to look at")
    assert len(chosen.options) == len(best)
    chosen.set_value(best[0].number).run()
    widget(app.button, "Take this plan").click().run()
    assert app.session_state["recipe"] == varied(recipe, best[0].ratios)
    assert app.session_state["recipe"].layers["fc2"] == Count(value=3)
    widget(app.button, "Undo").click().run()
    assert app.session_state["recipe"] == recipe


def test_a_search_is_begun_counted_and_gone_on_with(app, bench):
    open_view(app, UNITS, "search")
    widget(app.number_input, "Plans").set_value(6).run()
    widget(app.button, "Search").click().run()
    question = studying.question_of(UNITS, "macs", 6)
    assert bench.wait(question, 120).state == "done"
    app.run()
    assert len(studying.found(UNITS, "macs").trials) == 6
    assert widget(app.button, "Measure up to 6 plans").disabled
    widget(app.number_input, "Plans").set_value(20).run()
    assert not widget(app.button, "Measure up to 20 plans").disabled


def test_masks_are_searched_by_non_zeros_only(app):
    open_view(app, Recipe(model="bundled:mlp_digits"), "search")
    assert widget(app.selectbox, "Accuracy against").options == ["non-zeros"]
