"""Plans without a run: kept ones, snapshots, and what differs between two."""

import numpy as np
import pytest

from pruning_core import Recipe
from pruning_core.errors import PruningError
from pruning_core.planning.difference import PER_LAYER, SiteDifference, settings, sites
from pruning_core.planning.plan import Plan
from pruning_core.planning.recipe import Count, Ratio
from pruning_core.runs import plans
from pruning_core.runs.plans import Plans

RECIPE = Recipe(model="bundled:lenet_5", target=Ratio(value=0.25), layers={"fc1": Count(value=7)})


def test_a_kept_plan_is_found_again(tmp_path):
    assert Plans(tmp_path).find(Plans(tmp_path).keep(RECIPE)) == RECIPE


@pytest.mark.parametrize("identifier", ["", "../store", "0" * 32, "g" * 32])
def test_what_is_not_kept_gets_a_sentence(tmp_path, identifier):
    with pytest.raises(PruningError, match="not kept here"):
        Plans(tmp_path).find(identifier)


def test_only_the_newest_plans_are_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(plans, "MAX_KEPT", 3)
    for seed in range(6):
        Plans(tmp_path).keep(RECIPE.replace(seed=seed))
    assert len(list((tmp_path / "plans").glob("*.json"))) == 3


def test_snapshots_belong_to_a_model_and_are_replaced_by_name(tmp_path):
    shelf = Plans(tmp_path)
    shelf.save("half", RECIPE)
    shelf.save(" half ", RECIPE.replace(seed=1))
    shelf.save("other", Recipe(model="bundled:resnet_8"))
    assert [(s.name, s.recipe.seed) for s in shelf.snapshots(RECIPE.model)] == [("half", 1)]
    shelf.delete(RECIPE.model, "half")
    shelf.delete(RECIPE.model, "half")
    assert shelf.snapshots(RECIPE.model) == ()
    assert len(shelf.snapshots("bundled:resnet_8")) == 1


@pytest.mark.parametrize("name", ["", "   ", "x" * 81])
def test_a_snapshot_needs_a_name(tmp_path, name):
    with pytest.raises(PruningError, match="1 to 80 characters"):
        Plans(tmp_path).save(name, RECIPE)


def test_a_damaged_snapshot_is_left_out_and_the_others_stay(tmp_path):
    shelf = Plans(tmp_path)
    shelf.save("a", RECIPE)
    shelf.save("b", RECIPE)
    damaged = next((tmp_path / "plans" / "snapshots").rglob("*.json"))
    damaged.write_bytes(damaged.read_bytes()[:40])
    assert len(shelf.snapshots(RECIPE.model)) == 1


def test_settings_that_differ_are_named_with_both_values():
    other = RECIPE.replace(seed=3, layers={}, target=Count(value=5))
    found = {one.setting: one.values for one in settings([RECIPE, other], without=PER_LAYER)}
    assert found == {
        "seed": ("0", "3"),
        "target.kind": ("ratio", "count"),
        "target.value": ("0.25", "5"),
    }


def test_sites_that_differ_are_counted_by_hand():
    first = {"a": np.array([1, 1, 0, 0], bool), "b": np.array([1, 0], bool)}
    second = {"a": np.array([1, 0, 1, 0], bool), "b": np.array([1, 0], bool), "c": np.ones(2, bool)}
    left, right = (Plan(RECIPE, keep, {}, {}) for keep in (first, second))
    assert sites(left, right) == (SiteDifference("a", 4, 2, 2, 1, 1),)
    second["c"][0] = False
    assert sites(left, right)[1] == SiteDifference("c", 2, 2, 1, 1, 0)
