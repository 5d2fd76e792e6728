"""Mixed plans: units, branches and masks at once cost exactly what was said; picks by hand."""

from functools import cache
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save
from torch import nn

from pruning_core import export
from pruning_core.errors import InvalidRecipeError
from pruning_core.exporting.document import run_document
from pruning_core.exporting.export import result_of
from pruning_core.exporting.reopen import open_run
from pruning_core.exporting.report.page import summary
from pruning_core.granularities import GRANULARITIES
from pruning_core.loading.dataset import load_dataset
from pruning_core.loading.model import LoadedModel, load_model
from pruning_core.planning.mixed import sites_of
from pruning_core.planning.plan import Plan
from pruning_core.planning.recipe import (
    Budget,
    Count,
    Part,
    Picks,
    Ratio,
    Recipe,
    Schedule,
    Threshold,
    Tuning,
)
from pruning_core.planning.resolve import resolve
from pruning_core.preview import preview, sliders, tracks
from pruning_core.runs.pipeline import execute
from pruning_core.runs.rounds import check_rounds
from pruning_core.scoring.score import Scores, score
from pruning_core.surgery.prune import Pruned, prune
from pruning_core.surgery.restore import restore
from pruning_core.tracing.network import Network
from pruning_core.tracing.trace import trace
from pruning_core.tuning.finetune import EpochResult, finetune
from tests.core.oracles import BUNDLED, counted_macs, counted_nonzero, counted_params


@cache
def traced(name: str) -> tuple[LoadedModel, Network]:
    model = load_model(f"bundled:{name}")
    return model, trace(model.module, model.inputs)


@cache
def able(name: str) -> tuple[str, ...]:
    _, network = traced(name)
    return tuple(key for key, entry in GRANULARITIES.items() if entry.sites(network))


def rated(recipe: Recipe) -> tuple[Plan, Scores]:
    model, network = traced(recipe.model.removeprefix("bundled:"))
    scores = score(model, network, recipe)
    return resolve(recipe, network, scores), scores


def check_exact(network: Network, plan: Plan, pruned: Pruned) -> None:
    shown = preview(network, plan)
    assert counted_params(pruned.module) == shown.after.params
    assert counted_nonzero(pruned.module) == shown.after.nonzero
    assert counted_macs(pruned.module, *network.inputs.args) == shown.after.macs
    state = {key: value.contiguous() for key, value in pruned.module.state_dict().items()}
    assert len(save(state)) == shown.after.n_bytes
    for field in ("params", "nonzero", "macs"):
        layers = sum(getattr(layer.after, field) for layer in shown.layers)
        assert layers == getattr(shown.after, field)


def random_part(name: str, granularity: str, draw: st.DataObject) -> dict[str, object]:
    sites = [site.name for site in GRANULARITIES[granularity].sites(traced(name)[1])]
    ratio = st.builds(lambda value: Ratio(value=value), st.floats(0, 0.99))
    count = st.builds(lambda value: Count(value=value), st.integers(0, 400))
    wish = st.one_of(ratio, count)
    return {
        "granularity": granularity,
        "criterion": draw.draw(st.sampled_from(["l1", "random"])),
        "normalise": draw.draw(st.sampled_from(["none", "mean"])),
        "scope": draw.draw(st.sampled_from(["local", "global", "erk"])),
        "target": draw.draw(wish),
        "layers": draw.draw(st.dictionaries(st.sampled_from(sites), wish, max_size=2)),
        "pins": tuple(draw.draw(st.sets(st.sampled_from(sites), max_size=1))),
        "min_kept": draw.draw(st.integers(1, 3)),
        "round_to": draw.draw(st.sampled_from([1, 4])),
    }


@pytest.mark.parametrize("name", BUNDLED)
def test_the_preview_of_a_random_mix_is_what_pruning_yields(name: str) -> None:
    model, network = traced(name)

    @settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.data())
    def check(draw: st.DataObject) -> None:
        keys = draw.draw(st.lists(st.sampled_from(able(name)), min_size=2, max_size=4, unique=True))
        first, *others = (random_part(name, key, draw) for key in keys)
        recipe = Recipe(
            model=model.identity,
            seed=draw.draw(st.integers(0, 5)),
            also=tuple(Part(**part) for part in others),
            **first,
        )
        assert Recipe.from_json(recipe.to_json()) == recipe
        plan, _ = rated(recipe)
        assert list(plan.keep) == [site.name for site in sites_of(recipe, network)]
        pruned = prune(model, network, plan)
        check_exact(network, plan, pruned)
        parameters = dict(pruned.module.named_parameters())
        for weight, mask in pruned.masks.items():
            assert mask.shape == parameters[weight].shape
            assert mask.any()
            assert not parameters[weight][~mask].any()

    check()


def mixed_recipe(**changes: object) -> Recipe:
    """Units of the first blocks, 2:4 in the attention, weights of the head, two branches."""
    return Recipe(
        model="bundled:vit_tiny",
        granularity="unit",
        normalise="mean",
        layers={"blocks.0.fc1": Ratio(value=0.5), "blocks.1.fc1": Count(value=11)},
        also=(
            Part(granularity="2:4", layers={"blocks.1.attention.qkv": Ratio(value=0.5)}),
            Part(granularity="weight", criterion="taylor", layers={"head": Count(value=100)}),
            Part(granularity="depth", target=Count(value=2)),
        ),
        **changes,  # type: ignore[arg-type]
    )


def test_each_part_does_what_it_would_do_alone() -> None:
    recipe = mixed_recipe()
    plan, scores = rated(recipe)
    _, network = traced("vit_tiny")
    for prefix, part in recipe.parts.items():
        alone = resolve(part, network, scores.part(prefix))
        for site, keep in alone.keep.items():
            assert (plan.keep[prefix + site] == keep).all()
    assert plan.n_removed("blocks.0.fc1") == 64
    assert plan.n_removed("weight/head") == 100
    assert plan.n_removed("depth/branches") == 2
    assert plan.ratio("2:4/blocks.1.attention.qkv") == 0.5


def test_every_position_of_a_track_of_a_mixed_plan_is_what_the_preview_says() -> None:
    recipe = mixed_recipe()
    plan, scores = rated(recipe)
    _, network = traced("vit_tiny")
    moves = {
        "blocks.0.fc1": recipe.with_layer,
        "weight/head": lambda _, own: recipe.replace(
            also=(
                recipe.also[0],
                recipe.also[1].model_copy(update={"layers": {"head": own}}),
                recipe.also[2],
            )
        ),
        "depth/branches": lambda _, own: recipe.replace(
            also=(*recipe.also[:2], recipe.also[2].model_copy(update={"target": own}))
        ),
    }
    for site, moved in moves.items():
        track = tracks(network, plan, scores, site)
        assert plan.n_removed(site) in track.n_removed
        assert all(a < b for a, b in pairwise(track.n_removed.tolist()))
        for position in np.linspace(0, len(track.n_removed) - 1, 6).astype(int):
            own = Count(value=int(track.n_removed[position]))
            after = preview(network, resolve(moved(site, own), network, scores)).after
            found = (track.params, track.nonzero, track.macs, track.n_bytes)
            assert [int(values[position]) for values in found] == [
                after.params, after.nonzero, after.macs, after.n_bytes,
            ]  # fmt: skip
    for slider in sliders(network, plan, scores)[:3]:
        track = tracks(network, plan, scores, slider.site)
        assert (slider.macs[track.n_removed] == track.macs).all()


@pytest.mark.parametrize("scope", ["global", "local", "erk"])
@pytest.mark.parametrize("granularity", ["unit", "depth"])
def test_a_budget_counts_what_the_other_parts_remove(granularity: str, scope: str) -> None:
    other = Part(granularity="depth", target=Count(value=3))
    if granularity == "depth":
        other = Part(granularity="unit", normalise="mean", target=Ratio(value=0.45))
    recipe = Recipe(
        model="bundled:vit_tiny",
        granularity=granularity,
        normalise="mean",
        scope=scope,  # type: ignore[arg-type]
        target=Budget(kind="macs", value=0.5),
        also=(other,),
    )
    plan, scores = rated(recipe)
    _, network = traced("vit_tiny")
    shown = preview(network, plan)
    assert shown.after.macs <= 0.5 * shown.before.macs
    alone = recipe.replace(also=())
    without = resolve(alone, network, score(*traced("vit_tiny"), alone))
    assert sum(map(plan.n_removed, without.keep)) < sum(map(without.n_removed, without.keep))
    total = sum(plan.n_removed(name) for name in without.keep)
    if scope == "global":
        fewer = resolve(recipe.replace(target=Count(value=total - 1)), network, scores)
        assert preview(network, fewer).after.macs > 0.5 * shown.before.macs


def test_masks_and_removal_never_leave_a_weight_without_an_element() -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(8, 4), nn.ReLU(), nn.Linear(4, 4)).eval()
    network = trace(module, torch.zeros(1, 8))
    model = LoadedModel("test:two", module, network.inputs, None, None, "")
    for seed in range(6):
        recipe = Recipe(
            model=model.identity,
            granularity="unit",
            criterion="random",
            seed=seed,
            target=Ratio(value=0.75),
            also=(
                Part(granularity="weight", criterion="random", target=Ratio(value=0.99)),
                Part(granularity="row", criterion="random", target=Ratio(value=0.75)),
                Part(granularity="2:4", criterion="random", target=Ratio(value=0.5)),
            ),
        )
        plan = resolve(recipe, network, score(model, network, recipe))
        pruned = prune(model, network, plan)
        assert all(mask.any() for mask in pruned.masks.values())
        assert counted_nonzero(pruned.module) == preview(network, plan).after.nonzero
        told = [name for name, texts in plan.notes.items() if "leave nothing else" in texts[-1]]
        assert told


def test_a_granularity_cannot_occur_twice() -> None:
    with pytest.raises(InvalidRecipeError, match="the granularity 'weight' occurs twice"):
        Recipe(model="m").replace(also=(Part(granularity="weight"),))


def test_a_mixed_recipe_works_in_one_round_only() -> None:
    with pytest.raises(InvalidRecipeError, match=r"also: 2:4, weight, depth\) works in one round"):
        check_rounds(mixed_recipe(schedule=Schedule(rounds=2)))


def test_fine_tuning_keeps_the_masks_of_the_smaller_shapes() -> None:
    plan, _ = rated(mixed_recipe())
    model, network = traced("vit_tiny")
    pruned = prune(model, network, plan)
    data = load_dataset("fashion_mnist", source="bundled")
    tuning = Tuning(epochs=1, train_samples=256)
    epochs = list(finetune(pruned.module, data, tuning, seed=0, masks=pruned.masks))
    assert any(isinstance(epoch, EpochResult) for epoch in epochs)
    assert counted_nonzero(pruned.module) <= preview(network, plan).after.nonzero
    parameters = dict(pruned.module.named_parameters())
    for name, mask in pruned.masks.items():
        assert not parameters[name][~mask].any()
    whole = restore(model.module, pruned)
    assert whole.state_dict().keys() == model.module.state_dict().keys()


def test_a_mixed_run_is_carried_out_from_end_to_end() -> None:
    recipe = mixed_recipe(tuning=Tuning(epochs=0))
    *_, finished = execute(recipe)
    result = finished.result
    assert result.counted == result.preview.after
    assert result.surgery.form == "module"
    assert result.data is not None
    assert result.data.n_calibration == 512  # Taylor reads data, in a part


def test_a_mixed_run_can_be_reopened(tmp_path: Path) -> None:
    recipe = mixed_recipe()
    model, network = traced("vit_tiny")
    plan, _ = rated(recipe)
    result = result_of(prune(model, network, plan), model, network, plan)
    for key in ("numbers", "recipe", "safetensors"):
        export(result, key, tmp_path)
    again = open_run(tmp_path)
    assert run_document(again) == run_document(result)
    assert again.surgery.masks.keys() == result.surgery.masks.keys()
    assert "units and pattern 2:4 and weights" in summary(run_document(result), recipe)


def picked(**changes: object) -> Plan:
    return rated(Recipe(model="bundled:lenet_5", granularity="unit", **changes))[0]  # type: ignore[arg-type]


def test_units_picked_by_hand_stay_or_go_and_count_towards_the_target() -> None:
    before = picked(layers={"conv1": Count(value=5)})
    lowest = np.flatnonzero(~before.keep["conv1"]).tolist()
    highest = [unit for unit in range(20) if unit not in lowest][:2]
    picks = {"conv1": Picks(keep=tuple(lowest[:2]), prune=tuple(highest))}
    plan = picked(layers={"conv1": Count(value=5)}, picks=picks)
    assert plan.n_removed("conv1") == 5
    assert plan.keep["conv1"][lowest[:2]].all()
    assert not plan.keep["conv1"][highest].any()
    assert plan.notes.get("conv1") is None


def test_picks_win_over_a_target_that_wants_fewer_or_more_and_the_note_says_so() -> None:
    picks = {"conv1": Picks(keep=(0, 1, 2), prune=(5, 6))}
    few = picked(layers={"conv1": Count(value=1)}, picks=picks)
    assert np.flatnonzero(~few.keep["conv1"]).tolist() == [5, 6]
    assert few.notes["conv1"] == ("1 of 20 were asked for, 2 go: 2 were picked by hand to go.",)
    many = picked(layers={"conv1": Count(value=19)}, picks=picks)
    assert np.flatnonzero(many.keep["conv1"]).tolist() == [0, 1, 2]
    assert many.notes["conv1"] == (
        "19 of 20 were asked for, 17 go: 3 were picked by hand to stay.",
    )


@pytest.mark.parametrize("scope", ["global", "erk"])
def test_picks_are_part_of_a_global_count(scope: str) -> None:
    picks = {"conv1": Picks(prune=(3, 4)), "fc1": Picks(keep=tuple(range(400)))}
    for count in (1, 2, 3, 100, 168):
        plan = picked(scope=scope, target=Count(value=count), picks=picks)
        assert sum(map(plan.n_removed, plan.keep)) == max(2, count)
        assert not plan.keep["conv1"][[3, 4]].any()
        assert plan.keep["fc1"][:400].all()
    everything = picked(scope=scope, target=Ratio(value=0.99), picks=picks)
    assert [everything.n_removed(site) for site in everything.keep] == [19, 49, 100]


def test_a_layer_in_which_everything_is_picked_to_go_keeps_its_highest_unit() -> None:
    picks = {"conv1": Picks(prune=tuple(range(20)))}
    plan = picked(picks=picks)
    scores = rated(Recipe(model="bundled:lenet_5", granularity="unit"))[1]
    assert np.flatnonzero(plan.keep["conv1"]) == [np.argmax(scores.by_site["conv1"])]


def test_a_threshold_leaves_picked_units_alone() -> None:
    picks = {"conv1": Picks(keep=(0,), prune=(1,))}
    plan = picked(layers={"conv1": Threshold(value=-1.0)}, picks=picks)
    assert np.flatnonzero(~plan.keep["conv1"]).tolist() == [1]
    plan = picked(layers={"conv1": Threshold(value=1e9)}, picks=picks)
    assert np.flatnonzero(plan.keep["conv1"]).tolist() == [0]


def test_a_budget_is_met_with_picks() -> None:
    picks = {"conv2": Picks(keep=tuple(range(30)), prune=(40, 41))}
    target = Budget(kind="params", value=0.4)
    plan = picked(normalise="mean", target=target, picks=picks)
    shown = preview(traced("lenet_5")[1], plan)
    assert shown.after.params <= 0.4 * shown.before.params
    assert plan.keep["conv2"][:30].all()
    assert not plan.keep["conv2"][[40, 41]].any()


def test_the_track_of_a_layer_with_picks_is_what_the_preview_says() -> None:
    recipe = Recipe(
        model="bundled:lenet_5",
        granularity="unit",
        picks={"conv1": Picks(keep=(0, 1), prune=(2,))},
        layers={"conv1": Count(value=4)},
    )
    plan, scores = rated(recipe)
    _, network = traced("lenet_5")
    track = tracks(network, plan, scores, "conv1")
    assert (np.diff(track.threshold) >= 0).all()
    for place, count in enumerate(track.n_removed.tolist()):
        if 1 <= count <= 18:
            moved = resolve(recipe.with_layer("conv1", Count(value=count)), network, scores)
            assert moved.n_removed("conv1") == count
            assert preview(network, moved).after.macs == track.macs[place]
            by_threshold = Threshold(value=float(track.threshold[place]))
            again = resolve(recipe.with_layer("conv1", by_threshold), network, scores)
            assert again.fingerprint == moved.fingerprint


@pytest.mark.parametrize(
    ("picks", "granularity", "words"),
    [
        ({"conv1": Picks(keep=(20,))}, "unit", "no channel 20: they are numbered 0 to 19"),
        ({"conv9": Picks(keep=(0,))}, "unit", "Did you mean 'conv"),
        ({"conv2": Picks(keep=(0,))}, "2:4", "cannot be picked by hand where a layer follows"),
    ],
)
def test_picks_that_cannot_be_are_refused(
    picks: dict[str, Picks], granularity: str, words: str
) -> None:
    with pytest.raises(InvalidRecipeError, match=words):
        rated(Recipe(model="bundled:lenet_5", granularity=granularity, picks=picks))


def test_a_unit_is_not_picked_twice() -> None:
    with pytest.raises(InvalidRecipeError, match="a unit is named twice"):
        Recipe.from_json(
            '{"version": 1, "model": "m", "picks": {"a": {"keep": [1], "prune": [1]}}}'
        )
