"""Searches for a ratio: against every plan measured one by one, and the reasons when none fits."""

import pytest

from pruning_core.errors import InvalidRecipeError
from pruning_core.evaluation.search import STEPS, largest_within_drop, smallest_within_time
from pruning_core.evaluation.whatif import what_if
from pruning_core.loading.dataset import load_dataset
from pruning_core.loading.model import load_model
from pruning_core.planning.recipe import Count, Ratio, Recipe
from pruning_core.planning.resolve import resolve
from pruning_core.scoring.score import score
from pruning_core.tracing.trace import trace
from tests.core.test_latency import finish

UNITS = Recipe(model="bundled:mlp_digits", granularity="unit", normalise="mean")


def parts(recipe):
    model = load_model(recipe.model)
    network = trace(model.module, model.inputs)
    return model, network, score(model, network, recipe)


def share_removed(plan):
    removed = sum(plan.n_removed(site) for site in plan.keep)
    return removed / sum(len(keep) for keep in plan.keep.values())


def test_the_drop_that_is_found_is_measured_and_the_next_step_is_too_much():
    model, network, scores = parts(UNITS)
    data = load_dataset(model.data)

    def lost(plan):
        return -100 * what_if(model, network, plan, data, n=200).difference

    attempts, result = finish(largest_within_drop(UNITS, network, scores, lost, 2.0))
    found = result.found
    plan = resolve(UNITS.replace(target=Ratio(value=found.ratio)), network, scores)
    assert lost(plan) == found.value <= 2.0
    assert found.n_removed == sum(plan.n_removed(site) for site in plan.keep) > 0
    above = resolve(UNITS.replace(target=Ratio(value=found.ratio + 1 / STEPS)), network, scores)
    assert lost(above) > 2.0
    assert "may fit as well" in result.sentence
    assert attempts == list(result.attempts)[: len(attempts)]
    assert len(attempts) < 20


@pytest.mark.parametrize("limit", [0.1, 0.3, 0.7])
def test_of_a_cost_that_only_grows_the_largest_ratio_is_found(limit):
    _, network, scores = parts(UNITS)
    _, result = finish(largest_within_drop(UNITS, network, scores, share_removed, limit))
    every = [
        resolve(UNITS.replace(target=Ratio(value=step / STEPS)), network, scores)
        for step in range(0, STEPS, 5)
    ]
    assert result.found.value == max(v for v in map(share_removed, every) if v <= limit)


def test_a_larger_ratio_that_harms_less_is_not_missed_between_eighths():
    _, network, scores = parts(UNITS)

    def dips(plan):  # harmful around 30 %, harmless at 50 %
        share = share_removed(plan)
        return 5.0 if 0.2 < share < 0.4 or share > 0.6 else 0.0

    _, result = finish(largest_within_drop(UNITS, network, scores, dips, 1.0))
    assert result.found.value == 0.0
    assert result.found.ratio > 0.5


def test_pinned_layers_that_lose_too_much_are_the_reason_why_no_plan_fits():
    recipe = UNITS.replace(pins=("fc1",), layers={"fc1": Count(value=30)})
    _, network, scores = parts(recipe)
    _, result = finish(
        largest_within_drop(recipe, network, scores, lambda plan: plan.n_removed("fc1"), 1.0)
    )
    assert result.found is None
    assert "30.0 points are lost and 1 are allowed" in result.sentence
    assert "Unpin layers" in result.sentence


def test_everything_may_go_when_nothing_is_lost():
    _, network, scores = parts(UNITS)
    _, result = finish(largest_within_drop(UNITS, network, scores, lambda _: 0.0, 1.0))
    assert result.found.ratio == 0.999
    assert "Everything that may go" in result.sentence


def test_the_smallest_ratio_that_is_quick_enough_is_found_and_measured_twice():
    _, network, scores = parts(UNITS)
    measured = []

    def milliseconds(plan):
        measured.append(plan.fingerprint)
        return 10 * (1 - share_removed(plan))

    _, result = finish(smallest_within_time(UNITS, network, scores, milliseconds, 6.0))
    plan = resolve(UNITS.replace(target=Ratio(value=result.found.ratio)), network, scores)
    assert result.found.value <= 6.0
    assert measured.count(plan.fingerprint) == 2
    less = resolve(UNITS.replace(target=Ratio(value=result.found.ratio - 0.001)), network, scores)
    assert 10 * (1 - share_removed(less)) > 6.0


def test_a_time_that_was_luck_is_not_believed():
    _, network, scores = parts(UNITS)
    seen = {}

    def lucky_once(plan):
        seen[plan.fingerprint] = seen.get(plan.fingerprint, 0) + 1
        honest = 10 * (1 - share_removed(plan))
        return honest - 1 if seen[plan.fingerprint] == 1 else honest

    _, result = finish(smallest_within_time(UNITS, network, scores, lucky_once, 6.0))
    assert result.found.value <= 6.0
    last = [attempt for attempt in result.attempts if attempt.fits][-1]
    assert last == result.found


def test_a_time_out_of_reach_and_masks_are_refused_with_the_reason():
    _, network, scores = parts(UNITS)
    _, result = finish(smallest_within_time(UNITS, network, scores, lambda _: 3.21, 1.0))
    assert result.found is None
    assert result.sentence.startswith("1 ms cannot be met: 3.21 ms are measured")
    masks = Recipe(model="bundled:mlp_digits")
    _, network, scores = parts(masks)
    with pytest.raises(InvalidRecipeError, match="the same products are computed"):
        next(smallest_within_time(masks, network, scores, lambda _: 1.0, 1.0))
