"""The Run page: the options of fine-tuning."""

import time

import pytest

from pages.common import cache, tuning_groups
from pruning_core.planning.recipe import Distillation, Recipe, Sparse, Tuning
from pruning_core.runs.dispatcher import poll, submit
from pruning_core.runs.store import Store, read_spec
from pruning_core.runs.view import read_run
from pruning_core.tuning.augmentations import AUGMENTATIONS
from pruning_core.tuning.sparsity import PENALTIES
from tests.pages.conftest import figures
from tests.pages.test_pages import visit, widget
from tests.pages.test_runs import labels

RECIPE = Recipe(model="bundled:cnn_digits")


def tuning(app) -> Tuning:
    return app.session_state["recipe"].tuning


def lines(app) -> dict[str, str]:
    """What the groups say is set inside, by their titles."""
    pairs = [item.label.split("** · ") for item in app.expander if "** · " in item.label]
    return {title.removeprefix("**"): inside for title, inside in pairs}


def test_every_option_reaches_the_recipe_and_its_group_says_so(app):
    visit(app, "pages/run.py", RECIPE)
    assert lines(app)["Optimiser"] == "nothing special"
    widget(app.selectbox, "Rate over time").set_value("step").run()
    widget(app.text_input, "Falls after epochs").set_value("4, 8 12").run()
    widget(app.number_input, "Factor").set_value(0.5).run()
    widget(app.number_input, "Warm-up steps").set_value(50).run()
    widget(app.number_input, "Clip gradients at").set_value(1.0).run()
    widget(app.number_input, "Label smoothing").set_value(0.1).run()
    widget(app.multiselect, "Change images at random").set_value(["crop", "cutout"]).run()
    widget(app.number_input, "Cutout, pixels").set_value(3.0).run()
    widget(app.multiselect, "Frozen layers").set_value(["conv1", "bn1"]).run()
    widget(app.checkbox, "Keep the weights of the best epoch").check().run()
    widget(app.number_input, "Stop after … epochs without gain").set_value(4).run()
    widget(app.number_input, "Smallest gain that counts").set_value(0.01).run()
    widget(app.selectbox, "Judged by validation").set_value("accuracy").run()
    widget(app.number_input, "Average the weights").set_value(0.998).run()
    assert tuning(app) == Tuning(
        learning_rate_schedule="step",
        step_milestones=(4, 8, 12),
        step_factor=0.5,
        warmup_steps=50,
        gradient_clip=1.0,
        label_smoothing=0.1,
        augmentations={"crop": AUGMENTATIONS["crop"].usual, "cutout": 3.0},
        freeze=("conv1", "bn1"),
        restore_best=True,
        patience=4,
        min_delta=0.01,
        watched="accuracy",
        average_decay=0.998,
    )
    said = lines(app)
    assert said["Learning rate"] == "falls by 0.5 in steps, 50 warm-up steps"
    assert said["Optimiser"] == "clipped at 1, labels smoothed by 0.1"
    assert said["Training data"] == "all examples, shift 2, cutout 3"
    assert said["Trained layers"] == "all, conv1, bn1 frozen"
    assert said["Early stop, best epoch"] == (
        "stops after 4 epochs without gain, best accuracy, weights averaged (0.998)"
    )
    widget(app.number_input, "Clip gradients at").set_value(None).run()
    widget(app.number_input, "Stop after … epochs without gain").set_value(None).run()
    widget(app.number_input, "Average the weights").set_value(None).run()
    assert (tuning(app).gradient_clip, tuning(app).patience) == (None, None)
    assert tuning(app).average_decay is None
    assert not app.error


@pytest.mark.parametrize("words", ["8, 4", "soon", "1.5", "0"])
def test_epochs_that_make_no_sense_get_a_sentence_and_change_nothing(app, words):
    visit(app, "pages/run.py", RECIPE.replace(tuning={"learning_rate_schedule": "step"}))
    widget(app.text_input, "Falls after epochs").set_value(words).run()
    assert "milestones" in app.error[0].value
    assert tuning(app).step_milestones == ()
    assert widget(app.text_input, "Falls after epochs").value == ""


def test_what_cannot_work_is_disabled_and_says_why(app, monkeypatch):
    monkeypatch.setattr(cache, "has_bfloat16", lambda device: False)
    visit(app, "pages/run.py", RECIPE)
    assert widget(app.number_input, "Momentum").disabled
    assert widget(app.number_input, "Smallest gain that counts").disabled
    assert widget(app.selectbox, "Judged by validation").disabled
    assert widget(app.selectbox, "Device").disabled
    assert "only its processor" in widget(app.selectbox, "Device").help
    assert widget(app.selectbox, "Precision").disabled
    assert "no instructions" in widget(app.selectbox, "Precision").help
    widget(app.selectbox, "Optimiser").set_value("sgd").run()
    assert not widget(app.number_input, "Momentum").disabled
    assert "Falls after epochs" not in labels(app.text_input)


def test_what_is_no_image_is_not_mirrored_or_turned(app, monkeypatch):
    monkeypatch.setattr(tuning_groups, "takes_images", lambda recipe: False)
    visit(app, "pages/run.py", RECIPE)
    assert widget(app.checkbox, "Mirror images at random").disabled
    assert widget(app.multiselect, "Change images at random").disabled


def test_a_run_computes_on_the_device_that_was_chosen(app, monkeypatch):
    monkeypatch.setattr(cache, "devices", lambda: ("cuda", "cpu"))
    monkeypatch.setattr("pruning_core.runs.dispatcher.dispatch", lambda *_, **__: None)
    visit(app, "pages/run.py", RECIPE)
    assert lines(app)["Device, precision"] == "NVIDIA or AMD GPU, float32"
    widget(app.selectbox, "Device").set_value("cpu").run()
    before = app.session_state["recipe"]
    widget(app.button, "Prune").click().run()
    spec = read_spec(Store().folder(app.session_state["run"]) / "spec.json")
    assert (spec.device, spec.recipe) == ("cpu", before)


def test_sparse_training_is_chosen_with_its_usual_strength_and_said(app):
    visit(app, "pages/run.py", RECIPE)
    assert lines(app)["Sparse training first"] == "none"
    widget(app.selectbox, "Pulled to zero").set_value("bn_scales").run()
    usual = PENALTIES["bn_scales"].usual
    assert app.session_state["recipe"].sparse == Sparse(kind="bn_scales", strength=usual)
    widget(app.number_input, "Sparse epochs").set_value(7).run()
    widget(app.number_input, "Strength of the penalty").set_value(0.5).run()
    widget(app.number_input, "Its learning rate").set_value(0.01).run()
    assert app.session_state["recipe"].sparse == Sparse(
        kind="bn_scales", strength=0.5, epochs=7, learning_rate=0.01
    )
    assert lines(app)["Sparse training first"] == "batch\\-norm scales, 7 epochs"
    widget(app.number_input, "Its learning rate").set_value(None).run()
    assert app.session_state["recipe"].sparse.learning_rate is None
    widget(app.selectbox, "Pulled to zero").set_value("").run()
    assert app.session_state["recipe"] == RECIPE


def test_distillation_is_switched_on_and_has_its_own_settings(app):
    visit(app, "pages/run.py", RECIPE)
    assert "Temperature" not in labels(app.number_input)
    widget(app.checkbox, "Learn from the dense model").check().run()
    assert tuning(app).distillation == Distillation()
    widget(app.number_input, "Share of its answers").set_value(0.9).run()
    widget(app.number_input, "Temperature").set_value(2.0).run()
    widget(app.multiselect, "Layers to match").set_value(["conv1"]).run()
    widget(app.number_input, "Weight of the match").set_value(0.25).run()
    assert tuning(app).distillation == Distillation(
        alpha=0.9, temperature=2.0, features=("conv1",), feature_weight=0.25
    )
    assert lines(app)["Distillation"] == "answers 0.9, temperature 2, 1 layer"
    widget(app.checkbox, "Learn from the dense model").uncheck().run()
    assert tuning(app).distillation is None
    assert not app.error


def test_the_histogram_of_a_sparse_run_says_how_many_are_zero(app):
    wanted = RECIPE.replace(
        granularity="unit",
        sparse=Sparse(kind="group_lasso", strength=1e-3, epochs=2, learning_rate=0.01),
        tuning={"epochs": 0, "train_samples": 400},
    )
    run = submit(wanted)
    while not poll(run).is_finished:
        time.sleep(0.2)
    view = read_run(run)
    assert [item.epoch for item in view.shrunk] == [0, 1, 2]
    assert (view.record.epoch, view.record.n_epochs) == (2, 2)
    app.query_params["run"] = run
    visit(app, "pages/run.py", wanted)
    (figure,) = [item for item in figures(app) if "sparse training" in str(item["layout"]["title"])]
    share = view.shrunk[-1].n_zero / view.shrunk[-1].n
    assert share > 0.05
    assert f"{100 * share:.1f} % of the units are zero after 2 epochs" in str(figure["layout"])
    assert not app.exception
