"""The detail view of one layer: scores, units picked by hand, what leaves together, pictures."""

import base64
import json

import numpy as np
import pytest

from pages.common.picks import wish_for, with_picks, without_picks
from pruning_core import Recipe, load_model, trace
from pruning_core.granularities import GRANULARITIES
from pruning_core.planning.recipe import Count, Picks, Ratio
from pruning_core.tracing.coupling import coupling_path
from tests.pages.test_pages import planned, visit, widget


@pytest.mark.parametrize(("granularity", "share"), [("2:4", 0.5), ("1:4", 0.75), ("4:8", 0.5)])
def test_a_pattern_is_switched_not_dragged(app, component, granularity, share):
    visit(app, "pages/plan.py", Recipe(model="bundled:lenet_5", granularity=granularity))
    app.session_state["layer"] = "conv2"
    app.run()
    off = component(app, "threshold")
    assert off["on_off"]
    assert sum(off["gone"]) == 0
    assert not [field for field in app.number_input if field.label in ("Threshold", "Count")]
    widget(app.segmented_control, "This layer").set_value(granularity).run()
    on = component(app, "threshold")
    assert on["removed"] == sum(on["gone"]) == share * on["total"]
    assert all(gone <= count for gone, count in zip(on["gone"], on["counts"], strict=True))
    widget(app.segmented_control, "This layer").set_value("Dense").run()
    assert app.session_state["recipe"].layers == {"conv2": Ratio(value=0)}
    assert component(app, "threshold")["removed"] == 0


def test_scores_can_be_drawn_as_a_cumulative_curve(app, component):
    visit(app, "pages/plan.py", Recipe(model="bundled:lenet_5", granularity="unit"))
    assert component(app, "threshold")["curve"] is None
    widget(app.segmented_control, "Drawn as").set_value("ECDF").run()
    curve = component(app, "threshold")["curve"]
    assert curve["below"] == [k / 20 for k in range(20)]
    assert curve["scores"] == sorted(curve["scores"])


def test_picks_replace_each_other_and_auto_takes_them_back():
    recipe = with_picks(Recipe(model="bundled:lenet_5"), "conv1", [3, 1], "keep")
    assert recipe.picks == {"conv1": Picks(keep=(1, 3))}
    recipe = with_picks(recipe, "conv1", [3, 5], "prune")
    assert recipe.picks == {"conv1": Picks(keep=(1,), prune=(3, 5))}
    assert [wish_for(recipe, "conv1", unit) for unit in (1, 3, 0)] == ["keep", "prune", "auto"]
    other = with_picks(recipe, "fc1", [0], "prune")
    assert without_picks(other, "conv1").picks == {"fc1": Picks(prune=(0,))}
    assert with_picks(recipe, "conv1", [1, 3, 5], "auto").picks == {}


def test_a_unit_is_kept_and_pruned_by_hand(app, component):
    recipe = Recipe(model="bundled:lenet_5", granularity="unit", layers={"conv1": Count(value=4)})
    visit(app, "pages/plan.py", recipe)
    before = component(app, "units")
    lowest, highest = before["tiles"]["unit"][0], before["tiles"]["unit"][-1]
    assert before["tiles"]["keep"] == [0] * 4 + [1] * 16
    assert before["selected"] == lowest
    widget(app.segmented_control, "Picked by hand").set_value("keep").run()
    widget(app.number_input, "Channel to look at").set_value(highest).run()
    widget(app.segmented_control, "Picked by hand").set_value("prune").run()
    assert not app.error
    changed = app.session_state["recipe"]
    assert changed.picks == {"conv1": Picks(keep=(lowest,), prune=(highest,))}
    after = component(app, "units")["tiles"]
    plan = planned(changed)
    assert after["keep"] == plan.keep["conv1"][after["unit"]].astype(int).tolist()
    assert (after["keep"][0], after["keep"][-1], sum(after["keep"])) == (1, 0, 16)
    assert (after["pick"][0], after["pick"][-1]) == (1, 2)
    next(b for b in app.button if b.label == "Clear picks of this layer").click().run()
    assert app.session_state["recipe"].picks == {}


def test_single_weights_are_listed_page_by_page(app, component):
    visit(app, "pages/plan.py", Recipe(model="bundled:lenet_5", target=Ratio(value=0.5)))
    app.session_state["layer"] = "fc2"
    app.session_state["many_units"] = True
    app.run()
    widget(app.number_input, "Page of 1 to 10").set_value(10).run()
    assert not app.exception
    shown = component(app, "units")["tiles"]
    assert len(shown["unit"]) == 5000 - 9 * 512
    assert shown["score"] == sorted(shown["score"])
    widget(app.number_input, "Weight to look at").set_value(17).run()
    assert 17 in component(app, "units")["tiles"]["unit"]
    assert any("Weight \\[0, 17\\]" in text.value for text in app.markdown)


@pytest.mark.parametrize(
    ("model", "layer"),
    [("resnet_8", "conv1"), ("gru_128", "gru"), ("vit_tiny", "patches"), ("lenet_5", "conv2")],
)
def test_every_slice_that_leaves_is_listed_with_its_reason(app, component, model, layer):
    visit(app, "pages/plan.py", Recipe(model=f"bundled:{model}", granularity="unit"))
    app.session_state["layer"] = layer
    app.run()
    loaded = load_model(f"bundled:{model}")
    network = trace(loaded.module, loaded.inputs)
    group = network.group(layer)
    rows = component(app, "together")["rows"]
    assert {row["layer"] for row in rows} == {
        member.parameter.rpartition(".")[0] or "(model)" for member in group.members
    }
    slices = [part for row in rows for entry in row["entries"] for part in entry["slices"]]
    assert len(slices) == len(group.members)
    reasons = {
        step.sentence
        for member in group.members
        for step in coupling_path(network, group, member.parameter, member.axis)
    }
    shown = [entry["steps"] for row in rows for entry in row["entries"]]
    assert {step for steps in shown for step in steps} == reasons
    assert [] in shown


@pytest.mark.parametrize("granularity", GRANULARITIES)
@pytest.mark.parametrize("model", ["lenet_5", "vit_tiny", "gru_128"])
def test_every_granularity_can_be_looked_at(app, component, model, granularity):
    loaded = load_model(f"bundled:{model}")
    if not GRANULARITIES[granularity].sites(trace(loaded.module, loaded.inputs)):
        pytest.skip("the model has no such units")
    recipe = Recipe(model=f"bundled:{model}", granularity=granularity, target=Ratio(value=0.3))
    visit(app, "pages/plan.py", recipe)
    app.session_state["many_units"] = True
    app.run()
    assert not app.exception
    assert not app.error
    data = component(app, "units")
    assert data["pickable"] == (GRANULARITIES[granularity].pattern is None)
    assert data["selected"] in data["tiles"]["unit"]


def test_units_picked_by_hand_are_told_apart_in_the_histogram(app, component):
    picks = {"conv1": Picks(keep=(0, 1), prune=(2,))}
    recipe = Recipe(model="bundled:lenet_5", granularity="unit", picks=picks)
    visit(app, "pages/plan.py", recipe)
    data = component(app, "threshold")
    assert [len(data["picked"][wish]) for wish in ("keep", "prune")] == [2, 1]
    assert [sum(data["picked_counts"][wish]) for wish in ("keep", "prune")] == [2, 1]
    assert data["removed"] == 1


def test_all_heads_of_the_model_are_shown_with_those_that_go(app, component):
    recipe = Recipe(
        model="bundled:vit_tiny",
        granularity="unit",
        scope="local",
        target=Ratio(value=0.25),
        picks={"blocks.3.attention.qkv": Picks(keep=(0, 1, 2))},
    )
    visit(app, "pages/plan.py", recipe)
    app.session_state["layer"] = "blocks.2.attention.qkv"
    app.run()
    data = component(app, "heads")
    plan = planned(recipe)
    assert [row["site"] for row in data["rows"]] == [f"blocks.{i}.attention.qkv" for i in range(4)]
    for row in data["rows"]:
        assert row["keep"] == plan.keep[row["site"]].astype(int).tolist()
    assert data["rows"][3]["keep"] == [1, 1, 1, 0]
    assert data["rows"][3]["pick"] == [1, 1, 1, 0]
    assert any("4 of 16 pruned" in text.value for text in app.markdown)


def decoded(text, kind, shape):
    return np.frombuffer(base64.b64decode(text), kind).reshape(shape)


def test_a_window_of_a_large_layer_is_sent_exactly_and_small_enough(app, component):
    visit(app, "pages/plan.py", Recipe(model="bundled:lenet_5", target=Ratio(value=0.5)))
    app.session_state["layer"] = "fc1"
    app.session_state["heatmap_window"] = ("fc1.weight", 100, 300, 500, 900)
    app.run()
    data = component(app, "heatmap")
    assert data["window"] == [100, 300, 400, 800]  # moved inside, as large as asked for
    loaded = load_model("bundled:lenet_5")
    weight = np.abs(loaded.module.fc1.weight.detach().numpy())
    cells = decoded(data["cells"], np.float32, (data["rows"], data["columns"]))
    assert cells.shape == (200, 256)
    assert cells.max() == weight[100:300, 400:800].max()
    assert len(json.dumps(data)) < 500_000
    app.session_state["heatmap_window"] = ("fc1.weight", 0, 40, 10, 60)
    app.run()
    data = component(app, "heatmap")
    cells = decoded(data["cells"], np.float32, (40, 50))
    assert np.array_equal(cells, weight[:40, 10:60])
    gone = decoded(data["gone"], np.uint8, (40, 50)) == 255
    plan = planned(app.session_state["recipe"])
    assert np.array_equal(gone, ~plan.keep["fc1"].reshape(500, 800)[:40, 10:60])
    app.session_state["layer"] = "fc2"
    app.run()
    assert component(app, "heatmap")["window"] == [0, 10, 0, 500]


def test_a_kernel_is_shown_with_its_weights(app, component):
    visit(app, "pages/plan.py", Recipe(model="bundled:lenet_5", granularity="unit"))
    app.session_state["layer"] = "conv2"
    app.session_state["heatmap_kernel"] = ("conv2.weight", 7, 3)
    app.run()
    picture = component(app, "heatmap")["picture"]
    weight = load_model("bundled:lenet_5").module.conv2.weight.detach().numpy()
    assert picture["values"] == weight[7, 3].ravel().tolist()
    assert (picture["height"], picture["width"]) == (5, 5)
    app.session_state["heatmap_kernel"] = ("conv2.weight", 50, 3)
    app.run()
    assert component(app, "heatmap")["picture"] is None


@pytest.mark.parametrize("granularity", ["unit", "weight", "kernel", "row"])
def test_rows_and_columns_are_sorted_and_scales_chosen(app, component, granularity):
    recipe = Recipe(model="bundled:lenet_5", granularity=granularity, target=Ratio(value=0.4))
    visit(app, "pages/plan.py", recipe)
    app.session_state["layer"] = "conv2"
    app.run()
    before = component(app, "heatmap")
    assert before["sorted"] == [False, False]
    widget(app.selectbox, "Rows in order").set_value("sum").run()
    widget(app.toggle, "One scale for the whole model").set_value(True).run()
    data = component(app, "heatmap")
    sums = decoded(data["sums"][0], np.float32, (data["rows"],))
    assert (np.diff(sums) <= 0).all()
    assert sorted(data["ids"][0]) == list(range(50))
    assert data["high"] >= before["high"]
    widget(app.toggle, "Weights with their sign").set_value(True).run()
    data = component(app, "heatmap")
    assert not app.exception
    assert data["signed"]
    assert data["low"] == -data["high"] < 0


def test_recurrent_weights_are_drawn_gate_by_gate(app, component):
    visit(app, "pages/plan.py", Recipe(model="bundled:gru_128", granularity="unit"))
    data = component(app, "heatmap")
    assert data["gates"] == ["r", "z", "n"]
    assert data["n_out"] == 3 * 128
