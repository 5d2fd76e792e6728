"""The recommended way: the same epochs in rounds, with a teacher."""

import pytest

from pruning_core.errors import InvalidRecipeError
from pruning_core.planning.advice import recommended
from pruning_core.planning.recipe import Budget, Part, Ratio, Recipe, Schedule, Threshold, Tuning
from pruning_core.runs.rounds import check_rounds


def recipe(epochs: int, **changes) -> Recipe:
    return Recipe(model="bundled:mlp_digits", tuning=Tuning(epochs=epochs)).replace(**changes)


@pytest.mark.parametrize(
    ("epochs", "rounds", "each", "last"),
    [(1, 1, 1, None), (3, 3, 1, None), (5, 5, 1, None), (7, 5, 1, 3), (10, 5, 2, None)],
)
def test_as_many_epochs_are_trained_as_before(epochs, rounds, each, last) -> None:
    before = recipe(epochs, target=Ratio(value=0.9))
    after = recommended(before)
    assert (after.schedule.rounds, after.tuning.epochs) == (rounds, each)
    assert after.schedule.last_epochs == last
    assert after.n_epochs == before.n_epochs == epochs
    assert after.tuning.distillation is not None
    assert after.target == before.target
    check_rounds(after)
    assert recommended(after) == after


def test_other_ways_are_replaced_and_a_limit_stays() -> None:
    schedule = Schedule(rounds=6, max_drop=2.0, first_step=0.5, weights="rewind")
    after = recommended(recipe(2, schedule=schedule))
    assert after.schedule == Schedule(rounds=5, last_epochs=4, max_drop=2.0)
    assert after.n_epochs == 12


@pytest.mark.parametrize(
    "changes",
    [
        {"target": Threshold(value=0.1)},
        {"layers": {"fc1.weight": Threshold(value=0.1)}},
        {"also": (Part(granularity="unit", target=Budget(kind="macs", value=0.5)),)},
    ],
)
def test_what_cannot_be_done_in_rounds_stays_in_one(changes) -> None:
    after = recommended(recipe(8, **changes))
    assert (after.schedule.rounds, after.tuning.epochs) == (1, 8)
    check_rounds(after)


def test_there_must_be_epochs_to_spread() -> None:
    with pytest.raises(InvalidRecipeError, match=r"tuning\.epochs is 0.*Set it to 1 or more"):
        recommended(recipe(0))
