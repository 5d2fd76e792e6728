"""The int8 setting of a run, and the table of what was measured."""

from streamlit.testing.v1 import AppTest

from pruning_core.planning.recipe import Quantisation, Recipe

SIDE = {"accuracy": 0.9, "accuracy_interval": [0.88, 0.92], "f1": 0.9, "loss": 0.3, "n": 1000}
FOUND = {
    "kind": "static",
    "float_bytes": 4000,
    "int8_bytes": 1000,
    "before": SIDE,
    "after": SIDE,
    "change": [-0.01, 0.01],
    "agreement": 0.995,
    "n_calibration": 256,
    "stored": ["gru.weight_ih_l0"],
    "left": ["pos_embed"],
    "session": {},
    "speed": [],
}


def widget(found, label):
    return next(item for item in found if item.label == label)


def test_the_int8_file_is_chosen_and_taken_back(app):
    app.run()
    app.session_state["recipe"] = Recipe(model="bundled:mlp_digits")
    app.switch_page("pages/run.py").run()
    box = widget(app.selectbox, "Int8 file")
    assert box.options == ["None", "Dynamic", "Static", "Weights only"]
    box.set_value("static").run()
    assert app.session_state["recipe"].quantisation == Quantisation(kind="static")
    widget(app.number_input, "Calibration examples for int8").set_value(64).run()
    assert app.session_state["recipe"].quantisation == Quantisation(kind="static", samples=64)
    widget(app.selectbox, "Int8 file").set_value("dynamic").run()
    assert not any("Calibration" in item.label for item in app.number_input)
    widget(app.selectbox, "Int8 file").set_value("").run()
    assert app.session_state["recipe"] == Recipe(model="bundled:mlp_digits")
    assert not app.exception


def test_a_recipe_with_an_unknown_kind_can_be_shown(app):
    app.run()
    odd = Recipe(model="bundled:mlp_digits", quantisation=Quantisation(kind="int2"))
    app.session_state["recipe"] = odd
    app.switch_page("pages/run.py").run()
    assert not app.exception


def test_the_table_shows_float32_beside_int8():
    def page(report):
        from pages.common import quantising

        quantising.results({"quantised": None})
        quantising.results(report)

    app = AppTest.from_function(page, args=({"quantised": FOUND},), default_timeout=60).run()
    assert not app.exception
    (table,) = app.dataframe
    assert table.value["Change"][0] == "4.00x smaller"
    assert any("**Int8, static**" in item.value for item in app.markdown)
    said = " ".join(item.value for item in app.caption).replace("\\", "")
    assert "same answer to 99.50 % of 1,000" in said
    assert "Still float32: pos_embed" in said


def test_a_run_shows_every_metric_with_its_interval_and_every_class():
    def page(report):
        from pages.common import run_numbers

        run_numbers.show(report)

    side = {"dense": 0.9, "pruned": 0.8}
    item = {"label": 0, "n": 100, "precision": 0.9, "recall": 0.9, "f1": 0.9, "intervals": {}}
    details = {
        "accuracy_interval": [0.85, 0.93],
        "intervals": {"f1": [0.8, 0.95]},
        "per_class": [item, item | {"label": 1}],
        "confusion": [[90, 10], [10, 90]],
    }
    report = {
        "accuracy": side,
        "f1": side,
        "n": {"dense": 200, "pruned": 200},
        "data": {"key": "digits", "title": "Digits", "source": "bundled subset"},
        "details": {"dense": details, "pruned": details, "tuned": None},
    }
    app = AppTest.from_function(page, args=(report,), default_timeout=60).run()
    assert not app.exception
    metrics, classes, confusion = (table.value for table in app.dataframe)
    assert metrics["Dense"][0] == "90.00 % (85.00 to 93.00)"
    assert list(classes["Class"]) == ["0", "1"]
    assert list(confusion["1"]) == [10, 90]
    assert any("Wilson" in item.value for item in app.caption)
    nothing = report | {"accuracy": {"dense": None}}
    app = AppTest.from_function(page, args=(nothing,), default_timeout=60).run()
    assert "No accuracy was measured" in app.info[0].value
