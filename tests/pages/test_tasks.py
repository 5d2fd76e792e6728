"""Pages of a model that does something else than telling classes apart."""

import io
import time

import numpy as np
import pytest

from pages.common import starter
from pruning_core.planning.recipe import Calibration, Ratio, Recipe, Tuning
from pruning_core.runs import dispatcher
from tests.core.task_zoo import TEXT, number_data
from tests.pages.conftest import figures
from tests.pages.test_own_files import press, wait_for
from tests.pages.test_pages import visit


@pytest.fixture
def models(monkeypatch):
    """The server was started with two models whose code may run."""
    names = {name: f"python:tests.core.task_zoo:{name}" for name in ("letters", "numbers")}
    options = [option for name in names.values() for option in ("--model", name)]
    monkeypatch.setattr("sys.argv", ["app.py", *options])
    starter._offer.cache_clear()
    yield names
    starter._offer.cache_clear()


def upload(app, name, content):
    next(field for field in app.file_uploader if "targets" in field.label).upload(
        name, content
    ).run()
    assert not app.exception
    assert not app.error


def words_of(app):
    """Everything a page says in words."""
    kinds = (app.markdown, app.caption, app.metric, app.info, app.warning, app.selectbox)
    found = [getattr(one, "label", "") or "" for kind in kinds for one in kind]
    found += [str(getattr(one, "value", "")) for kind in kinds for one in kind]
    return "\n".join(found)


def strip(app, component):
    return [item for item in component(app, "strip")["items"] if not item["key"]]


def test_a_language_model_is_judged_by_perplexity_on_every_page(app, component, bench, models):
    recipe = Recipe(
        model=models["letters"],
        criterion="l2",
        target=Ratio(value=0.5),
        calibration=Calibration(samples=32),
        tuning=Tuning(epochs=1, learning_rate=0.01, batch_size=32),
    )
    visit(app, "pages/model.py", recipe)
    upload(app, "mine.txt", TEXT.encode())
    assert "Tokens are bytes" in words_of(app)
    assert not [field.label for field in app.number_input if field.label == "Mean"]
    press(app, "Use these data")
    wait_for(app, lambda: "The perplexity of the dense model is" in words_of(app))
    assert "knowing nothing but how frequent each token is would reach" in words_of(app)
    recipe = app.session_state["recipe"]
    run = dispatcher.submit(recipe)

    visit(app, "pages/plan.py", recipe)
    wait_for(
        app,
        lambda: (
            "what-if" in strip(app, component)[0]["badge_help"]
            or strip(app, component)[0]["text"]["after"] not in {"", "…"}
        ),
    )
    item = strip(app, component)[0]
    assert item["label"] in {"Perplexity what-if", "Test perplexity"}
    assert "%" not in item["text"]["after"]
    assert item["text"]["note"].endswith(" %")

    end = time.monotonic() + 300
    while dispatcher.poll(run).state != "done":
        assert dispatcher.poll(run).state != "failed", dispatcher.poll(run).error
        assert time.monotonic() < end
        time.sleep(0.3)
    app.session_state["run"] = run
    app.query_params["run"] = run
    visit(app, "pages/run.py", recipe)
    labels = [metric.label for metric in app.metric]
    assert "Fine-tuned, test perplexity" in labels
    titles = str(figures(app))
    assert "Validation perplexity" in titles
    assert "ccuracy" not in titles
    visit(app, "pages/compare.py", recipe)
    wait_for(app, lambda: "The same" in words_of(app))
    assert "perplexity" in words_of(app)
    assert "Where B is worse than A" in words_of(app)
    (tokens,) = [one.value for one in app.dataframe if "Next token" in one.value][:1]
    assert tokens["A gives it"].between(0, 1).all()
    assert tokens["Text before"].str.len().max() > 1


def test_values_to_predict_are_shown_as_numbers_and_judged_by_their_variance(app, bench, models):
    visit(app, "pages/model.py", Recipe(model=models["numbers"]))
    x, y = number_data()
    content = io.BytesIO()
    np.savez(content, x=x, y=y)
    upload(app, "mine.npz", content.getvalue())
    assert "These are data for regression" in words_of(app)
    assert any("target" in str(frame.value.columns.tolist()) for frame in app.dataframe)
    press(app, "Use these data")
    wait_for(app, lambda: "The R² of the dense model is" in words_of(app))
    assert "regression, 1 number a sample" in words_of(app)
    assert "untrained" in words_of(app)
