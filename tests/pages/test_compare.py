"""The Compare page: runs, tree, trade-off, settings, and two networks side by side."""

import base64
import shutil

import numpy as np
import pytest

from pages.common import comparing, measuring
from pages.common.pictures import enlarged
from pruning_core.planning.recipe import Ratio, Recipe, Tuning
from pruning_core.runs.bench import Bench, Outcome, Question
from pruning_core.runs.pipeline import execute, write_run
from pruning_core.runs.store import Store
from tests.pages.conftest import figures
from tests.pages.test_pages import visit, widget

RECIPES = [
    Recipe(model="bundled:mlp_digits", target=Ratio(value=0.97), tuning=Tuning(epochs=epochs))
    for epochs in (0, 1)
]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    made = []
    for recipe in RECIPES:
        result = list(execute(recipe))[-1].result
        made.append((result, tmp_path_factory.mktemp("run")))
        write_run(*made[-1])
    return made


@pytest.fixture
def runs(app, folders, tmp_path):
    """The records of both runs, the older first."""
    store, records = Store(), []
    for place, (result, folder) in enumerate(folders):
        copy = store.root / f"copy-{place}"
        shutil.copytree(folder, copy)
        accuracy = {"dense": result.dense.accuracy, "pruned": result.pruned.accuracy}
        records.append(store.adopt(result.recipe, copy, label="", accuracy=accuracy))
    return [record.id for record in records]


def frame(app, column):
    (found,) = [item.value for item in app.dataframe if column in item.value]
    return found


def test_without_runs_the_page_says_what_to_do(app):
    visit(app, "pages/compare.py")
    assert any("Runs appear here when they are done" in text.value for text in app.markdown)
    assert not app.dataframe
    assert not app.error


def test_runs_are_listed_drawn_and_told_apart(app, runs, bench, component):
    visit(app, "pages/compare.py")
    assert not app.error
    listed = frame(app, "Non-zeros")
    assert set(listed["Run"]) == set(runs)
    assert listed["Parameters"].tolist() == [17_226, 17_226]
    texts = [chart["layout"]["title"]["text"] for chart in figures(app)[:2]]
    assert texts[0].startswith("2 runs; Test accuracy from ")
    assert texts[1].endswith("networks are not beaten by another")
    differ = frame(app, "Setting")
    assert differ["Setting"].tolist() == ["tuning.epochs"]
    widget(app.selectbox, "Across").set_value("f1").run()
    assert not app.exception
    assert component(app, "strip")["address"]["axes"] == "f1,accuracy"


def test_two_networks_are_compared_on_the_same_samples_beside_the_page(
    app, runs, bench, component, folders
):
    older, newer = runs
    app.query_params["pair"] = f"{older}:dense,{newer}:tuned"
    app.query_params["runs"] = newer
    visit(app, "pages/compare.py")
    question = comparing.question((f"{older}:dense", f"{newer}:tuned"), RECIPES[0])
    # the older run is not among those looked at, so another pair is shown
    assert measuring.bench().look(question) is None
    assert any("One run is chosen" in text.value for text in app.caption)
    app.session_state["_compared"] = {"runs": "", "pair": f"{older}:dense,{newer}:tuned"}
    app.run()
    assert component(app, "strip")["address"]["pair"] == f"{older}:dense,{newer}:tuned"
    assert measuring.bench().wait(question, 120).state == "done"
    app.run()
    assert not app.exception
    assert not app.error
    counts = {item.label: int(item.value.replace(",", "")) for item in app.metric}
    dense, tuned = folders[1][0].dense, folders[1][0].tuned
    assert counts["Both right"] + counts["Right in A, wrong in B"] == round(dense.accuracy * 500)
    assert counts["Both right"] + counts["Wrong in A, right in B"] == round(tuned.accuracy * 500)
    overlap = figures(app)[-1]
    kept = overlap["data"][3]
    assert kept["name"] == "stays in both"
    numbers = frame(app, "B against A")
    assert numbers["A"][0].startswith(f"{100 * dense.accuracy:.2f} %")
    (swap,) = [button for button in app.button if button.key == "compare_swap"]
    swap.click().run()
    assert component(app, "strip")["address"]["pair"] == f"{newer}:tuned,{older}:dense"


def test_networks_whose_weights_are_gone_stand_on_neither_side(app, runs):
    names = list(comparing.comparable(comparing.listed()))
    assert f"{runs[1]}:pruned" not in names  # fine-tuned since; only its metrics are known
    assert f"{runs[0]}:pruned" in names
    pair = comparing.pair_of((names[0], names[-1]))
    assert (pair.first.run, pair.second.run) == (runs[1], runs[0])


def test_a_comparison_that_fails_says_why_and_can_be_tried_again(app, runs, monkeypatch):
    class Broken(Bench):
        def ask(self, question, owner=""):
            kind = "failed" if question.kind == "compare" else "cancelled"
            return Outcome(kind, text="The weights are damaged.")

    monkeypatch.setattr(measuring, "bench", lambda: Broken())
    visit(app, "pages/compare.py")
    assert [item.value for item in app.warning] == ["The weights are damaged\\."]
    assert any(button.label == "Try again" for button in app.button)


def test_pictures_are_enlarged_without_blur():
    pixels = np.array([[0, 255], [7, 9]], np.uint8)
    packed = {"shape": [2, 2, 1], "pixels": base64.b64encode(pixels.tobytes()).decode()}
    grown = enlarged(packed, 92)
    assert grown.shape == (92, 92, 3)
    assert np.array_equal(np.unique(grown[:46, 46:]), [255])
    assert np.array_equal(grown[::46, ::46, 1], pixels)


def test_a_form_is_made_beside_the_export_page_and_then_offered(app, runs, bench):
    app.query_params["run"] = runs[0]
    visit(app, "pages/export.py")
    assert not app.error
    (make,) = [button for button in app.button if button.key == "make_index_map"]
    make.click().run()
    recipe = Recipe.from_json((Store().folder(runs[0]) / "export" / "recipe.json").read_bytes())
    question = Question("export", recipe, settings={"run": runs[0], "format": "index_map"})
    assert measuring.bench().wait(question, 120).state == "done"
    app.run()
    assert not app.exception
    assert not [button for button in app.button if button.key == "make_index_map"]
    assert (Store().folder(runs[0]) / "export" / "index_map.json").is_file()
