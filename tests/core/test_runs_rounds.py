"""Rounds of pruning: how much each reaches, and translating between dense and present units."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from pruning_core.errors import InvalidRecipeError, RunError
from pruning_core.planning.pace import gone_at
from pruning_core.planning.recipe import Budget, Count, Ratio, Recipe, Schedule, Threshold, Tuning
from pruning_core.runs.rounds import (
    check_rounds,
    composed,
    in_dense_units,
    in_present_units,
    progress_of,
    round_recipe,
    walk,
)
from pruning_core.scoring.score import Scores
from pruning_core.surgery.prune import Pruned

THREE = Schedule(rounds=3, shape="cubic")
UNITS = {"a": 100, "b": 60, "c": 200}


def recipe(**changes):
    return Recipe(model="bundled:mlp_digits").replace(**changes)


def scores(**by_site):
    arrays = {site: np.array(values, np.float32) for site, values in by_site.items()}
    return Scores("l1", "unit", arrays)


def keep(text):
    return np.array([letter == "1" for letter in text])


def shares(schedule, whole):
    rounds = schedule.rounds
    return [gone_at(schedule, number / rounds, whole) for number in range(1, rounds + 1)]


def test_the_cubic_schedule_does_most_in_the_first_round() -> None:
    # of 0.54: 1 - (2/3)^3 = 19/27, 1 - (1/3)^3 = 26/27, all
    assert shares(THREE, 0.54) == pytest.approx([0.38, 0.52, 0.54])


def test_the_cubic_schedule_is_that_of_the_paper() -> None:
    # Zhu and Gupta, equation 1: s_t = s_f + (s_i - s_f) (1 - (t - t_0) / (n dt))^3, with s_i = 0
    ten = Schedule(rounds=10)
    expected = [0.9 + (0 - 0.9) * (1 - t / 10) ** 3 for t in range(1, 11)]
    assert shares(ten, 0.9) == pytest.approx(expected)


def test_the_linear_schedule_does_the_same_in_each_round() -> None:
    schedule = Schedule(rounds=4, shape="linear")
    assert shares(schedule, 0.8) == pytest.approx([0.2, 0.4, 0.6, 0.8])


def test_the_exponential_schedule_takes_the_same_share_of_what_is_left() -> None:
    # 0.64 = 0.8 * 0.8 stays after two rounds, 0.512 after three: each takes a fifth of the rest
    schedule = Schedule(rounds=3, shape="exponential")
    assert shares(schedule, 1 - 0.512) == pytest.approx([0.2, 0.36, 0.488])


@pytest.mark.parametrize("shape", ["cubic", "linear", "exponential"])
@given(rounds=st.integers(1, 50), whole=st.floats(0, 0.999))
def test_every_schedule_rises_to_the_whole_and_stays_there(shape, rounds, whole) -> None:
    reached = shares(Schedule(rounds=rounds, shape=shape), whole)
    assert reached == sorted(reached)
    assert reached[-1] == pytest.approx(whole, abs=1e-12)


def test_adaptive_steps_double_while_it_holds_and_halve_where_it_falls() -> None:
    # 1/4 holds: 1/4 + 1/2 falls and is undone: 1/4 + 1/4 holds, and as it made up for a fall, the
    # step stays: 3/4 falls again: 1/2 + 1/8 holds: 5/8 + 1/8 holds: 3/4 + 1/4 is the target.
    schedule = Schedule(rounds=9, max_drop=1.0, first_step=0.25)
    verdicts = [True, False, True, False, True, True, True]
    aims = [progress_of(schedule, n + 1, verdicts[:n]) for n in range(len(verdicts))]
    assert aims == [0.25, 0.75, 0.5, 0.75, 0.625, 0.75, 1.0]
    assert [walk(0.25, verdicts[:n]).is_over for n in range(6)] == [False] * 6
    assert walk(0.25, verdicts).is_over


def test_adaptive_steps_end_when_they_are_too_small() -> None:
    # 1/2, 1/4 ... 1/64 are tried; 1/128 is not
    verdicts: list[bool] = []
    while not walk(0.5, verdicts).is_over:
        verdicts.append(False)
    assert len(verdicts) == 6
    assert walk(0.5, verdicts).reached == 0


def test_an_adaptive_step_that_always_holds_is_at_the_target_soon() -> None:
    # 0.1, 0.3, 0.7, then the rest
    aims = [walk(0.1, [True] * n).aim for n in range(4)]
    assert aims == pytest.approx([0.1, 0.3, 0.7, 1.0])
    whole = recipe(target=Ratio(value=0.54), schedule=THREE)
    assert round_recipe(whole, aims[-1], UNITS) is whole


@given(st.lists(st.booleans(), max_size=50), st.floats(0.01, 1))
def test_adaptive_rounds_never_fall_back_behind_what_held(verdicts, first_step) -> None:
    places = [walk(first_step, verdicts[:n]) for n in range(len(verdicts) + 1)]
    reached = [place.reached for place in places]
    assert reached == sorted(reached)
    assert all(place.reached < place.aim <= 1 for place in places if place.reached < 1)


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"max_drop": None}, "max_drop is not set"),
        ({"rounds": 1}, "rounds is 1"),
        ({"gradual": True}, "no round can be undone"),
        ({"last_epochs": 3}, "last_epochs is 3"),
    ],
)
def test_adaptive_rounds_that_have_nothing_to_follow_are_refused(wrong, sentence) -> None:
    schedule = Schedule(rounds=4, max_drop=1.0, first_step=0.25)
    check_rounds(recipe(schedule=schedule))
    with pytest.raises(InvalidRecipeError, match=sentence):
        check_rounds(recipe(schedule=schedule.model_copy(update=wrong)))


def test_a_count_is_a_share_of_the_units_it_governs() -> None:
    # 75 of 100 go, in two rounds: half of what is left in each, so 50 and then 75
    schedule = Schedule(rounds=2, shape="exponential")
    units = {"a": 60, "b": 40, "own": 16}
    whole = recipe(
        target=Count(value=75), layers={"own": Count(value=15)}, schedule=schedule, pins=("own",)
    )
    first = round_recipe(whole, 1 / whole.schedule.rounds, units)
    assert first.target == Count(value=50)
    assert first.layers["own"] == Count(value=12)  # a quarter of 16 stays


def test_a_budget_shrinks_by_the_same_factor_in_each_exponential_round() -> None:
    schedule = Schedule(rounds=2, shape="exponential")
    whole = recipe(target=Budget(kind="macs", value=0.25), schedule=schedule)
    assert round_recipe(whole, 1 / whole.schedule.rounds, {}).target.value == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("schedule", "epochs", "sentence"),
    [
        (Schedule(weights="rewind", gradual=True), 1, "Gradual pruning is one training"),
        (Schedule(weights="rewind"), 0, "would be handed out untrained"),
        (Schedule(weights="reinitialise", rounds=3, last_epochs=4), 0, "untrained"),
    ],
)
def test_weights_are_not_rewound_where_nothing_trains_them_again(schedule, epochs, sentence):
    with pytest.raises(InvalidRecipeError, match=sentence):
        check_rounds(recipe(schedule=schedule, tuning=Tuning(epochs=epochs)))


@pytest.mark.parametrize(
    ("target", "first", "second"),
    [
        (Ratio(value=0.54), Ratio(value=0.38), Ratio(value=0.52)),
        (Count(value=54), Count(value=38), Count(value=52)),
        # what goes is 1 - value: 0.54 * 19/27 = 0.38, so 0.62 stays
        (Budget(kind="macs", value=0.46), Budget(kind="macs", value=0.62), None),
    ],
)
def test_a_round_scales_what_goes(target, first, second) -> None:
    whole = recipe(target=target, schedule=THREE)
    assert round_recipe(whole, 1 / 3, UNITS).target.value == pytest.approx(first.value)
    assert type(round_recipe(whole, 1 / 3, UNITS).target) is type(target)
    if second is not None:
        assert round_recipe(whole, 2 / 3, UNITS).target.value == pytest.approx(second.value)
    assert round_recipe(whole, 1, UNITS) is whole


def test_targets_of_single_layers_are_scaled_too() -> None:
    whole = recipe(layers={"a": Ratio(value=0.54), "b": Count(value=27)}, schedule=THREE)
    first = round_recipe(whole, 1 / 3, UNITS)
    assert first.layers["a"].value == pytest.approx(0.38)
    assert first.layers["b"] == Count(value=19)
    assert first.pins == whole.pins


def test_a_threshold_in_several_rounds_is_refused_with_its_place() -> None:
    wrong = recipe(layers={"fc1": Threshold(value=0.5)}, schedule=THREE)
    with pytest.raises(InvalidRecipeError, match=r"one round only.*is 3.*at: layers\.fc1\."):
        check_rounds(wrong)
    with pytest.raises(InvalidRecipeError, match=r"at: target\."):
        check_rounds(recipe(target=Threshold(value=0.5), schedule=THREE))
    check_rounds(recipe(target=Threshold(value=0.5)))


def test_units_that_left_rank_below_all_that_are_there() -> None:
    lifted = in_dense_units(
        scores(a=[5, 3], b=[-2, 1]), {"a": keep("0110"), "b": keep("11")}, recipe()
    )
    assert lifted.by_site["a"].tolist() == [-5, 5, 3, -5]  # below -2: -2 - 1 - 2
    assert lifted.by_site["b"].tolist() == [-2, 1]


def test_masked_weights_rank_lowest_whatever_their_score() -> None:
    masked = replace(scores(a=[9, 5, 3]), granularity="weight")
    lifted = in_dense_units(masked, {"a": keep("011")}, recipe())
    assert lifted.by_site["a"].tolist() == [-1, 5, 3]  # 3 - 1 - 3


def test_gone_units_take_no_part_in_the_normalisation() -> None:
    lifted = in_dense_units(scores(a=[2, 6]), {"a": keep("011")}, recipe(normalise="mean"))
    assert lifted.by_site["a"][1:].tolist() == [0.5, 1.5]


def test_a_site_that_vanished_is_a_sentence() -> None:
    with pytest.raises(RunError, match=r"'a' cannot be told apart any more\. Prune in one round"):
        in_dense_units(scores(b=[1]), {"a": keep("11")}, recipe())


def test_what_stays_is_counted_in_what_is_there() -> None:
    before, now = {"a": keep("1011")}, {"a": keep("1001")}
    assert in_present_units(now, before, removes=True)["a"].tolist() == [True, False, True]
    assert in_present_units(now, before, removes=False) is now
    assert in_present_units(now, None, removes=True) is now


def test_the_last_unit_of_a_site_stays_even_when_the_trace_no_longer_sees_it() -> None:
    kept = {"head": keep("0100"), "a": keep("11")}
    lifted = in_dense_units(scores(a=[1, 2]), kept, recipe())
    assert np.argmax(lifted.by_site["head"]) == 1
    assert set(in_present_units(kept, kept, removes=True)) == {"a"}


def test_two_rounds_compose_to_one_of_the_dense_network() -> None:
    module = nn.Identity()
    before = Pruned(
        module,
        "graph",
        "its class cannot run",
        kept={"w": (np.array([0, 2, 5]), None), "u": (np.array([1, 3]),)},
    )
    now = Pruned(
        module, "module", kept={"w": (np.array([0, 2]), np.array([1])), "v": (np.array([4]),)}
    )
    both = composed(before, now)
    assert both.kept["w"][0].tolist() == [0, 5]
    assert both.kept["w"][1].tolist() == [1]
    assert both.kept["u"][0].tolist() == [1, 3]
    assert both.kept["v"][0].tolist() == [4]
    assert (both.form, both.reason) == ("graph", "its class cannot run")
    assert composed(replace(before, form="module", reason=""), now).form == "module"
