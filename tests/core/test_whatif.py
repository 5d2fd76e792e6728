"""What-if accuracy: equal to a run's, to torch's own masks, and to numbers worked by hand."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn.utils import prune as torch_prune

from pruning_core.errors import DataError
from pruning_core.evaluation import whatif
from pruning_core.evaluation.evaluate import StoppedError, paired_interval, right_answers
from pruning_core.evaluation.whatif import WhatIf, carried_out, expected_seconds, what_if
from pruning_core.loading.dataset import load_dataset
from pruning_core.loading.model import load_model
from pruning_core.planning.recipe import Count, Part, Ratio, Recipe, Tuning
from pruning_core.planning.resolve import resolve
from pruning_core.runs.events import Finished
from pruning_core.runs.pipeline import execute
from pruning_core.scoring.score import score
from pruning_core.surgery.prune import prune
from pruning_core.tracing.trace import trace
from tests.core.oracles import BUNDLED, relative_difference

NO_TUNING = Tuning(epochs=0)


def planned(recipe):
    model = load_model(recipe.model)
    network = trace(model.module, model.inputs)
    return model, network, resolve(recipe, network, score(model, network, recipe))


def small(data, n=150):
    """The data set with its first validation examples as validation and as test split."""
    return replace(data, validation=data.validation.first(n), test=data.validation.first(n))


def of_run(recipe, data):
    *_, finished = execute(recipe, data=data, threads=1)
    assert isinstance(finished, Finished)
    return finished.result


@pytest.mark.parametrize("name", BUNDLED)
def test_units_what_if_equals_the_accuracy_of_a_run_right_after_pruning(name):
    recipe = Recipe(
        model=f"bundled:{name}",
        granularity="unit",
        normalise="mean",
        target=Ratio(value=0.4),
        tuning=NO_TUNING,
    )
    model, network, plan = planned(recipe)
    data = small(load_dataset(model.data))
    result = of_run(recipe, data)
    measured = what_if(model, network, plan, data)
    assert measured.n == result.pruned.n == 150
    assert measured.accuracy == result.pruned.accuracy
    assert measured.dense == result.dense.accuracy


@pytest.mark.parametrize(
    "changes",
    [
        {"granularity": "weight", "target": Ratio(value=0.9)},
        {"granularity": "depth", "target": Count(value=1)},
        {
            "granularity": "unit",
            "normalise": "mean",
            "target": Ratio(value=0.2),
            "also": (Part(granularity="weight", target=Ratio(value=0.5)),),
        },
    ],
    ids=["weights", "depth", "mixed"],
)
def test_other_granularities_equal_a_run_as_well(changes):
    recipe = Recipe(model="bundled:resnet_8", tuning=NO_TUNING, **changes)
    model, network, plan = planned(recipe)
    data = small(load_dataset(model.data), 80)
    result = of_run(recipe, data)
    assert what_if(model, network, plan, data).accuracy == result.pruned.accuracy


@pytest.mark.parametrize("name", BUNDLED)
def test_a_copy_with_zeros_answers_like_the_really_pruned_network(name):
    recipe = Recipe(
        model=f"bundled:{name}", granularity="unit", scope="local", target=Ratio(value=0.3)
    )
    model, network, plan = planned(recipe)
    inputs, _ = load_dataset(model.data).validation.batch(slice(8))
    with torch.no_grad():
        zeroed = carried_out(model, network, plan)(inputs)
        removed = prune(model, network, plan).module(inputs)
    assert relative_difference(zeroed, removed) < 1e-4


def test_masks_made_by_torch_give_the_same_accuracy():
    recipe = Recipe(model="bundled:lenet_300_100", target=Ratio(value=0.95))
    model, network, plan = planned(recipe)
    data = load_dataset(model.data)
    measured = what_if(model, network, plan, data, n=700)

    peer = load_model(recipe.model).module
    layers = [(peer.get_submodule(name.removesuffix(".weight")), "weight") for name in plan.keep]
    torch_prune.global_unstructured(layers, torch_prune.L1Unstructured, amount=0.95)
    inputs, labels = data.validation.batch(slice(700))
    with torch.no_grad():
        right = peer(inputs).argmax(dim=1) == labels
    assert measured.accuracy == pytest.approx(float(right.float().mean()))
    assert measured.accuracy < measured.dense - 0.02


def test_the_dense_model_is_not_touched():
    recipe = Recipe(model="bundled:cnn_digits", granularity="unit", target=Ratio(value=0.5))
    model, network, plan = planned(recipe)
    before = {name: value.clone() for name, value in model.module.state_dict().items()}
    what_if(model, network, plan, load_dataset(model.data), n=50)
    assert all(torch.equal(before[k], v) for k, v in model.module.state_dict().items())


def test_only_validation_examples_are_measured():
    recipe = Recipe(model="bundled:mlp_digits", target=Ratio(value=0.9))
    model, network, plan = planned(recipe)
    data = load_dataset(model.data)
    nothing = data.test.first(0)
    measured = what_if(model, network, plan, replace(data, test=nothing, train=nothing), n=10_000)
    assert measured.n == measured.n_split == len(data.validation)
    assert measured.dense == right_answers(model.module, data.validation).mean()


def test_the_difference_is_counted_on_the_same_examples():
    made = WhatIf(accuracy=0.9, dense=0.95, lost=8, gained=3, n=100, n_split=200, seconds=0.1)
    assert made.difference == pytest.approx(-0.05)
    low, high = made.difference_interval
    assert low < -0.05 < high
    assert made.interval[0] < 0.9 < made.interval[1]


@pytest.mark.parametrize(
    ("only_first", "only_second", "n", "low", "high"),
    [  # worked by hand: change / (n + 2) -+ 1.96 sqrt(both + 1 - change^2 / (n + 2)) / (n + 2)
        (0, 0, 98, -0.0196, 0.0196),
        (10, 2, 98, -0.1489, -0.0111),
        (5, 5, 198, -0.0325, 0.0325),
    ],
)
def test_the_paired_interval_has_the_values_of_its_formula(only_first, only_second, n, low, high):
    assert paired_interval(only_first, only_second, n) == pytest.approx((low, high), abs=1e-4)


def test_the_paired_interval_covers_the_true_difference_nineteen_times_in_twenty():
    rng = np.random.default_rng(0)
    hits = 0
    for _ in range(2000):
        lost, gained, _ = rng.multinomial(200, [0.08, 0.02, 0.9])
        low, high = paired_interval(int(lost), int(gained), 200)
        hits += low <= -0.06 <= high
    assert 0.935 < hits / 2000 < 0.975


def test_a_stop_is_heard_and_missing_examples_are_named():
    recipe = Recipe(model="bundled:mlp_digits", target=Ratio(value=0.5))
    model, network, plan = planned(recipe)
    data = load_dataset(model.data)
    with pytest.raises(StoppedError):
        what_if(model, network, plan, data, should_stop=lambda: True)
    empty = replace(data, validation=data.validation.first(0))
    with pytest.raises(DataError, match="no validation examples"):
        what_if(model, network, plan, empty)


def test_the_expected_time_is_that_of_the_right_order():
    recipe = Recipe(model="bundled:lenet_5", granularity="unit", target=Ratio(value=0.3))
    model, network, plan = planned(recipe)
    data = load_dataset(model.data)
    expected = expected_seconds(model, network, plan, data, 1000)
    took = what_if(model, network, plan, data, n=1000).seconds
    assert took / 10 < expected < took * 10
    assert whatif.SAMPLES[0] == 1000
