"""What is measured beside the pages: accuracy and time in the strip, and what explains them."""

from types import SimpleNamespace

import pytest

from pages.common import cache, measured, measuring, strip, why
from pruning_core.evaluation.whatif import SAMPLES, WhatIf, what_if
from pruning_core.loading.dataset import load_dataset
from pruning_core.planning.recipe import Part, Ratio, Recipe
from pruning_core.runs.bench import Outcome
from tests.pages.test_pages import widget
from tests.pages.test_plan_state import visit

MODEL = "bundled:mlp_digits"
UNITS = Recipe(model=MODEL, granularity="unit", normalise="mean", target=Ratio(value=0.4))


def item(app, component, label):
    (found,) = [each for each in component(app, "strip")["items"] if each["label"] == label]
    return found


def planned(app, recipe, page="pages/plan.py"):
    """Show a page with ``recipe`` in the session."""
    visit(app, page, model=recipe.model)
    app.session_state["recipe"] = recipe
    return app.run()


def answered(app):
    """Wait for the what-if accuracy of the current plan and draw the page again."""
    recipe = app.session_state["recipe"]
    measuring.bench().wait(measuring._accuracy(recipe, {}))
    return app.run()


@pytest.mark.parametrize("page", ["pages/plan.py", "pages/run.py"])
def test_the_what_if_accuracy_follows_the_plan_and_is_the_cores(app, component, page):
    planned(app, UNITS, page)
    answered(app)
    shown = item(app, component, "Accuracy what-if")
    model, network = cache.model(MODEL), cache.network(MODEL)
    expected = what_if(model, network, cache.plan(UNITS), load_dataset(model.data), n=SAMPLES[0])
    low, high = expected.interval
    assert shown["text"]["before"] == f"{100 * expected.dense:.1f} %"
    assert shown["text"]["after"] == f"{100 * expected.accuracy:.1f} %"
    assert shown["text"]["detail"] == f"{100 * low:.1f}–{100 * high:.1f}, n 200"
    assert shown["badge"] == "MEASURED"
    assert "validation examples, never the test split" in shown["badge_help"]
    assert component(app, "strip")["waits"] is False


def test_a_plan_is_shown_before_it_is_measured(app, component, monkeypatch):
    monkeypatch.setattr(measuring, "accuracy", lambda _: Outcome("running"))
    planned(app, UNITS)
    shown = item(app, component, "Accuracy what-if")
    assert (shown["text"]["after"], shown["text"]["note"]) == ("…", "measuring")
    assert component(app, "strip")["waits"] is True


def test_what_takes_long_is_offered_with_the_time_it_takes(app, component, monkeypatch):
    slow = Outcome("done", answer={"too_long": 42.4})
    monkeypatch.setattr(measuring, "accuracy", lambda _: slow)
    planned(app, UNITS)
    shown = item(app, component, "Accuracy what-if")
    assert shown["action"] == ["accuracy", "Measure, about 42 s"]
    assert component(app, "strip")["waits"] is False


def test_what_was_asked_for_by_button_is_measured_whatever_it_takes(app):
    planned(app, UNITS)
    with_n = measuring._accuracy(UNITS, {"n": measuring.BY_REQUEST_EXAMPLES})
    app.session_state["_requested_accuracy"] = with_n.key
    app.run()
    outcome = measuring.bench().wait(with_n)
    assert outcome.state == "done"
    assert WhatIf(**outcome.answer).n == 200


def test_a_model_without_data_says_so_in_a_sentence(monkeypatch):
    monkeypatch.setattr(cache, "model", lambda _: SimpleNamespace(card=None, data=None))
    monkeypatch.setattr(measured, "of_recipe", lambda _: None)
    assert measuring.accuracy(UNITS) is None
    shown = strip.accuracy_item(UNITS, None)
    assert shown["text"]["after"] == "no data"
    assert shown["badge_help"].startswith("No data set is known for this model")
    assert shown["badge"] == ""


def test_the_time_is_measured_by_button_and_shown_with_its_spread(app, component, monkeypatch):
    monkeypatch.setattr(measuring, "_SECONDS", 0.1)
    planned(app, UNITS)
    shown = item(app, component, "Time, 1 sample")
    assert shown["action"] == ["time", "Measure"]
    measuring.measure_latency(UNITS)
    measuring.bench().wait(measuring._latency(UNITS))
    app.run()
    shown = item(app, component, "Time, 1 sample")
    assert shown["badge"] == "MEASURED"
    assert shown["text"]["before"].endswith(" ms")
    assert "Median of" in shown["badge_help"]
    assert "1 thread" in shown["badge_help"] or "threads" in shown["badge_help"]


def test_time_shares_are_known_once_they_were_measured(app, monkeypatch):
    monkeypatch.setattr(measuring, "_SECONDS", 0.1)
    planned(app, UNITS)
    assert cache.time_shares(MODEL) is None
    monkeypatch.setattr(measuring.st, "session_state", {})
    measuring.measure_shares(UNITS)
    assert measuring.awaits_shares()
    measuring.bench().wait(measuring._shares(UNITS))
    assert list(cache.time_shares(MODEL)) == ["fc1", "fc2", "fc3"]
    assert measuring.shares_arrived()
    assert not measuring.shares_arrived()
    assert not measuring.awaits_shares()


def test_masks_are_told_why_nothing_shrinks():
    recipe = Recipe(model=MODEL, target=Ratio(value=0.5))
    (why_same, remedy) = why.sentences(recipe, cache.preview(recipe))
    n_bytes = cache.preview(recipe).before.n_bytes
    assert f"keeps its **{n_bytes:,} bytes**" in why_same
    assert "nothing gets faster" in why_same
    assert "**units**" in remedy


def test_units_are_told_what_leaves_and_which_widths_are_odd():
    counted = cache.preview(UNITS)
    smaller, odd = why.sentences(UNITS, counted)
    assert "really leave" in smaller
    assert f"{counted.before.n_bytes / counted.after.n_bytes:.2f}x smaller" in smaller
    kept = {name: int(mask.sum()) for name, mask in cache.plan(UNITS).keep.items()}
    n_odd = sum(n % 8 != 0 for n in kept.values())
    assert f"{n_odd} of {len(kept)} shrunk groups keep a width that is no multiple of 8" in odd
    even = UNITS.replace(round_to=8)
    assert len(why.sentences(even, cache.preview(even))) == 1


def test_zeros_beside_removed_units_are_named():
    mixed = UNITS.replace(also=(Part(granularity="weight", target=Ratio(value=0.3)),))
    counted = cache.preview(mixed)
    zeros = counted.after.params - counted.after.nonzero
    assert any(
        "are only zero" in text and why.count(zeros) in text
        for text in why.sentences(mixed, counted)
    )


def test_a_plan_that_takes_nothing_says_so():
    recipe = Recipe(model=MODEL)
    (only,) = why.sentences(recipe, cache.preview(recipe))
    assert "takes nothing away yet" in only


def test_a_small_model_that_gets_no_faster_is_explained():
    timing = {"median_ms": 0.06, "low_ms": 0.05, "high_ms": 0.07}
    one = {
        "batch_size": 1,
        "threads": 1,
        "n": 40,
        "dense": timing,
        "pruned": timing,
        "ratio": 1.0,
        "ratio_low": 0.9,
        "ratio_high": 1.1,
        "verdict": "no measurable gain",
    }
    done = Outcome("done", answer={"device": "a processor", "comparisons": [one]})
    last = why.sentences(UNITS, cache.preview(UNITS), done)[-1]
    assert "calling operators" in last
    assert "0.06 ms" in last


@pytest.mark.parametrize("recipe", [UNITS, Recipe(model=MODEL, target=Ratio(value=0.9))])
def test_the_answer_behind_the_button_has_the_bytes_of_every_form(app, recipe):
    planned(app, recipe)
    measuring.files(recipe)
    question = measuring.Question("files", recipe, cache.plan_fingerprint(recipe))
    outcome = measuring.bench().wait(question)
    assert outcome.state == "done"
    sizes = outcome.answer["sizes"]
    counted = cache.preview(recipe)
    assert sizes["dense"] == counted.before.n_bytes
    assert sizes["raw"] == counted.after.n_bytes
    assert ("bitmask" in sizes) == (recipe is not UNITS)
    app.session_state["why"] = True
    app.run()
    texts = [element.value for element in app.markdown]
    assert any(why.QUESTION in text for text in texts)
    assert widget(app.button, "Measure the time")
