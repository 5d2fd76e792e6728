"""Undo, redo, links, snapshots, and models of the person who starts the server."""

import base64
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as some

from pages.common import link, starter, state
from pruning_core import Recipe
from pruning_core.errors import PruningError
from pruning_core.planning.recipe import Count, Picks, Ratio, Threshold
from tests.pages.test_pages import widget

MODEL = "bundled:mlp_digits"


def visit(app, page, **parameters):
    for name, value in parameters.items():
        app.query_params[name] = value
    app.run()
    return app.switch_page(page).run()


def set_count(app, value):
    widget(app.number_input, "Count").set_value(value).run()


TARGETS = some.one_of(
    some.floats(0, 0.99).map(lambda x: Ratio(value=x)),
    some.integers(0, 10**6).map(lambda x: Count(value=x)),
    some.floats(allow_nan=False, allow_infinity=False).map(lambda x: Threshold(value=x)),
)
RECIPES = some.builds(
    Recipe,
    model=some.just(MODEL),
    target=TARGETS,
    layers=some.dictionaries(some.text(min_size=1, max_size=9), TARGETS, max_size=5),
    pins=some.lists(some.text(min_size=1, max_size=9), unique=True, max_size=3).map(tuple),
    picks=some.dictionaries(
        some.just("fc1"), some.builds(Picks, keep=some.just((1, 2)), prune=some.just((4,)))
    ),
    seed=some.integers(0, 2**31 - 1),
)


@given(RECIPES)
def test_a_plan_survives_the_address(recipe):
    assert link.decode(link.inline(recipe)) == recipe


def test_a_fresh_plan_needs_no_word_and_a_long_one_is_kept(tmp_path, monkeypatch):
    monkeypatch.setenv("PRUNING_STUDIO_STATE", str(tmp_path))
    assert link.encode(Recipe(model=MODEL)) == ""
    units = tuple(hash((i, "pick")) % 10**9 for i in range(3000))
    long = Recipe(model=MODEL, picks={"fc1": Picks(prune=tuple(sorted(set(units))))})
    word = link.encode(long)
    assert len(word) < 64
    assert link.decode(word) == long


@pytest.mark.parametrize(
    "word",
    [
        "z.",
        "z.####",
        "nonsense",
        "k.",
        "k." + "0" * 32,
        "z." + base64.urlsafe_b64encode(b"not compressed").decode(),
        "z." + base64.urlsafe_b64encode(zlib.compress(b"{}")).decode(),
        "z." + base64.urlsafe_b64encode(zlib.compress(b" " * 10**8)).decode(),
    ],
)
def test_a_damaged_address_gets_a_sentence_and_a_working_page(app, component, word):
    app.query_params["plan"] = word
    app.run()
    assert not app.exception
    assert len(app.error) == 1
    assert component(app, "strip")["items"]


def test_a_link_cannot_name_a_model_that_is_not_offered(app):
    app.query_params["plan"] = link.inline(Recipe(model="python:os:getcwd"))
    app.run()
    assert "No model on these pages" in app.error[0].value.replace("\\", "")


def test_a_link_for_inputs_of_another_shape_is_refused(app):
    app.query_params["plan"] = link.inline(Recipe(model="bundled:cnn_digits", input_shape=(3, 9)))
    app.run()
    assert "for inputs of shape (3, 9)" in app.error[0].value.replace("\\", "")
    assert app.session_state["recipe"].input_shape is None


def test_a_link_that_says_the_shape_of_the_model_is_taken(app):
    recipe = Recipe(model="bundled:cnn_digits", input_shape=(1, 8, 8))
    app.query_params["plan"] = link.inline(recipe)
    app.run()
    assert not app.error
    assert app.session_state["recipe"] == recipe


def test_a_folder_of_the_server_is_no_model_of_a_link(app):
    app.query_params["plan"] = link.inline(Recipe(model="transformers:../etc"))
    app.run()
    assert "No model on these pages" in app.error[0].value.replace("\\", "")


def test_ten_steps_are_undone_and_done_again(app):
    visit(app, "pages/plan.py", model=MODEL)
    for value in range(1, 11):
        set_count(app, value)
    for value in range(9, -1, -1):
        widget(app.button, "Undo").click().run()
        assert widget(app.number_input, "Count").value == value
    assert widget(app.button, "Undo").disabled
    for value in range(1, 11):
        widget(app.button, "Redo").click().run()
        assert widget(app.number_input, "Count").value == value
    assert widget(app.button, "Redo").disabled


def test_a_new_step_forgets_what_was_undone(app):
    visit(app, "pages/plan.py", model=MODEL)
    set_count(app, 5)
    widget(app.button, "Undo").click().run()
    set_count(app, 7)
    assert widget(app.button, "Redo").disabled


def exact(strip):
    """The items that are counted, not measured."""
    return [item for item in strip["items"] if item["key"]]


def test_the_address_opens_plan_layer_and_view_in_a_new_session(app, component):
    visit(app, "pages/plan.py", model=MODEL, layer="fc2")
    set_count(app, 12)
    address = component(app, "strip")["address"]
    strip = exact(component(app, "strip"))
    for name in ("recipe", "layer", "shown_view"):
        del app.session_state[name]
    visit(app, "pages/plan.py", **{key: value for key, value in address.items() if value})
    assert component(app, "threshold")["site"] == "fc2"
    assert exact(component(app, "strip")) == strip
    assert app.session_state["recipe"].layers == {"fc2": Count(value=12)}


def test_pages_without_tools_take_edits_like_others(app, component):
    visit(app, "pages/plan.py", model=MODEL, reduced="1")
    assert "Undo" not in [button.label for button in app.button]
    set_count(app, 12)
    assert not app.exception
    app.run()
    widget(app.number_input, "Share to remove (%)").set_value(30.0).run()
    assert not app.exception
    assert not app.error
    assert app.session_state["recipe"].target == Ratio(value=0.3)
    counts = {item["key"]: item["after"] for item in exact(component(app, "strip"))}
    assert counts["nonzero"] < counts["params"]


def test_a_snapshot_is_saved_opened_and_deleted(app):
    visit(app, "pages/plan.py", model=MODEL)
    set_count(app, 12)
    app.run()
    widget(app.text_input, "Name of the present plan").set_value("dozen").run()
    widget(app.button, "Save snapshot").click().run()
    assert widget(app.button, "Open").disabled
    set_count(app, 40)
    widget(app.button, "Open").click().run()
    assert app.session_state["recipe"].layers == {"fc1": Count(value=12)}
    app.run()
    widget(app.button, "Delete").click().run()
    assert not [button for button in app.button if button.label == "Open"]


@pytest.fixture
def started(monkeypatch, tmp_path):
    """Pretend that the server was started with options."""

    def start(*options):
        (tmp_path / "own_net.py").write_text(
            "import torch\n"
            "def build():\n"
            "    net = torch.nn.Sequential(torch.nn.Linear(6, 9), torch.nn.ReLU(),"
            " torch.nn.Linear(9, 2))\n"
            "    return net, torch.zeros(1, 6)\n"
        )
        monkeypatch.syspath_prepend(tmp_path)
        monkeypatch.setenv("PRUNING_STUDIO_MODELS", "[]")
        monkeypatch.setattr("sys.argv", ["app.py", *options])
        starter._offer.cache_clear()

    yield start
    starter._offer.cache_clear()


def test_the_starters_model_is_open_at_once_and_can_be_planned(app, component, started):
    started("--model", "own_net:build")
    app.run()
    assert app.session_state["recipe"].model == "python:own_net:build"
    assert not app.error
    app.switch_page("pages/plan.py").run()
    widget(app.selectbox, "What is pruned").set_value("unit").run()
    set_count(app, 4)
    after = {item["key"]: item.get("after") for item in component(app, "strip")["items"]}
    assert after["params"] == (6 + 1) * 5 + (5 + 1) * 2


def test_a_model_that_cannot_be_loaded_gets_a_sentence(app, started):
    started("--model", "no_such_package:build")
    app.run()
    assert "no module is called" in app.error[0].value.replace("\\", "")
    assert not app.exception


def test_options_that_cannot_be_read_get_a_sentence(app, started):
    started("--modle", "x")
    app.run()
    assert "options that cannot be used" in app.error[0].value.replace("\\", "")


def test_only_models_the_starter_named_run_code(started):
    started("--model", "own_net:build", "--model", "timm:resnet18")
    assert starter.offer().models == ("python:own_net:build", "timm:resnet18")
    from pages.common import cache

    with pytest.raises(PruningError, match="run code"):
        cache.model("python:os:getcwd")


def test_a_value_the_browser_has_not_replaced_yet_is_no_change(monkeypatch):
    session = {"recipe": Recipe(model=MODEL)}
    monkeypatch.setattr(state.st, "session_state", session)
    written = []
    first = state.bound("slider", 30.0, written.append)
    session[first["key"]] = 40.0  # the person moves it
    first["on_change"]()
    assert written == [40.0]
    assert state.bound("slider", 40.0, written.append)["key"] == first["key"]
    after_undo = state.bound("slider", 30.0, written.append)
    assert after_undo["key"] != first["key"]  # what the browser still says about the first is void
    assert session[after_undo["key"]] == 30.0
    first["on_change"]()
    assert written == [40.0]
