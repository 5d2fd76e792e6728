"""The pure parts behind the pages: edits of the recipe, names, the code of the export page."""

import json

import pytest

from pages.common import edits
from pages.common.format import markdown, plural
from pruning_core import Recipe, load_model, preview, resolve, score, trace
from pruning_core.planning.recipe import Budget, Count, Ratio, Threshold


@pytest.fixture(scope="module")
def lenet():
    model = load_model("bundled:lenet_5")
    return model, trace(model.module, model.inputs)


@pytest.fixture(scope="module")
def resolved(lenet):
    model, network = lenet

    def make(recipe):
        plan = resolve(recipe, network, score(model, network, recipe))
        return plan, preview(network, plan)

    return make


UNITS = Recipe(
    model="bundled:lenet_5", granularity="unit", normalise="mean", target=Ratio(value=0.4)
)
WEIGHTS = Recipe(model="bundled:lenet_5", target=Ratio(value=0.4))


def removed(plan):
    return {site: plan.n_removed(site) for site in plan.keep}


def test_a_pinned_layer_stays_exactly_as_it_is(resolved):
    plan, _ = resolved(UNITS)
    pinned = edits.with_pins(UNITS, ["conv2"], plan)
    moved = edits.with_global(pinned, Ratio(value=0.9))
    after, _ = resolved(moved)
    assert after.n_removed("conv2") == plan.n_removed("conv2") > 0
    assert after.n_removed("fc1") > plan.n_removed("fc1")


def test_unpinning_keeps_the_setting_until_the_global_one_moves(resolved):
    plan, _ = resolved(UNITS)
    loose = edits.without_pins(edits.with_pins(UNITS, ["conv2"], plan), ["conv2"])
    assert resolved(loose)[0].n_removed("conv2") == plan.n_removed("conv2")
    assert edits.with_global(loose, Ratio(value=0.4)) == UNITS


def test_following_forgets_pin_and_setting(resolved):
    plan, _ = resolved(UNITS)
    assert edits.all_following(edits.with_pins(UNITS, ["conv2"], plan), ["conv2"]) == UNITS


@pytest.mark.parametrize("recipe", [UNITS, WEIGHTS], ids=["units", "weights"])
@pytest.mark.parametrize("kind", ["count", "threshold"])
def test_saying_the_global_setting_otherwise_removes_the_same(resolved, recipe, kind):
    plan, counted = resolved(recipe)
    again, _ = resolved(edits.with_kind(recipe, kind, plan, counted))
    assert removed(again) == removed(plan)


@pytest.mark.parametrize(("kind", "name"), [("params", "params"), ("macs", "macs")])
def test_a_budget_starts_at_what_is_left(resolved, kind, name):
    plan, counted = resolved(UNITS)
    changed = edits.with_kind(UNITS, kind, plan, counted)
    assert isinstance(changed.target, Budget)
    _, again = resolved(changed)
    limit = changed.target.value * getattr(counted.before, name)
    assert getattr(again.after, name) <= limit


def test_a_dragged_position_is_a_threshold_unless_scores_are_tied():
    assert edits.dragged(UNITS, "conv1", 3, 0.5, 3).layers == {"conv1": Threshold(value=0.5)}
    assert edits.dragged(UNITS, "conv1", 3, 0.5, 2).layers == {"conv1": Count(value=3)}


def test_another_criterion_keeps_the_counts_of_thresholds(resolved):
    recipe = UNITS.with_layer("conv2", Threshold(value=1.0))
    plan, _ = resolved(recipe)
    changed = edits.with_scores(recipe, plan, criterion="l2")
    assert changed.layers == {"conv2": Count(value=plan.n_removed("conv2"))}
    assert resolved(changed)[0].n_removed("conv2") == plan.n_removed("conv2")


def test_another_granularity_keeps_the_ratio_and_drops_layers():
    recipe = UNITS.replace(layers={"conv1": Count(value=1)}, pins=("conv1",))
    changed = edits.with_granularity(recipe, "weight")
    assert (changed.target, changed.layers, changed.pins) == (Ratio(value=0.4), {}, ())


def test_tuning_and_schedule_are_validated():
    assert edits.with_tuning(UNITS, epochs=7).tuning.epochs == 7
    assert edits.with_schedule(UNITS, rounds=4).schedule.rounds == 4
    from pruning_core.errors import InvalidRecipeError

    with pytest.raises(InvalidRecipeError, match="epochs"):
        edits.with_tuning(UNITS, epochs=-1)


EVIL = ["__init__", "a*b*c", "![x](http://evil.example/x.png)", ":red[x]", "<img src=x>", "`x`"]


@pytest.mark.parametrize("name", EVIL)
def test_names_are_shown_letter_for_letter(name):
    shown = markdown(name)
    assert shown.replace("\\", "") == name
    assert all(
        shown[place - 1] == "\\" for place, letter in enumerate(shown) if letter in "*_[]()<>`:!"
    )


def test_long_names_are_cut_and_line_breaks_are_spaces():
    assert len(markdown("x" * 5000)) == 300
    assert markdown("a\nb") == "a b"
    assert [plural("head", n) for n in (1, 2)] == ["head", "heads"]


def test_the_python_of_the_export_page_makes_the_same_masks(tmp_path, monkeypatch, resolved):
    from pages.common.files import PYTHON

    recipe = edits.with_tuning(WEIGHTS.replace(model="bundled:mlp_digits"), epochs=1)
    (tmp_path / "recipe.json").write_text(recipe.to_json())
    monkeypatch.chdir(tmp_path)
    exec(compile(PYTHON, "export page", "exec"), {})
    report = json.loads((tmp_path / "my-run" / "report.json").read_text())
    model = load_model(recipe.model)
    network = trace(model.module, model.inputs)
    plan = resolve(recipe, network, score(model, network, recipe))
    assert report["mask_fingerprint"] == plan.fingerprint
    assert report["recipe_fingerprint"] == recipe.fingerprint


def test_pinning_keeps_a_setting_of_its_own(resolved):
    own = UNITS.with_layer("conv2", Ratio(value=0.3))
    assert edits.with_pins(own, ["conv2"], resolved(own)[0]) == own.replace(pins=("conv2",))


def test_a_budget_leaves_room_for_what_is_there(resolved):
    plan, counted = resolved(UNITS)
    before, after = counted.before.macs, counted.after.macs
    value = edits.with_kind(UNITS, "macs", plan, counted).target.value
    assert after <= value * before < after + before / 10_000


def test_units_start_with_comparable_scores():
    weights = Recipe(model="m", target=Ratio(value=0.4))
    units = edits.with_granularity(weights, "unit")
    assert (units.granularity, units.normalise) == ("unit", "mean")
    assert edits.with_granularity(units, "weight") == weights


def test_a_local_count_is_that_of_one_layer(resolved):
    local = UNITS.replace(scope="local")
    plan, counted = resolved(local)
    fewest = min(plan.n_removed(site) for site in plan.keep)
    assert 0 < fewest < sum(plan.n_removed(site) for site in plan.keep)
    assert edits.with_kind(local, "count", plan, counted).target == Count(value=fewest)


def test_a_global_threshold_becomes_a_share_under_another_criterion(resolved):
    first, _ = resolved(UNITS)
    middle = sorted(first.thresholds.values())[-1]
    wanted = UNITS.replace(target=Threshold(value=middle))
    plan, _ = resolved(wanted)
    n_gone = sum(plan.n_removed(site) for site in plan.keep)
    share = round(n_gone / sum(keep.size for keep in plan.keep.values()), 4)
    assert 0 < share < 1
    assert edits.with_scores(wanted, plan, criterion="l2").target == Ratio(value=share)


def test_a_pinned_layer_does_not_count_in_the_global_share(resolved):
    wanted = UNITS.replace(scope="local", target=Count(value=10), pins=("fc1",))
    plan, counted = resolved(wanted)
    n_free = sum(keep.size for site, keep in plan.keep.items() if site != "fc1")
    n_gone = sum(plan.n_removed(site) for site in plan.keep)
    share = Ratio(value=round(n_gone / n_free, 4))
    assert edits.with_kind(wanted, "ratio", plan, counted).target == share
