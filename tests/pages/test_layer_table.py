"""The table of layers: its rows sum to the totals, its edits are edits of the recipe."""

import json

import numpy as np
import pytest

from pages.common import edits, inbox, layer_rows, layers
from pages.common.layer_rows import Role, Setting
from pruning_core import Recipe, load_model, preview, resolve, score, trace
from pruning_core.errors import InvalidRecipeError
from pruning_core.figures import ribbons
from pruning_core.granularities import GRANULARITIES
from pruning_core.planning.recipe import Budget, Count, Part, Picks, Ratio, Threshold
from tests import many_layers
from tests.pages.conftest import rows_of


@pytest.fixture(scope="module")
def loaded():
    known = {}

    def load(identity):
        if identity not in known:
            model = load_model(identity)
            known[identity] = model, trace(model.module, model.inputs)
        return known[identity]

    return load


@pytest.fixture(scope="module")
def table(loaded):
    """Return rows, plan and preview of a recipe."""

    def make(recipe):
        model, network = loaded(recipe.model)
        scores = score(model, network, recipe)
        plan = resolve(recipe, network, scores)
        counted = preview(network, plan)
        granularity = GRANULARITIES[recipe.granularity]
        found = layer_rows.rows(plan, counted, network, granularity, scores.by_site)
        return found, plan, counted

    return make


UNITS = Recipe(
    model="bundled:resnet_8", granularity="unit", normalise="mean", target=Ratio(value=0.4)
)
WEIGHTS = Recipe(model="bundled:lenet_300_100", target=Ratio(value=0.4))


@pytest.mark.parametrize("identity", ["resnet_8", "gru_128", "vit_tiny"])
@pytest.mark.parametrize("granularity", GRANULARITIES)
def test_the_rows_sum_to_the_totals_of_the_strip(table, loaded, identity, granularity):
    identity = f"bundled:{identity}"
    if not GRANULARITIES[granularity].sites(loaded(identity)[1]):
        pytest.skip("nothing to prune that way")
    recipe = Recipe(model=identity, granularity=granularity, target=Ratio(value=0.5))
    found, _, counted = table(recipe)
    for when in ("before", "after"):
        total = getattr(counted, when)
        for number, name in enumerate(layer_rows.QUANTITIES):
            parts = [getattr(row, when)[number] for row in found if getattr(row, when)]
            assert sum(parts) == getattr(total, name)


def test_a_mixed_recipe_sums_to_the_totals_as_well(table):
    recipe = UNITS.replace(also=(Part(granularity="2:4", target=Ratio(value=0.5)),))
    found, _, counted = table(recipe)
    assert counted.after.nonzero < counted.after.params
    for number, name in enumerate(layer_rows.QUANTITIES):
        assert sum(row.after[number] for row in found) == getattr(counted.after, name)


def test_coupled_layers_of_a_residual_stage_share_a_group(table):
    found, plan, _ = table(UNITS)
    shared = {}
    for row in found:
        if row.group:
            shared.setdefault(row.group, []).append((row.name, row.role))
    assert shared["conv1"] == [("conv1", Role.SITE), ("blocks.0.conv2", Role.COUPLED)]
    assert shared["blocks.2.conv2"] == [
        ("blocks.2.conv2", Role.SITE),
        ("blocks.2.shortcut.0", Role.COUPLED),
    ]
    assert shared["blocks.0.conv1"] == [("blocks.0.conv1", Role.SITE)]
    by_name = {row.name: row for row in found}
    assert by_name["blocks.0.conv2"].site == "conv1"
    assert by_name["blocks.0.conv2"].removed == plan.n_removed("conv1")
    assert by_name["fc"].role == Role.FIXED
    assert by_name["bn1"].role == Role.OTHER


@pytest.mark.parametrize("identity", ["resnet_8", "vit_tiny", "gru_128"])
def test_the_letters_are_those_of_the_ribbons(loaded, identity):
    network = loaded(f"bundled:{identity}")[1]
    recipe = Recipe(model=f"bundled:{identity}", granularity="unit")
    plan = resolve(recipe, network, score(loaded(recipe.model)[0], network, recipe))
    wanted = ribbons.letters(ribbons.ribbons_of(network, plan))
    shared = layer_rows.shared_groups(network)
    assert dict(zip(shared, "ABCDEFGHIJ", strict=False)) == wanted


def test_weights_of_coupled_layers_share_a_group_too(table):
    found, _, _ = table(UNITS.replace(granularity="weight"))
    group = {row.name: row.group for row in found if row.role == Role.SITE}
    assert group["conv1"] == group["blocks.0.conv2"] != group["blocks.0.conv1"]


@pytest.mark.parametrize(
    "target",
    [Ratio(value=0.9), Count(value=40), Threshold(value=1e9), Budget(kind="macs", value=0.5)],
    ids=lambda target: target.kind,
)
@pytest.mark.parametrize("scope", ["global", "local", "erk"])
def test_a_layer_that_is_not_pruned_loses_nothing_whatever_the_global_setting(table, target, scope):
    start = UNITS.with_layer("blocks.1.conv1", Ratio(value=0.3)).replace(
        picks={"blocks.1.conv1": Picks(keep=(1,), prune=(0, 5))}
    )
    recipe = edits.spared(start, ["blocks.1.conv1"])
    moved = edits.with_global(recipe.replace(scope=scope), target)
    again = Recipe.from_json(moved.to_json())
    assert again == moved
    found, plan, _ = table(again)
    row = next(row for row in found if row.name == "blocks.1.conv1")
    assert (row.setting, row.removed) == (Setting.SPARED, 0)
    assert plan.keep["blocks.1.conv1"].all()
    assert sum(plan.n_removed(site) for site in plan.keep) > 0
    bias_free = next(cost for cost in table(again)[2].layers if cost.name == "blocks.1.bn1")
    assert bias_free.before == bias_free.after


def test_nothing_at_all_may_be_pruned(table):
    names = [row.name for row in table(UNITS)[0] if row.role == Role.SITE]
    recipe = edits.spared(UNITS, names)
    for target in (Ratio(value=0.9), Count(value=40), Threshold(value=1e9)):
        _, plan, counted = table(edits.with_global(recipe, target))
        assert sum(plan.n_removed(site) for site in plan.keep) == 0
        assert counted.before == counted.after


def test_a_ratio_typed_in_a_layer_that_was_not_pruned_takes_it_in_again():
    recipe = edits.spared(UNITS, ["conv1"])
    changed = edits.with_ratio(recipe, ["conv1"], 0.25)
    assert changed.layers == {"conv1": Ratio(value=0.25)}
    assert changed.pins == ()


def test_a_ratio_typed_in_a_pinned_layer_leaves_it_pinned():
    recipe = UNITS.replace(pins=("conv1",), layers={"conv1": Count(value=2)})
    changed = edits.with_ratio(recipe, ["conv1"], 0.25)
    assert (changed.pins, changed.layers) == (("conv1",), {"conv1": Ratio(value=0.25)})


def test_several_at_once_are_as_one_after_the_other(table):
    _, plan, _ = table(UNITS)
    sites = ["conv1", "blocks.0.conv1", "blocks.2.conv2"]
    one = UNITS.with_layer("conv1", Ratio(value=0.5))
    many = edits.with_pins(one, sites, plan)
    alone = one
    for site in sites:
        alone = edits.with_pins(alone, [site], plan)
    assert many == alone
    assert edits.without_pins(many, sites).pins == ()
    assert edits.without_pins(many, sites).layers == many.layers
    assert edits.all_following(many, sites) == UNITS


@pytest.mark.parametrize("value", [-1, 100, 1e9, float("nan")])
def test_a_ratio_out_of_range_is_refused_with_a_sentence(value):
    with pytest.raises(InvalidRecipeError, match="from 0 % to below 100 %"):
        layers.edited(UNITS, {"action": "ratio", "sites": ["conv1"], "value": value}, None)


def test_the_actions_of_the_table(table):
    _, plan, _ = table(UNITS)

    def after(action, *, start=UNITS, **values):
        edit = {"action": action, "sites": ["conv1", "conv1"], **values}
        return layers.edited(start, edit, lambda recipe: plan)

    assert after("ratio", value=12.5).layers == {"conv1": Ratio(value=0.125)}
    assert after("pin").layers == {"conv1": Count(value=plan.n_removed("conv1"))}
    assert after("unpin", start=after("pin")).pins == ()
    assert after("spare").pins == ("conv1",)
    assert after("prune", start=after("spare")) == UNITS
    assert after("follow", start=after("ratio", value=3)) == UNITS
    with pytest.raises(InvalidRecipeError, match="no action 'burn'"):
        after("burn")


def test_edits_that_are_sent_again_are_carried_out_once():
    first, second = {"n": 1}, {"n": 2}
    assert inbox.unanswered({"client": "a", "wishes": [first]}, inbox.NOTHING_DONE) == [first]
    both = {"client": "a", "wishes": [first, second]}
    assert inbox.unanswered(both, {"client": "a", "n": 1}) == [second]
    assert inbox.unanswered(both, {"client": "a", "n": 2}) == []
    assert inbox.unanswered(both, {"client": "another window", "n": 7}) == [first, second]


def test_the_setting_says_who_decides():
    recipe = UNITS.replace(
        layers={"conv1": Ratio(value=0.5), "blocks.0.conv1": Count(value=3)},
        pins=("blocks.0.conv1", "blocks.1.conv1"),
    )
    words = {
        "conv1": Setting.OWN,
        "blocks.0.conv1": Setting.PINNED,
        "blocks.1.conv1": Setting.SPARED,
        "blocks.1.conv2": Setting.GLOBAL,
    }
    assert {site: layer_rows.setting(recipe, site) for site in words} == words


def test_where_no_single_score_decides_the_threshold_says_what_does(table, loaded):
    half = Recipe(model="bundled:vit_tiny", granularity="2:4", target=Ratio(value=0.5))
    assert {row.threshold_text for row in table(half)[0] if row.role == Role.SITE} == {
        "2 of 4 stay"
    }
    none = half.replace(target=Ratio(value=0.0))
    assert {row.threshold_text for row in table(none)[0] if row.role == Role.SITE} == {"dense"}
    depth = Recipe(model="bundled:vit_tiny", granularity="depth", target=Count(value=2))
    found, plan, _ = table(depth)
    (row,) = [row for row in found if row.role == Role.SITE]
    assert (row.total, row.removed, row.unit) == (8, 2, "branches")
    _, more, _ = table(depth.replace(target=Count(value=3)))
    (third,) = np.flatnonzero(plan.keep["branches"] & ~more.keep["branches"])
    branches = loaded("bundled:vit_tiny")[1].branches
    assert row.threshold_text == f"next: {branches[third].name}"


def test_a_limited_wish_carries_its_sentence(table):
    found, _, _ = table(UNITS.with_layer("conv1", Count(value=16)))
    row = next(row for row in found if row.name == "conv1")
    assert row.notes
    assert "at least 1 must stay" in row.notes[0]
    data = layer_rows.payload(found, {})
    assert data["sparse"]["notes"] == {found.index(row): list(row.notes)}


def test_two_weights_of_one_layer_are_counted_once(table):
    found, _, _ = table(Recipe(model="bundled:gru_128", target=Ratio(value=0.5)))
    first, second = (row for row in found if row.kind == "GRU")
    assert first.before[0] == 3 * 128 * (28 + 128) + 2 * 3 * 128
    assert second.before is None


def test_what_was_measured_is_sent_for_the_layers_it_was_measured_for(table):
    found, _, _ = table(WEIGHTS)
    curve = ([0.0, 0.5, 0.9], [0.98, 0.97, 0.6])
    data = json.loads(
        json.dumps(
            layer_rows.payload(
                found, {}, sensitivity={"fc2": curve}, time_shares={"fc1": 0.8, "fc9": 0.1}
            )
        )
    )
    rows = {row["name"]: row for row in rows_of(data)}
    assert rows["fc2"]["sensitivity"] == [list(part) for part in curve]
    assert rows["fc1"]["sensitivity"] is None
    assert (rows["fc1"]["time"], rows["fc2"]["time"]) == (0.8, None)


def test_the_time_of_a_layer_with_two_weights_is_shown_once(table):
    found, _, _ = table(Recipe(model="bundled:gru_128", target=Ratio(value=0.5)))
    times = layer_rows.payload(found, {}, time_shares={"gru": 0.9, "fc": 0.1})["sparse"]["time"]
    shown = {found[number].name: share for number, share in times.items()}
    assert shown == {"gru.weight_ih_l0": 0.9, "fc": 0.1}


class EndOfRun(BaseException):
    """What Streamlit raises at any use of its state when a newer message came."""


def test_a_wish_whose_run_was_ended_is_carried_out_when_it_comes_again(monkeypatch):
    wishes = [{"n": 1, "name": "a"}, {"n": 2, "name": "b"}]
    monkeypatch.setattr(
        inbox.st, "session_state", {"table": {"wishes": {"client": "x", "wishes": wishes}}}
    )
    carried_out = []

    def ended(wish):
        if wish["n"] == 2:
            raise EndOfRun
        carried_out.append(wish["name"])

    with pytest.raises(EndOfRun):
        inbox.carry_out("table", ended)
    assert inbox.done("table") == {"client": "x", "n": 1}
    inbox.carry_out("table", lambda wish: carried_out.append(wish["name"]))
    assert carried_out == ["a", "b"]
    assert inbox.done("table") == {"client": "x", "n": 2}


def test_a_wish_that_is_refused_is_answered_and_those_after_it_are_carried_out(monkeypatch):
    wishes = [{"n": 1}, {"n": 2}]
    monkeypatch.setattr(
        inbox.st, "session_state", {"table": {"wishes": {"client": "x", "wishes": wishes}}}
    )
    carried_out = []

    def act(wish):
        if wish["n"] == 1:
            raise InvalidRecipeError("no such layer")
        carried_out.append(wish["n"])

    with pytest.raises(InvalidRecipeError, match="no such layer"):
        inbox.carry_out("table", act)
    assert carried_out == [2]
    assert inbox.done("table")["n"] == 2


@pytest.mark.parametrize("granularity", ["unit", "weight"])
def test_five_hundred_layers_are_less_than_300_kilobytes(table, granularity):
    recipe = Recipe(model=many_layers.IDENTITY, granularity=granularity, target=Ratio(value=0.37))
    found, _, _ = table(recipe)
    assert len([row for row in found if row.role != Role.OTHER]) == many_layers.N_LAYERS
    names = [row.name for row in found]
    coupled = {row.group: names[:3] for row in found if row.group}
    data = layer_rows.payload(found, coupled, time_shares=dict.fromkeys(names, 0.001234))
    assert len(json.dumps(data, separators=(",", ":"))) < 150_000


def test_the_page_sends_the_table(app, component):
    app.run()
    app.session_state["recipe"] = edits.spared(WEIGHTS, ["fc2"])
    app.switch_page("pages/plan.py").run()
    assert not app.exception
    assert not app.error
    data = component(app, "layers")
    assert {row["name"]: row["setting"] for row in data["rows"]} == {
        "fc1": "global",
        "fc2": "spared",
        "fc3": "global",
    }
    assert (data["selected"], data["removes"]) == ("fc1", False)
    assert data["done"] == inbox.NOTHING_DONE
