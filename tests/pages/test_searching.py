"""Handles that are found by measuring: what is wanted, what was found, and why it cannot be."""

import pytest

from pages.common import cache, measuring, searching, state
from pruning_core.evaluation.whatif import what_if
from pruning_core.loading.dataset import load_dataset
from pruning_core.planning.recipe import Count, Ratio, Recipe
from tests.pages.test_pages import widget
from tests.pages.test_plan_state import visit

MODEL = "bundled:mlp_digits"
UNITS = Recipe(model=MODEL, granularity="unit", normalise="mean", target=Ratio(value=0.1))


def planned(app, recipe):
    visit(app, "pages/plan.py", model=recipe.model)
    app.session_state["recipe"] = recipe
    return app.run()


def searched(app, monkeypatch):
    """Wait for the search and take its result over, as the strip does in a browser."""
    question = app.session_state["_search"]
    assert measuring.bench().wait(question, 120).state in {"done", "failed"}
    with monkeypatch.context() as patch:
        patch.setattr(state.st, "session_state", app.session_state)
        assert searching.settle()
    return app.run()


def texts(app):
    return [element.value for element in (*app.caption, *app.warning)]


def test_a_drop_becomes_a_ratio_that_says_how_it_was_found(app, monkeypatch):
    planned(app, UNITS.replace(pins=("fc1",), layers={"fc1": Count(value=3)}))
    widget(app.selectbox, "Global setting").set_value("drop").run()
    widget(app.number_input, "Give up at most (percentage points)").set_value(2.0).run().run()
    widget(app.button, "Find the largest ratio").click().run()
    assert widget(app.button, "Cancel")
    searched(app, monkeypatch)
    recipe = app.session_state["recipe"]
    found = recipe.target.found
    assert (found.handle, found.limit, found.n) == ("drop", 2.0, 200)
    assert recipe.layers == {"fc1": Count(value=3)}
    assert recipe.target.value > 0
    measured = what_if(
        cache.model(MODEL), cache.network(MODEL), cache.plan(recipe), load_dataset("digits"), n=200
    )
    assert -100 * measured.difference == pytest.approx(found.measured)
    assert found.measured <= 2.0
    assert any("points lost, measured on 200 validation examples" in text for text in texts(app))
    assert widget(app.selectbox, "Global setting").value == "drop"
    assert Recipe.from_json(recipe.to_json()) == recipe


def test_a_found_ratio_can_be_moved_by_hand_and_forgets_how_it_was_found(app, monkeypatch):
    planned(app, UNITS)
    widget(app.selectbox, "Global setting").set_value("drop").run()
    widget(app.button, "Find the largest ratio").click().run()
    searched(app, monkeypatch)
    value = app.session_state["recipe"].target.value
    widget(app.selectbox, "Global setting").set_value("ratio").run()
    assert app.session_state["recipe"].target == Ratio(value=value)
    assert widget(app.selectbox, "Global setting").value == "ratio"


def test_a_time_that_cannot_be_met_is_explained(app, monkeypatch):
    planned(app, UNITS)
    widget(app.selectbox, "Global setting").set_value("time").run()
    widget(app.number_input, "At most (milliseconds)").set_value(0.001).run().run()
    widget(app.button, "Find the smallest ratio").click().run()
    searched(app, monkeypatch)
    assert app.session_state["recipe"] == UNITS
    assert any("0\\.001 ms cannot be met" in text for text in texts(app))


def test_a_time_budget_becomes_a_ratio(app, monkeypatch):
    planned(app, UNITS)
    widget(app.selectbox, "Global setting").set_value("time").run()
    widget(app.number_input, "At most (milliseconds)").set_value(1000.0).run().run()
    widget(app.button, "Find the smallest ratio").click().run()
    searched(app, monkeypatch)
    target = app.session_state["recipe"].target
    assert (target.value, target.found.handle, target.found.n) == (0.0, "time", 1)
    assert any("measured on this machine" in text for text in texts(app))


def test_a_search_that_is_given_up_leaves_the_plan(app):
    planned(app, UNITS)
    widget(app.selectbox, "Global setting").set_value("drop").run()
    widget(app.button, "Find the largest ratio").click().run()
    widget(app.button, "Cancel").click().run()
    assert "_search" not in app.session_state
    assert app.session_state["recipe"] == UNITS


def test_a_plan_that_changed_meanwhile_is_not_overwritten(app, monkeypatch):
    planned(app, UNITS)
    widget(app.selectbox, "Global setting").set_value("drop").run()
    widget(app.button, "Find the largest ratio").click().run()
    changed = UNITS.replace(criterion="l2")
    app.session_state["recipe"] = changed
    searched(app, monkeypatch)
    assert app.session_state["recipe"] == changed
    assert any("the plan was changed meanwhile" in text for text in texts(app))


def test_handles_that_cannot_work_are_not_offered(app):
    planned(app, Recipe(model=MODEL))
    offered = widget(app.selectbox, "Global setting").options
    assert "Maximum accuracy drop" in offered
    assert "Time budget (measured)" not in offered


def test_how_a_ratio_was_found_decides_nothing():
    found = {"handle": "drop", "limit": 1.0, "measured": 0.8, "n": 1000}
    noted = UNITS.replace(target=Ratio(value=0.5, found=found))
    plain = UNITS.replace(target=Ratio(value=0.5))
    assert noted.fingerprint == plain.fingerprint
    assert "found" not in plain.to_json()
    assert Recipe.from_json(noted.to_json()).target.found.measured == 0.8
