"""The view that compares criteria, on every model and several granularities."""

import pytest

from pruning_core import Recipe, load_model, resolve, score, trace
from pruning_core.granularities import GRANULARITIES
from pruning_core.loading.model import bundled_models
from pruning_core.planning.recipe import Part, Ratio
from pruning_core.scoring.criterion import CRITERIA
from tests.pages.conftest import figures

MODELS = [card.identity for card in bundled_models()]


def open_criteria(app, recipe, chosen=None, **choices):
    app.query_params["view"] = "criteria"
    app.run()
    app.session_state["recipe"] = recipe
    if chosen is not None:
        app.session_state["compared_criteria_chosen"] = chosen
    for key, value in choices.items():
        app.session_state[key] = value
    app.switch_page("pages/plan.py").run()
    assert not app.exception
    assert not app.error
    return app


def button(app):
    found = [each for each in app.button if each.label.endswith("on data")]
    return found[0] if found else None


@pytest.mark.parametrize("identity", MODELS)
def test_criteria_are_compared_for_every_model_and_granularity(app, identity):
    model = load_model(identity)
    network = trace(model.module, model.inputs)
    for key in ("weight", "unit", "depth", "2:4"):
        if not GRANULARITIES[key].sites(network):
            continue
        recipe = Recipe(model=identity, granularity=key, target=Ratio(value=0.4))
        for scope in ("all", "layer"):
            open_criteria(app, recipe, criteria_scope=scope)
            assert not app.warning
            ranks, overlap = figures(app)
            assert "rank most alike" in ranks["layout"]["title"]["text"]
            title = overlap["layout"]["title"]["text"]
            assert "both prune" in title or (scope == "layer" and "Nothing leaves" in title)
            assert any("Spearman" in caption.value for caption in app.caption)


def test_the_overlap_is_that_of_the_plans_of_both_criteria(app):
    recipe = Recipe(
        model="bundled:lenet_5", granularity="unit", scope="local", target=Ratio(value=0.5)
    )
    open_criteria(app, recipe, ["l1", "random"])
    model = load_model(recipe.model)
    network = trace(model.module, model.inputs)
    gone = []
    for key in ("l1", "random"):
        own = recipe.replace(criterion=key)
        plan = resolve(own, network, score(model, network, own))
        gone.append(
            {
                (site, unit)
                for site, keep in plan.keep.items()
                for unit, stays in enumerate(keep)
                if not stays
            }
        )
    _, overlap = figures(app)
    text = overlap["data"][0]["text"][0][1]
    share = len(gone[0] & gone[1]) / len(gone[0] | gone[1])
    assert text == f"{share:.2f}<br>{len(gone[0] & gone[1])}"


def test_criteria_that_read_data_wait_for_the_button(app):
    recipe = Recipe(model="bundled:mlp_digits", granularity="unit", target=Ratio(value=0.3))
    open_criteria(app, recipe, ["l1", "taylor", "activation_mean"])
    assert not figures(app)
    assert button(app).label == "Rate 2 criteria on data"
    button(app).click().run()
    assert not app.exception
    ranks, _ = figures(app)
    assert len(ranks["layout"]["yaxis"]["ticktext"]) == 3
    assert button(app) is None
    open_criteria(app, recipe.replace(target=Ratio(value=0.6)), ["l1", "taylor"])
    assert button(app) is None


def test_the_criterion_of_the_plan_is_there_without_the_button(app):
    recipe = Recipe(model="bundled:mlp_digits", granularity="unit", criterion="taylor")
    open_criteria(app, recipe, ["l1", "taylor"])
    assert button(app) is None
    assert figures(app)[1]["layout"]["title"]["text"] == "Nothing leaves here, so nothing overlaps"


def test_one_criterion_or_one_that_can_rate_nothing_gets_a_sentence(app):
    recipe = Recipe(model="bundled:mlp_digits", granularity="unit")
    open_criteria(app, recipe, ["l1"])
    assert "Choose two criteria" in app.info[-1].value
    open_criteria(app, recipe, ["l1", "bn_scale"])
    assert "can rate no layer" in app.warning[0].value
    assert "Choose two criteria" in app.info[-1].value


def test_a_mixed_plan_compares_its_own_part(app):
    also = (Part(granularity="weight", target=Ratio(value=0.5)),)
    recipe = Recipe(model="bundled:lenet_5", granularity="unit", target=Ratio(value=0.3), also=also)
    open_criteria(app, recipe)
    assert len(figures(app)) == 2


def test_six_criteria_can_be_chosen(app):
    recipe = Recipe(model="bundled:cnn_digits", granularity="unit", target=Ratio(value=0.3))
    keys = [
        key
        for key, entry in CRITERIA.items()
        if entry.supports(GRANULARITIES["unit"]) and not entry.needs_data
    ][:6]
    open_criteria(app, recipe, keys)
    assert len(figures(app)[0]["layout"]["yaxis"]["ticktext"]) == len(keys)
    assert not app.warning
