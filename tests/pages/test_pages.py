"""Every page runs, shows the numbers of the core, and turns bad input into a sentence."""

import random
from pathlib import Path

import pytest
from safetensors.torch import save

from pruning_core import Recipe, load_model, preview, prune, resolve, score, trace
from pruning_core.granularities import GRANULARITIES
from pruning_core.loading.model import bundled_models
from pruning_core.planning.recipe import Calibration, Count, Ratio, Threshold
from pruning_core.runs import dispatcher
from pruning_core.runs.store import Store
from pruning_core.scoring.criterion import CRITERIA
from tests.core.oracles import counted_macs, counted_nonzero, counted_params

MODELS = [card.identity for card in bundled_models()]
PAGES = [f"pages/{name}.py" for name in ("model", "plan", "run", "compare", "export")]


def visit(app, page, recipe=None):
    app.run()
    if recipe is not None:
        app.session_state["recipe"] = recipe
    app.switch_page(page).run()
    assert not app.exception
    return app


def widget(elements, label):
    return next(element for element in elements if element.label == label)


def shown_totals(data):
    return {item["key"]: (item["before"], item["after"]) for item in data["items"] if item["key"]}


def random_recipe(model, network, draw):
    """Return a recipe with a global ratio, and own settings and pins of some layers."""
    granularity = draw.choice([key for key in GRANULARITIES if GRANULARITIES[key].sites(network)])
    sites = GRANULARITIES[granularity].sites(network)
    chosen = draw.sample(sites, k=draw.randint(0, len(sites)))
    return Recipe(
        model=model.identity,
        granularity=granularity,
        criterion=draw.choice(["l1", "l2", "random"]),
        scope=draw.choice(["local", "global"]),
        target=Ratio(value=draw.uniform(0, 0.95)),
        layers={
            site.name: draw.choice(
                [Ratio(value=draw.uniform(0, 0.9)), Count(value=draw.randint(0, site.n_units - 1))]
            )
            for site in chosen
        },
        pins=tuple(site.name for site in chosen[::2]),
        min_kept=draw.choice([1, 2]),
        round_to=draw.choice([1, 4]),
        seed=draw.randint(0, 99),
    )


def counts(module, model):
    """Count a real network; nothing of our own counts but the rule that a MAC is two FLOPs."""
    state = {name: tensor.contiguous() for name, tensor in module.state_dict().items()}
    return {
        "params": counted_params(module),
        "nonzero": counted_nonzero(module),
        "macs": counted_macs(module, *model.example_inputs),
        "n_bytes": len(save(state)),
    }


def planned(recipe):
    model = load_model(recipe.model)
    network = trace(model.module, model.inputs)
    return resolve(recipe, network, score(model, network, recipe))


@pytest.mark.parametrize("page", PAGES)
def test_every_page_runs_and_shows_the_strip(app, component, page):
    visit(app, page)
    assert not app.error
    totals = shown_totals(component(app, "strip"))
    assert totals["params"] == (266_610, 266_610)


@pytest.mark.parametrize("identity", MODELS)
def test_the_strip_shows_what_pruning_yields_for_random_plans(app, component, identity):
    model = load_model(identity)
    network = trace(model.module, model.inputs)
    draw = random.Random(identity)
    app.run()
    for _ in range(4):
        recipe = random_recipe(model, network, draw)
        plan = resolve(recipe, network, score(model, network, recipe))
        expected = preview(network, plan)
        visit(app, "pages/plan.py", recipe)
        assert not app.error
        shown = shown_totals(component(app, "strip"))
        assert {name: before for name, (before, _) in shown.items()} == counts(model.module, model)
        pruned = prune(model, network, plan)
        assert {name: after for name, (_, after) in shown.items()} == counts(pruned.module, model)
        rows = component(app, "layers")["rows"]
        assert {row["name"]: row["removed"] for row in rows} == {
            site: plan.n_removed(site) for site in plan.keep
        }
        data = component(app, "threshold")
        here = data["positions"]["n_removed"].index(data["removed"])
        assert data["positions"]["params"][here] == expected.after.params
        assert data["positions"]["nonzero"][here] == expected.after.nonzero
        assert data["positions"]["macs"][here] == expected.after.macs


def test_the_first_page_shows_importance_without_a_click(app, component):
    visit(app, "pages/model.py")
    picture = component(app, "heatmap")
    assert (picture["n_out"], picture["n_in"]) == (300, 784)
    assert picture["title"].startswith("Largest |w| is")
    histogram = component(app, "threshold")
    assert sum(histogram["counts"]) == 300 * 784
    assert len(app.get("plotly_chart")) == 2
    assert len(app.radio[0].options) == len(MODELS)


def test_the_first_picture_is_the_first_layer_of_every_model():
    from pruning_core.figures.matrix import layer_matrix
    from pruning_core.loading.glance import first_weights

    for card in bundled_models():
        model = load_model(card.identity)
        network = trace(model.module, model.inputs)
        assert card.first_layer == network.weights[0]
        assert card.data_title
        expected = layer_matrix(network, network.weights[0], single_weights=True).values
        assert (first_weights(card) == expected).all()


def test_choosing_a_model_shows_its_numbers(app, component):
    app.run()
    app.radio[0].set_value("bundled:gru_128").run()
    assert not app.exception
    card = next(card for card in bundled_models() if card.identity == "bundled:gru_128")
    assert shown_totals(component(app, "strip"))["params"][0] == card.n_params
    assert app.session_state["recipe"].model == "bundled:gru_128"


def test_a_typed_ratio_count_and_threshold_are_committed_as_they_are(app):
    visit(app, "pages/plan.py", Recipe(model="bundled:mlp_digits"))
    widget(app.number_input, "Ratio (%)").set_value(12.5).run()
    assert app.session_state["recipe"].layers == {"fc1": Ratio(value=0.125)}
    widget(app.number_input, "Count").set_value(77).run()
    assert app.session_state["recipe"].layers == {"fc1": Count(value=77)}
    widget(app.number_input, "Threshold").set_value(0.0625).run()
    assert app.session_state["recipe"].layers == {"fc1": Threshold(value=0.0625)}
    assert widget(app.number_input, "Count").value > 0


def test_the_global_setting_drops_own_settings_but_not_those_of_pinned_layers(app):
    recipe = Recipe(
        model="bundled:mlp_digits",
        layers={"fc1": Ratio(value=0.2), "fc2": Ratio(value=0.3)},
        pins=("fc1",),
    )
    visit(app, "pages/plan.py", recipe)
    widget(app.number_input, "Share to remove (%)").set_value(60.0).run()
    changed = app.session_state["recipe"]
    assert changed.target == Ratio(value=0.6)
    assert changed.layers == {"fc1": Ratio(value=0.2)}
    assert changed.pins == ("fc1",)


@pytest.mark.parametrize("identity", ["bundled:lenet_5", "bundled:vit_tiny", "bundled:gru_128"])
def test_switching_to_units_and_back_works(app, component, identity):
    visit(app, "pages/plan.py", Recipe(model=identity))
    widget(app.selectbox, "What is pruned").set_value("unit").run()
    assert not app.exception
    assert not app.error
    words = {row["unit"] for row in component(app, "layers")["rows"]}
    assert words <= {"channels", "neurons", "heads", "features", "hidden units"}
    widget(app.selectbox, "What is pruned").set_value("weight").run()
    assert {row["unit"] for row in component(app, "layers")["rows"]} == {"weights"}


@pytest.mark.parametrize("granularity", GRANULARITIES)
def test_every_granularity_can_be_planned_on_a_cnn(app, component, granularity):
    identity = "bundled:vit_tiny" if granularity == "depth" else "bundled:cnn_digits"
    visit(app, "pages/plan.py", Recipe(model=identity))
    widget(app.selectbox, "What is pruned").set_value(granularity).run()
    pattern = GRANULARITIES[granularity].pattern
    share = 0.5 if pattern is None else 1 - pattern.n / pattern.m
    widget(app.number_input, "Share to remove (%)").set_value(100 * share).run()
    assert not app.exception
    assert not app.error
    recipe = app.session_state["recipe"]
    assert recipe.granularity == granularity
    rows = component(app, "layers")["rows"]
    sites = {row["name"]: row["total"] for row in rows}
    model = load_model(recipe.model)
    network = trace(model.module, model.inputs)
    assert sites == {site.name: site.n_units for site in GRANULARITIES[granularity].sites(network)}
    removed = sum(row["removed"] for row in rows)
    assert abs(removed - share * sum(sites.values())) <= 0.5
    assert component(app, "heatmap")["n_out"] > 0
    assert component(app, "threshold")["positions"]["n_removed"][0] == 0


def test_a_mixed_recipe_is_shown_by_its_first_granularity_and_counted_as_a_whole(app, component):
    content = (Path(__file__).parents[2] / "examples" / "vit_tiny_mixed.json").read_bytes()
    recipe = Recipe.from_json(content).replace(criterion="l1", target=Ratio(value=0.3))
    visit(app, "pages/plan.py", recipe)
    assert not app.error
    model = load_model(recipe.model)
    network = trace(model.module, model.inputs)
    plan = resolve(recipe, network, score(model, network, recipe))
    expected = preview(network, plan).after
    assert shown_totals(component(app, "strip"))["macs"][1] == expected.macs
    rows = component(app, "layers")["rows"]
    assert {row["name"]: row["removed"] for row in rows} == {
        group.name: plan.n_removed(group.name) for group in network.groups
    }
    assert any("1 of 8 go" in info.value for info in app.info)
    data = component(app, "threshold")
    here = data["positions"]["n_removed"].index(data["removed"])
    assert data["positions"]["nonzero"][here] == expected.nonzero
    widget(app.selectbox, "What is pruned").set_value("depth").run()
    assert not app.exception
    assert [part.granularity for part in app.session_state["recipe"].also] == ["2:4"]


def test_a_criterion_that_cannot_rate_weights_is_replaced_there(app):
    recipe = Recipe(model="bundled:mlp_digits", granularity="unit", criterion="activation_norm")
    visit(app, "pages/plan.py", recipe)
    widget(app.selectbox, "What is pruned").set_value("weight").run()
    assert not app.error
    assert app.session_state["recipe"].criterion == "l1"


def test_a_criterion_that_reads_data_is_rated_on_calibration_data(app):
    visit(app, "pages/plan.py", Recipe(model="bundled:mlp_digits"))
    widget(app.selectbox, "Rated by").set_value("taylor").run()
    assert not app.exception
    assert not app.error
    assert any("calibration examples" in caption.value for caption in app.caption)


@pytest.mark.parametrize("criterion", CRITERIA)
def test_every_criterion_can_be_chosen_on_a_cnn(app, component, criterion):
    rates_units = CRITERIA[criterion].supports(GRANULARITIES["unit"])
    recipe = Recipe(
        model="bundled:cnn_digits",
        granularity="unit" if rates_units else "weight",
        criterion="l1",
        calibration=Calibration(samples=4, batch_size=4),
        target=Ratio(value=0.25),
        scope="local",
    )
    visit(app, "pages/plan.py", recipe)
    widget(app.selectbox, "Rated by").set_value(criterion).run()
    assert not app.exception
    assert not app.error
    assert app.session_state["recipe"].criterion == criterion
    rows = {row["name"]: row["removed"] for row in component(app, "layers")["rows"]}
    assert rows["conv2"] == (8 if rates_units else 1152)


def test_the_reversed_control_removes_what_would_stay(app):
    recipe = Recipe(model="bundled:mlp_digits", granularity="unit", target=Ratio(value=0.5))
    visit(app, "pages/plan.py", recipe)
    widget(app.toggle, "Reversed: the highest scores leave first").set_value(True).run()
    assert not app.error
    changed = app.session_state["recipe"]
    assert changed.reverse
    assert any("order is reversed" in caption.value for caption in app.caption)
    kept, other = planned(recipe).keep, planned(changed).keep
    assert all((kept[site] != other[site]).all() for site in kept)


def test_a_reduction_is_chosen_only_where_slices_are_rated(app):
    recipe = Recipe(model="bundled:cnn_digits", granularity="unit")
    visit(app, "pages/plan.py", recipe)
    widget(app.selectbox, "The slices of a unit are rated as").set_value("max").run()
    assert not app.error
    assert app.session_state["recipe"].reduction == "max"
    widget(app.selectbox, "Rated by").set_value("apoz").run()
    assert not app.error
    assert app.session_state["recipe"].reduction == "sum"
    assert widget(app.selectbox, "The slices of a unit are rated as").disabled


def test_a_criterion_that_can_rate_nothing_says_so_and_the_plan_stays(app, component):
    visit(app, "pages/plan.py", Recipe(model="bundled:mlp_digits", granularity="unit"))
    widget(app.selectbox, "Rated by").set_value("hrank").run()
    assert not app.exception
    assert "can rate no layer" in app.error[0].value
    assert component(app, "layers")["rows"]


def test_a_budget_is_met(app, component):
    recipe = Recipe(model="bundled:lenet_5", granularity="unit", normalise="mean")
    visit(app, "pages/plan.py", recipe)
    widget(app.selectbox, "Global setting").set_value("macs").run()
    share = next(n for n in app.number_input if n.label.startswith("Keep at most"))
    share.set_value(50.0).run()
    before, after = shown_totals(component(app, "strip"))["macs"]
    assert 0.3 * before < after <= 0.5 * before


def test_a_budget_that_cannot_be_met_says_so_and_keeps_the_plan(app):
    recipe = Recipe(model="bundled:lenet_5", granularity="unit", normalise="mean")
    visit(app, "pages/plan.py", recipe)
    widget(app.selectbox, "Global setting").set_value("macs").run()
    share = next(n for n in app.number_input if n.label.startswith("Keep at most"))
    share.set_value(0.1).run()
    assert not app.exception
    assert "cannot be reached" in app.error[0].value
    assert app.session_state["recipe"].target.value > 0.001


BAD_FILES = {
    "brackets": (b"[" * 900_000, "nested too deeply"),
    "nan": (b'{"version": 1, "model": "bundled:lenet_5", "seed": NaN}', "NaN"),
    "ratio of one": (
        b'{"version": 1, "model": "bundled:lenet_5", "target": {"kind": "ratio", "value": 1}}',
        "less than 1",
    ),
    "wrong version": (b'{"version": 7, "model": "bundled:lenet_5"}', "version 1"),
    "unknown model": (b'{"version": 1, "model": "bundled:lenet_6"}', "No bundled model is called"),
    "unknown layer": (
        b'{"version": 1, "model": "bundled:lenet_5", "pins": ["conv9"]}',
        "No prunable layer is called",
    ),
    "code": (b'{"version": 1, "model": "python:os:system"}', "run code when they are loaded"),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_a_bad_recipe_gets_a_sentence_and_changes_nothing(app, name):
    content, sentence = BAD_FILES[name]
    visit(app, "pages/plan.py", Recipe(model="bundled:mlp_digits"))
    app.get("file_uploader")[0].upload("recipe.json", content, "application/json").run()
    assert not app.exception
    assert sentence in app.error[0].value.replace("\\", "")
    assert app.session_state["recipe"] == Recipe(model="bundled:mlp_digits")


def test_a_good_recipe_is_taken_over(app):
    recipe = Recipe(model="bundled:lenet_5", granularity="unit", target=Ratio(value=0.25))
    visit(app, "pages/plan.py")
    app.get("file_uploader")[0].upload(
        "r.json", recipe.to_json().encode(), "application/json"
    ).run()
    assert not app.error
    assert app.session_state["recipe"] == recipe


@pytest.mark.parametrize("identity", ["bundled:nothing", "python:os:system", "<script>"])
def test_an_address_with_a_bad_model_gets_a_sentence_and_a_working_page(app, component, identity):
    app.query_params["model"] = identity
    app.run()
    assert not app.exception
    assert len(app.error) == 1
    assert shown_totals(component(app, "strip"))["params"] == (266_610, 266_610)


def test_an_address_selects_model_and_layer(app, component):
    app.query_params["model"] = "bundled:vit_tiny"
    app.query_params["layer"] = "blocks.1.fc1"
    visit(app, "pages/plan.py")
    assert component(app, "layers")["selected"] == "blocks.1.fc1"
    assert component(app, "threshold")["site"] == "blocks.1.fc1"


def test_a_run_that_does_not_exist_gets_a_sentence(app):
    app.query_params["run"] = "20200101-000000-abcdef"
    visit(app, "pages/run.py")
    assert "No run is called" in app.error[0].value.replace("\\", "")


def test_an_error_of_ours_shows_an_id_and_no_traceback(app, monkeypatch, caplog):
    from pages.common import overview

    def fails(_network):
        raise ZeroDivisionError("secret detail")

    monkeypatch.setattr(overview, "layer_table", fails)
    app.run()
    assert not app.exception
    shown = app.error[0].value.replace("\\", "")
    assert "Something went wrong" in shown
    assert "secret detail" not in shown
    identifier = shown.split("(error ")[1].split(")")[0]
    assert any(identifier in record.getMessage() for record in caplog.records)


def test_pruning_starts_a_run_and_the_address_names_it(app, component):
    visit(app, "pages/run.py", Recipe(model="bundled:mlp_digits"))
    widget(app.number_input, "Epochs").set_value(0).run()
    widget(app.button, "Prune").click().run()
    assert not app.exception
    run = app.session_state["run"]
    address = component(app, "strip")["address"]
    assert address["run"] == run
    assert address["model"] == "bundled:mlp_digits"
    assert any(run in element.value.replace("\\", "") for element in app.subheader)
    dispatcher.cancel(run)


@pytest.fixture
def cancelled_run(app):
    """A run of another recipe that ended before it began, so that no worker is needed."""
    store = Store()
    record = store.add(Recipe(model="bundled:cnn_digits", seed=7), threads=1)
    store.ask_to_cancel(record.id)
    return record.id


def test_an_earlier_run_can_be_shown_reused_and_deleted(app, cancelled_run):
    app.query_params["run"] = cancelled_run
    visit(app, "pages/run.py")
    widget(app.button, "Use its recipe").click().run()
    assert app.session_state["recipe"] == Recipe(model="bundled:cnn_digits", seed=7)
    assert not [button for button in app.button if button.label == "Use its recipe"]
    widget(app.button, "Delete").click().run()
    assert not app.exception
    assert not app.error
    assert Store().all() == ()
    assert any("No run is shown" in element.value for element in app.subheader)


def test_a_reload_finds_the_plan_of_the_run_in_the_address(app, cancelled_run):
    app.query_params["model"] = "bundled:cnn_digits"
    app.query_params["run"] = cancelled_run
    visit(app, "pages/run.py")
    assert app.session_state["recipe"] == Recipe(model="bundled:cnn_digits", seed=7)


def test_an_emptied_field_leaves_the_value_standing(app):
    visit(app, "pages/plan.py")
    field = widget(app.number_input, "Count")
    field.set_value(5).run()
    widget(app.number_input, "Count").set_value(None).run()
    assert widget(app.number_input, "Count").value == 5
    assert not app.exception


def test_a_damaged_description_of_a_run_gets_a_sentence(app, cancelled_run):
    (Store().folder(cancelled_run) / "spec.json").write_text("{")
    app.query_params["run"] = cancelled_run
    visit(app, "pages/run.py")
    assert "cannot be read" in app.error[0].value
    widget(app.button, "Delete").click().run()
    assert not Store().folder(cancelled_run).exists()


EXTREME = {
    "shares": Recipe(model="bundled:lenet_300_100", target=Ratio(value=0.999999)),
    "count": Recipe(model="bundled:lenet_300_100", target=Count(value=10**12)),
    "own": Recipe(model="bundled:lenet_300_100", layers={"fc1": Ratio(value=0.9999999)}),
    "threshold": Recipe(model="bundled:lenet_300_100", target=Threshold(value=-1e30)),
    "tuning": Recipe.from_json(
        '{"version": 1, "model": "bundled:mlp_digits", "tuning": {"learning_rate": 1e-12, '
        '"momentum": 0.99999, "optimiser": "sgd", "epochs": 1000, "batch_size": 8192, '
        '"train_samples": 2, "weight_decay": 1.0}, "schedule": {"rounds": 50}}'
    ),
}


@pytest.mark.parametrize("name", EXTREME)
@pytest.mark.parametrize("page", ["pages/plan.py", "pages/run.py"])
def test_every_valid_recipe_can_be_shown(app, name, page):
    visit(app, page, EXTREME[name])
    assert not app.error
    assert app.session_state["recipe"] == EXTREME[name]
