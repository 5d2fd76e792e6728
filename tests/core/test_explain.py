"""Every decision can be explained: what is said is what was done, and why."""

import json
from functools import cache

import numpy as np
import pytest

from pruning_core.command_line import main
from pruning_core.errors import InvalidRecipeError, UnknownNameError
from pruning_core.granularities import GRANULARITIES
from pruning_core.loading.model import LoadedModel, load_model
from pruning_core.planning.explain import Explanation, Rule, explain, locks
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
)
from pruning_core.planning.resolve import resolve
from pruning_core.scoring.score import Scores, score
from pruning_core.surgery.unit import kept_indices
from pruning_core.tracing.network import Network
from pruning_core.tracing.trace import trace


@cache
def traced(name: str) -> tuple[LoadedModel, Network]:
    model = load_model(f"bundled:{name}")
    return model, trace(model.module, model.inputs)


def rated(name: str = "lenet_5", **changes: object) -> tuple[Plan, Network, Scores]:
    model, network = traced(name)
    recipe = Recipe(**{"model": model.identity, "granularity": "unit", **changes})  # type: ignore[arg-type]
    scores = score(model, network, recipe)
    return resolve(recipe, network, scores), network, scores


def told(site: str, unit: int, name: str = "lenet_5", **changes: object) -> Explanation:
    return explain(*rated(name, **changes), site, unit)


def nth(site: str, rank: int, name: str = "lenet_5", granularity: str = "unit") -> int:
    """Number of the unit that goes as ``rank``-th, 1 for the first."""
    scores = rated(name, granularity=granularity)[2]
    return int(np.argsort(scores.by_site[site], kind="stable")[rank - 1])


@pytest.mark.parametrize(
    ("changes", "rank", "kept", "rule", "words"),
    [
        ({"layers": {"conv1": Count(value=3)}}, 3, False, Rule.COUNT, "(count 3 of the layer)"),
        ({"layers": {"conv1": Count(value=3)}}, 4, True, Rule.COUNT, "is not among the 3 "),
        (
            {"layers": {"conv1": Ratio(value=0.25)}}, 5, False, Rule.RATIO,
            "(ratio 0.25 of the layer)",
        ),
        ({"scope": "local", "target": Ratio(value=0.5)}, 10, False, Rule.RATIO, "of each layer"),
        ({"scope": "erk", "target": Ratio(value=0.5)}, 20, True, Rule.RATIO, "spread by ERK"),
        (
            {"target": Count(value=2)}, 20, True, Rule.COUNT,
            "not among the 2 with the lowest scores of 570 in all layers together (count 2)",
        ),
        (
            {"target": Budget(kind="macs", value=0.5), "normalise": "mean"}, 20, True, Rule.BUDGET,
            "the fewest that leave at most 50.0% of the macs",
        ),
        ({"layers": {"conv1": Threshold(value=1e9)}}, 1, False, Rule.THRESHOLD, "scores below the"),
        ({"layers": {"conv1": Threshold(value=0)}}, 1, True, Rule.THRESHOLD, "scores not below"),
        ({"layers": {"conv1": Threshold(value=1e9)}}, 20, True, Rule.MINIMUM, "at least 1 must"),
        (
            {"layers": {"conv1": Count(value=9)}, "round_to": 8}, 5, True, Rule.ROUNDING,
            "the number that stays is a multiple of 8",
        ),
        ({"pins": ("conv1",)}, 1, True, Rule.PINNED, "is pinned and has no target of its own"),
    ],
)  # fmt: skip
def test_the_rule_that_decided_is_named(
    changes: dict[str, object], rank: int, kept: bool, rule: Rule, words: str
) -> None:
    found = told("conv1", nth("conv1", rank), **changes)
    assert (found.kept, found.rule, found.rank) == (kept, rule, rank)
    assert words in found.sentence
    assert f"rank {rank} of 20" in found.sentence


def test_units_picked_by_hand_say_so() -> None:
    picks = {"conv1": Picks(keep=(3,), prune=(7,))}
    stays, goes = (told("conv1", unit, picks=picks) for unit in (3, 7))
    assert (stays.kept, stays.rule) == (True, Rule.PICKED)
    assert (goes.kept, goes.rule, goes.rank) == (False, Rule.PICKED, 1)
    assert goes.sentence.startswith("Channel 7 of 'conv1' goes: it was picked by hand to go.")
    assert stays.rank == 20


def test_a_layer_that_the_criterion_cannot_rate_says_so() -> None:
    plan, network, scores = rated("cnn_digits", criterion="bn_scale")
    assert scores.unrated
    for site in scores.unrated:
        found = explain(plan, network, scores, site, 0)
        assert (found.kept, found.rule) == (True, Rule.UNRATED)
        assert "cannot rate the layer" in found.sentence


def test_a_pattern_is_explained_by_the_group() -> None:
    plan, network, scores = rated(granularity="2:4", layers={"fc1": Ratio(value=0.5)})
    for unit in range(8):
        found = explain(plan, network, scores, "fc1", unit)
        group = np.sort(scores.by_site["fc1"][unit // 4 * 4 :][:4])
        assert found.kept == (scores.by_site["fc1"][unit] >= group[2])
        assert found.rule is Rule.PATTERN
        assert f"among the 2 {'highest' if found.kept else 'lowest'} of its 4" in found.sentence
    assert "nothing was asked for" in explain(plan, network, scores, "conv2", 0).sentence


@pytest.mark.parametrize("name", ["resnet_8", "gru_128", "vit_tiny"])
def test_the_slices_named_are_those_that_leave(name: str) -> None:
    plan, network, scores = rated(name)
    first = 0
    for group in network.groups:
        unit = group.n_units // 2
        found = explain(plan, network, scores, group.name, unit)
        keep = np.ones(network.cost.n_units, np.bool_)
        keep[first + unit] = False
        expected = {
            (tensor, axis): np.setdiff1d(np.arange(network.tensor(tensor).shape[axis]), indices)
            for tensor, axes in kept_indices(network, keep).items()
            for axis, indices in enumerate(axes)
            if indices is not None
        }
        shown = {}
        for piece in found.slices:
            for axis, text in enumerate(piece.place.strip("[]").split(", ")):
                if text != ":":
                    shown[piece.tensor, axis] = indices_of(text)
        assert shown.keys() == expected.keys()
        for place, indices in expected.items():
            assert shown[place] == indices.tolist()
        assert set(found.layers) == set(group.layers)
        first += group.n_units


def indices_of(text: str) -> list[int]:
    runs = [run.split(":") for run in text.strip("{}").split()]
    return [index for run in runs for index in range(int(run[0]), int(run[-1]) + (len(run) == 1))]


@pytest.mark.parametrize("granularity", GRANULARITIES)
def test_what_is_said_of_every_unit_is_what_the_plan_does(granularity: str) -> None:
    name = "vit_tiny" if granularity == "depth" else "cnn_digits"
    plan, network, scores = rated(name, granularity=granularity, target=Ratio(value=0.5))
    site = next(iter(plan.keep))
    for unit in range(0, len(plan.keep[site]), max(1, len(plan.keep[site]) // 7)):
        found = explain(plan, network, scores, site, unit)
        assert found.kept == plan.keep[site][unit]
        assert found.kept == (found.rank > found.n_removed)
        assert found.score == scores.by_site[site][unit]
        order = scores.order(site)
        assert order[found.rank - 1] == unit


def test_the_parts_of_a_mixed_plan_are_explained_by_their_own_targets() -> None:
    plan, network, scores = rated(
        "vit_tiny",
        target=Ratio(value=0.2),
        also=(
            Part(granularity="depth", target=Count(value=2)),
            Part(granularity="row", layers={"head": Count(value=1)}),
        ),
    )
    branch = int(np.flatnonzero(~plan.keep["depth/branches"])[0])
    found = explain(plan, network, scores, "depth/branches", branch)
    assert found.sentence.startswith(f"Branch '{network.branches[branch].name}' goes: it is among")
    assert {piece.tensor for piece in found.slices} == set(network.branches[branch].tensors)
    row = int(np.flatnonzero(~plan.keep["row/head"])[0])
    found = explain(plan, network, scores, "row/head", row)
    assert found.name == f"row [{row}, :] of 'head.weight'"
    assert "becomes zero" in found.sentence


def test_a_plan_of_several_rounds_says_that_scores_changed_on_the_way() -> None:
    plan, network, scores = rated(schedule=Schedule(rounds=3), target=Ratio(value=0.5))
    keep = {site: ~mask for site, mask in plan.keep.items()}
    other = Plan(plan.recipe, keep, plan.thresholds, plan.notes)
    assert explain(other, network, scores, "conv1", 0).rule is Rule.ROUNDS


def test_locked_axes_name_what_holds_them() -> None:
    _, network = traced("lenet_5")
    (weight, bias) = (lock for lock in locks(network, "fc2") if lock.axis == 0)
    assert (weight.parameter, bias.parameter) == ("fc2.weight", "fc2.bias")
    assert "output of the model" in weight.reasons[-1]
    with pytest.raises(UnknownNameError, match="Did you mean 'fc2'"):
        locks(network, "fc22")


def test_what_is_not_there_cannot_be_explained() -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'conv"):
        told("conv9", 0)
    with pytest.raises(InvalidRecipeError, match="no channel 20: they are numbered 0 to 19"):
        told("conv1", 20)


def test_the_command_explains_a_unit_and_a_layer(tmp_path, capsys) -> None:
    recipe = Recipe(model="bundled:lenet_5", granularity="unit", layers={"conv1": Count(value=3)})
    path = tmp_path / "recipe.json"
    path.write_text(recipe.to_json())
    unit = nth("conv1", 2)
    assert main(["explain", str(path), "conv1", str(unit), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["kept"], document["rule"], document["rank"]) == (False, "count", 2)
    assert {piece["tensor"] for piece in document["slices"]} >= {"conv1.weight", "conv2.weight"}
    assert main(["explain", str(path), "conv1"]) == 0
    assert "3 of 20 units of 'conv1' go (15.00 %)" in capsys.readouterr().out
    assert main(["explain", str(path), "fc2"]) == 0
    shown = capsys.readouterr().out
    assert "fc2.weight axis 0 stays: it is an output of the model" in shown
    assert main(["explain", str(path), "fc9"]) == 2
    assert "Did you mean 'fc" in capsys.readouterr().err
