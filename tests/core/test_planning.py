"""Plans: exact counts, limits that say why, budgets equal to brute force."""

from functools import cache
from itertools import pairwise
from math import prod

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

from pruning_core.errors import InvalidRecipeError
from pruning_core.granularities import GRANULARITIES
from pruning_core.inputs import Inputs
from pruning_core.loading.model import LoadedModel, load_model
from pruning_core.planning.erk import spread
from pruning_core.planning.recipe import Budget, Count, Ratio, Recipe, Threshold
from pruning_core.planning.resolve import Plan, resolve
from pruning_core.preview import preview, tracks
from pruning_core.rounding import share
from pruning_core.scoring.score import Scores, score
from pruning_core.surgery.prune import prune
from pruning_core.tracing.network import Network
from pruning_core.tracing.trace import trace
from tests.core.oracles import BUNDLED, counted_macs, counted_nonzero, counted_params


@cache
def traced(name: str) -> tuple[LoadedModel, Network]:
    model = load_model(f"bundled:{name}")
    return model, trace(model.module, model.inputs)


@cache
def scored(name: str, granularity: str, normalise: str = "none") -> Scores:
    model, network = traced(name)
    recipe = Recipe(model=model.identity, granularity=granularity, normalise=normalise)  # type: ignore[arg-type]
    return score(model, network, recipe)


def planned(name: str, granularity: str = "unit", **changes: object) -> Plan:
    model, network = traced(name)
    recipe = Recipe(model=model.identity, granularity=granularity, **changes)  # type: ignore[arg-type]
    return resolve(recipe, network, scored(name, granularity, recipe.normalise))


def removed(plan: Plan) -> dict[str, int]:
    return {site: plan.n_removed(site) for site in plan.keep}


def test_a_recipe_says_how_it_rates_when_that_is_unusual() -> None:
    recipe = Recipe(model="m", criterion="l2")
    assert recipe.rated_by == "l2"
    assert recipe.replace(reverse=True).rated_by == "l2 (reversed)"
    assert recipe.replace(reduction="max", reverse=True).rated_by == "l2 (max, reversed)"


def test_asked_for_k_pruned_k_globally() -> None:
    for k in (1, 100, 253_270, 266_000):
        plan = planned("lenet_300_100", "weight", target=Count(value=k))
        assert sum(removed(plan).values()) == k


def test_a_global_ratio_removes_the_lowest_scores_of_all_layers() -> None:
    plan = planned("lenet_300_100", "weight", target=Ratio(value=0.95))
    scores = scored("lenet_300_100", "weight").by_site
    kept = np.concatenate([scores[site][keep] for site, keep in plan.keep.items()])
    gone = np.concatenate([scores[site][~keep] for site, keep in plan.keep.items()])
    assert len(gone) == round(0.95 * (len(kept) + len(gone)))
    assert gone.max() <= kept.min()


def test_a_local_ratio_removes_the_same_share_of_each_layer() -> None:
    plan = planned("lenet_5", scope="local", target=Ratio(value=0.5))
    assert removed(plan) == {"conv1": 10, "conv2": 25, "fc1": 250}


def test_threshold_count_and_ratio_are_three_views_of_one_value() -> None:
    by_count = planned("lenet_5", layers={"conv2": Count(value=20)})
    by_ratio = planned("lenet_5", layers={"conv2": Ratio(value=0.4)})
    threshold = by_count.thresholds["conv2"]
    by_threshold = planned("lenet_5", layers={"conv2": Threshold(value=threshold)})
    assert by_count.fingerprint == by_ratio.fingerprint == by_threshold.fingerprint


def test_a_pinned_layer_stays_as_it_is_when_the_global_setting_moves() -> None:
    own = {"conv1": Count(value=3)}
    for value in (0.1, 0.5, 0.9):
        plan = planned("lenet_5", target=Ratio(value=value), pins=("conv1", "conv2"), layers=own)
        assert plan.n_removed("conv1") == 3
        assert plan.n_removed("conv2") == 0
        assert plan.n_removed("fc1") == min(round(value * 500), 499)


def test_a_layer_is_never_emptied_and_the_note_says_so() -> None:
    plan = planned("lenet_5", layers={"conv1": Threshold(value=1e9)})
    assert plan.n_removed("conv1") == 19
    assert plan.notes["conv1"] == ("20 of 20 were asked for, 19 go: at least 1 must stay.",)


def test_minimum_and_rounding_limit_a_wish_and_say_so() -> None:
    plan = planned("lenet_5", scope="local", target=Ratio(value=0.5), min_kept=12, round_to=8)
    assert removed(plan) == {"conv1": 4, "conv2": 18, "fc1": 244}
    assert plan.notes["conv1"] == (
        "10 of 20 were asked for, 4 go: at least 12 must stay and the number that stays is "
        "rounded up to a multiple of 8.",
    )


@pytest.mark.parametrize("kind", ["macs", "params", "bytes"])
@pytest.mark.parametrize("scope", ["global", "local", "erk"])
@pytest.mark.parametrize("value", [0.25, 0.5, 0.9])
def test_a_budget_is_met_by_the_fewest_removals_there_are(
    kind: str, scope: str, value: float
) -> None:
    _, network = traced("cnn_digits")
    plan = planned(
        "cnn_digits",
        scope=scope,
        normalise="mean",
        target=Budget(kind=kind, value=value),  # type: ignore[arg-type]
    )
    field = {"macs": "macs", "params": "params", "bytes": "n_bytes"}[kind]
    result = preview(network, plan)
    dense = getattr(result.before, field)
    assert getattr(result.after, field) <= value * dense
    total = sum(removed(plan).values())
    candidates = [
        planned("cnn_digits", scope=scope, normalise="mean", target=target)
        for target in (
            [Count(value=k) for k in range(110)]
            if scope != "local"
            else [Ratio(value=k / 2000) for k in range(2000)]
        )
    ]
    fitting = [
        sum(removed(other).values())
        for other in candidates
        if getattr(preview(network, other).after, field) <= value * dense
    ]
    assert total == min(fitting)


def test_a_budget_out_of_reach_says_how_far_one_can_go() -> None:
    with pytest.raises(InvalidRecipeError, match=r"cannot be reached: 9\d\.\d% remain"):
        planned("lenet_5", pins=("conv2", "fc1"), target=Budget(kind="params", value=0.1))


def test_a_budget_cannot_be_met_by_zeros() -> None:
    with pytest.raises(InvalidRecipeError, match="Choose granularity 'unit'"):
        planned("lenet_5", "weight", target=Budget(kind="macs", value=0.5))


def test_unknown_layers_are_named_with_the_nearest_known_one() -> None:
    with pytest.raises(InvalidRecipeError, match=r"'conv9'\. Did you mean 'conv"):
        planned("lenet_5", pins=("conv9",))


def random_recipe(name: str, draw: st.DataObject) -> Recipe:
    model, _ = traced(name)
    able = [key for key in GRANULARITIES if scored(name, key).by_site]
    granularity = draw.draw(st.sampled_from(able))
    sites = list(scored(name, granularity).by_site)
    ratio = st.builds(lambda value: Ratio(value=value), st.floats(0, 0.99))
    count = st.builds(lambda value: Count(value=value), st.integers(0, 500))
    return Recipe(
        model=model.identity,
        granularity=granularity,
        scope=draw.draw(st.sampled_from(["local", "global", "erk"])),
        normalise=draw.draw(st.sampled_from(["none", "max", "mean", "sum", "standard"])),
        target=draw.draw(st.one_of(ratio, count)),
        layers=draw.draw(st.dictionaries(st.sampled_from(sites), st.one_of(ratio, count))),
        pins=tuple(draw.draw(st.sets(st.sampled_from(sites), max_size=2))),
        min_kept=draw.draw(st.integers(1, 5)),
        round_to=draw.draw(st.sampled_from([1, 4, 8])),
    )


@pytest.mark.parametrize("name", BUNDLED)
def test_the_preview_of_a_random_recipe_is_what_pruning_yields(name: str) -> None:
    model, network = traced(name)

    @settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.data())
    def check(draw: st.DataObject) -> None:
        recipe = random_recipe(name, draw)
        assert Recipe.from_json(recipe.to_json()) == recipe
        scores = scored(name, recipe.granularity, recipe.normalise)
        plan = resolve(recipe, network, scores)
        assert plan.fingerprint == resolve(recipe, network, scores).fingerprint
        assert all(keep.any() for keep in plan.keep.values())
        shown, pruned = preview(network, plan), prune(model, network, plan)
        assert counted_params(pruned.module) == shown.after.params
        assert counted_nonzero(pruned.module) == shown.after.nonzero
        assert counted_macs(pruned.module, *network.example_inputs) == shown.after.macs
        for field in ("params", "nonzero", "macs"):
            layers = sum(getattr(layer.after, field) for layer in shown.layers)
            assert layers == getattr(shown.after, field)

    check()


@pytest.mark.parametrize(
    ("name", "granularity"),
    [
        *((name, granularity) for name in BUNDLED for granularity in ("weight", "unit")),
        *(("cnn_digits", granularity) for granularity in GRANULARITIES),
    ],
)
def test_every_position_of_a_track_is_what_the_preview_says(name: str, granularity: str) -> None:
    _, network = traced(name)
    scores = scored(name, granularity)
    plan = planned(name, granularity, target=Ratio(value=0.3))
    for site in list(plan.keep)[:3]:
        track = tracks(network, plan, scores, site)
        assert len(track.n_removed) <= 514
        assert plan.n_removed(site) in track.n_removed
        assert all(a < b for a, b in pairwise(track.n_removed.tolist()))
        for position in np.linspace(0, len(track.n_removed) - 1, 5).astype(int):
            count = int(track.n_removed[position])
            layers = {s: Count(value=plan.n_removed(s)) for s in plan.keep}
            moved = planned(name, granularity, layers={**layers, site: Count(value=count)})
            after = preview(network, moved).after
            found = (track.params, track.nonzero, track.macs, track.n_bytes)
            assert [int(values[position]) for values in found] == [
                after.params, after.nonzero, after.macs, after.n_bytes,
            ]  # fmt: skip


def test_thresholds_beyond_float32_keep_or_remove_everything_that_may_go() -> None:
    for value, gone in ((-1e300, 0), (1e300, 19)):
        plan = planned("lenet_5", layers={"conv1": Threshold(value=value)})
        assert plan.n_removed("conv1") == gone


def test_halves_round_up() -> None:
    assert [share(0.5, n) for n in (1, 2, 3, 5)] == [1, 1, 2, 3]


def test_equal_scores_within_a_layer_go_by_index() -> None:
    scores = Scores("l1", "unit", {"a": np.array([1, 0, 1, 0, 0, 1] * 40, np.float32)})
    assert scores.order("a")[:4].tolist() == [1, 3, 4, 7]
    assert (np.diff(scores.order("a")[:120]) > 0).all()
    assert (np.diff(scores.order("a")[120:]) > 0).all()


def test_a_budget_counts_what_layers_with_their_own_target_save() -> None:
    _, network = traced("cnn_digits")
    own = {"fc1": Ratio(value=0.9)}
    plan = planned("cnn_digits", layers=own, target=Budget(kind="params", value=0.5))
    assert plan.n_removed("fc1") == 58
    assert removed(plan) == {"conv1": 0, "conv2": 0, "fc1": 58}  # the own target suffices
    assert preview(network, plan).after.params <= 0.5 * preview(network, plan).before.params


def test_recipes_with_layers_in_another_order_have_one_fingerprint() -> None:
    first = Recipe(model="m", layers={"a": Count(value=1), "b": Count(value=2)})
    second = Recipe(model="m", layers={"b": Count(value=2), "a": Count(value=1)})
    assert first.fingerprint == second.fingerprint
    assert first.replace(seed=1).fingerprint != first.fingerprint


def sparse() -> tuple[LoadedModel, Network]:
    """A network in which a third of all weights and biases is zero already."""
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(6, 9), nn.ReLU(), nn.Linear(9, 7), nn.ReLU(), nn.Linear(7, 3))
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.flatten()[::3] = 0
    model = LoadedModel("test:sparse", module.eval(), Inputs.of(torch.zeros(1, 6)), None, None, "")
    return model, trace(module, model.inputs)


@pytest.mark.parametrize("granularity", ["weight", "unit"])
@pytest.mark.parametrize("seed", range(4))
def test_zeros_that_are_there_already_are_counted_once(granularity: str, seed: int) -> None:
    model, network = sparse()
    recipe = Recipe(
        model=model.identity,
        granularity=granularity,
        criterion="random",
        target=Ratio(value=0.4),
        seed=seed,
    )
    scores = score(model, network, recipe)
    plan = resolve(recipe, network, scores)
    assert (
        counted_nonzero(prune(model, network, plan).module) == preview(network, plan).after.nonzero
    )
    for site in plan.keep:
        track = tracks(network, plan, scores, site)
        layers = {name: Count(value=plan.n_removed(name)) for name in plan.keep}
        for position, count in enumerate(track.n_removed.tolist()):
            moved = recipe.replace(layers={**layers, site: Count(value=count)})
            pruned = prune(model, network, resolve(moved, network, scores))
            assert counted_nonzero(pruned.module) == track.nonzero[position]


def test_a_budget_of_everything_removes_nothing() -> None:
    assert not any(removed(planned("lenet_5", target=Budget(kind="macs", value=1.0))).values())


def test_the_defaults_of_tuning_are_part_of_the_format() -> None:
    tuning = Recipe(model="m").tuning
    assert (tuning.epochs, tuning.optimiser, tuning.learning_rate) == (3, "adam", 1e-3)


def test_an_unknown_entry_is_refused_in_plain_words() -> None:
    with pytest.raises(InvalidRecipeError, match=r"tuning\.training_examples: no recipe has such"):
        Recipe.from_json('{"version": 1, "model": "m", "tuning": {"training_examples": 3}}')


def rigl_densities(shapes: list[tuple[int, ...]], density: float) -> list[float]:
    """The ERK densities as the RigL code finds them: layers that would exceed 1 become dense."""
    dense: set[int] = set()
    while True:
        free = [i for i in range(len(shapes)) if i not in dense]
        budget = density * sum(prod(shape) for shape in shapes)
        budget -= sum(prod(shapes[i]) for i in dense)
        epsilon = budget / sum(sum(shapes[i]) for i in free)
        over = [i for i in free if epsilon * sum(shapes[i]) / prod(shapes[i]) > 1]
        if not over:
            return [
                1.0 if i in dense else epsilon * sum(shape) / prod(shape)
                for i, shape in enumerate(shapes)
            ]
        dense |= set(over)


@pytest.mark.parametrize("name", ["lenet_300_100", "lenet_5", "resnet_8", "vit_tiny"])
@pytest.mark.parametrize("ratio", [0.0, 0.3, 0.5, 0.8, 0.9, 0.99])
def test_erk_densities_are_those_of_rigl_and_the_total_is_exact(name: str, ratio: float) -> None:
    _, network = traced(name)
    plan = planned(name, "weight", scope="erk", target=Ratio(value=ratio))
    shapes = [tuple(network.tensor(weight).shape) for weight in network.weights]
    expected = rigl_densities(shapes, 1 - ratio)
    total = sum(keep.size for keep in plan.keep.values())
    assert sum(removed(plan).values()) == share(ratio, total)
    for keep, density in zip(plan.keep.values(), expected, strict=True):
        assert abs(keep.sum() - density * keep.size) <= 1


@given(
    st.lists(st.tuples(st.integers(1, 40), st.floats(0.01, 3)), min_size=1, max_size=6),
    st.integers(0, 200),
    st.integers(1, 3),
)
def test_erk_claims_are_met_by_the_highest_quotient(
    layers: list[tuple[int, float]], n_removed: int, least: int
) -> None:
    sizes = np.array([size for size, _ in layers])
    shares = np.array([value for _, value in layers])
    most = np.maximum(sizes - least, 0)
    gone = spread(shares, sizes, (np.zeros_like(most), most), n_removed)
    assert gone.sum() == min(n_removed, most.sum())
    kept = sizes - most
    for _ in range(int(sizes.sum() - gone.sum() - kept.sum())):  # one unit after the other
        claims = np.where(kept < sizes, shares * sizes / (kept + 0.5), -1.0)
        kept[np.argmax(claims)] += 1
    claims = shares * sizes / (sizes - gone + 0.5)
    assert (np.sort(sizes - gone) == np.sort(kept)).all() or np.isclose(
        claims[gone > 0].max(initial=0),
        (shares * sizes / (kept + 0.5))[kept < sizes].max(initial=0),
    )


def test_erk_leaves_more_of_the_narrow_layers() -> None:
    plan = planned("lenet_5", "unit", scope="erk", target=Ratio(value=0.5))
    assert sum(removed(plan).values()) == 285
    assert plan.ratio("conv1") < min(plan.ratio("conv2"), plan.ratio("fc1"))


def test_score_settings_follow_what_decides_scores_and_nothing_else() -> None:
    recipe = Recipe(model="bundled:mlp_digits")
    same = recipe.replace(
        target={"kind": "ratio", "value": 0.7}, pins=("fc1",), tuning={"epochs": 9}, scope="local"
    )
    assert same.score_settings == recipe.score_settings
    others = [
        recipe.replace(**change)
        for change in ({"criterion": "l2"}, {"seed": 3}, {"calibration": {"samples": 64}})
    ]
    assert len({recipe.score_settings, *(other.score_settings for other in others)}) == 4
    assert Recipe.from_json(others[0].score_settings).criterion == "l2"
