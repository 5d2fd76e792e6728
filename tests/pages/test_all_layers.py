"""The views over all layers: every picture for every model and granularity, equal to the strip."""

import pytest

from pruning_core import Recipe, load_model, trace
from pruning_core.granularities import GRANULARITIES
from pruning_core.loading.model import bundled_models
from pruning_core.planning.recipe import Ratio
from tests.pages.conftest import figures

MODELS = [card.identity for card in bundled_models()]
GRAINS = ("weight", "unit", "depth", "2:4")


def open_all(app, recipe, view="all", **choices):
    app.query_params["view"] = view
    app.run()
    app.session_state["recipe"] = recipe
    for key, value in choices.items():
        app.session_state[key] = value
    app.switch_page("pages/plan.py").run()
    assert not app.exception
    assert not app.error
    return app


def recipes(identity, ratio=0.4):
    model = load_model(identity)
    network = trace(model.module, model.inputs)
    return [
        Recipe(model=identity, granularity=key, target=Ratio(value=ratio))
        for key in GRAINS
        if GRANULARITIES[key].sites(network)
    ]


@pytest.mark.parametrize("identity", MODELS)
def test_the_waterfall_ends_where_the_strip_does(app, component, identity):
    for recipe in recipes(identity):
        for quantity in ("params", "nonzero", "macs", "n_bytes"):
            open_all(app, recipe, all_picture="savings", savings_of=quantity)
            (item,) = [i for i in component(app, "strip")["items"] if i["key"] == quantity]
            if item["before"] == item["after"]:
                assert any("stay" in info.value for info in app.info)
                continue
            (figure,) = figures(app)
            values = figure["data"][0]["x"]
            assert values[0] == item["before"]
            assert sum(values[:-1]) == values[-1] == item["after"]


@pytest.mark.parametrize("identity", MODELS)
def test_where_the_cost_is_is_drawn_for_every_model(app, identity):
    for quantity in ("parameters", "MACs"):
        open_all(app, Recipe(model=identity), all_picture="where", where_of=quantity)
        nested, ranked = figures(app)
        assert nested["data"][0]["type"] == "treemap"
        assert quantity in ranked["layout"]["title"]["text"]


@pytest.mark.parametrize("identity", MODELS)
def test_scores_and_widths_are_drawn_for_every_model_and_granularity(app, component, identity):
    for recipe in recipes(identity):
        for scale in ("own", "raw"):
            open_all(app, recipe, all_picture="scores", scores_scale=scale)
            (figure,) = figures(app)
            assert "leave" in figure["layout"]["title"]["text"]
            rows = component(app, "layers")["rows"]
            assert len(figure["layout"]["yaxis"]["ticktext"]) == len(rows)
        open_all(app, recipe, all_picture="widths", widths_scale="log")
        (figure,) = figures(app)
        assert "outputs" in figure["layout"]["title"]["text"]


def test_the_ribbons_have_the_letters_of_the_table(app, component):
    for identity in ("bundled:resnet_8", "bundled:vit_tiny", "bundled:gru_128"):
        recipe = Recipe(model=identity, granularity="unit", target=Ratio(value=0.4))
        open_all(app, recipe, all_picture="widths")
        (figure,) = figures(app)
        ticks = [t for t in figure["data"] if t.get("mode") == "markers+text"]
        lettered = set(ticks[0]["text"]) if ticks else set()
        columns = component(app, "layers")["columns"]["group"]
        shared = {group for group in columns if group >= 0 and columns.count(group) > 1}
        assert len(lettered) == len(shared)


@pytest.mark.parametrize("picture", ["scores", "widths"])
def test_of_many_layers_those_around_the_selected_one_are_drawn(app, monkeypatch, picture):
    from pages.common.views import everything

    monkeypatch.setattr(everything, "_ROWS", 4)
    recipe = Recipe(model="bundled:vit_tiny", target=Ratio(value=0.4))
    open_all(app, recipe, all_picture=picture, layer="blocks.1.fc1")
    (figure,) = figures(app)
    assert "<b>▸ blocks.1.fc1</b>" in figure["layout"]["yaxis"]["ticktext"]
    assert len(figure["layout"]["yaxis"]["ticktext"]) == 4
    (window,) = [each for each in app.selectbox if each.label == "Layers shown"]
    window.set_value(0).run()
    assert not app.exception
    assert figures(app)[0]["layout"]["yaxis"]["ticktext"][0] == "patches"
