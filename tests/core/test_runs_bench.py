"""The bench: real processes that answer what the core answers, and can be given up."""

import os
import time

import pytest

from pruning_core.evaluation.whatif import SAMPLES, WhatIf, what_if
from pruning_core.loading.dataset import load_dataset
from pruning_core.loading.model import load_model
from pruning_core.planning.recipe import Ratio, Recipe
from pruning_core.planning.resolve import resolve
from pruning_core.runs.bench import Bench, Question
from pruning_core.scoring.score import score
from pruning_core.tracing.trace import trace

RECIPE = Recipe(
    model="bundled:mlp_digits", granularity="unit", normalise="mean", target=Ratio(value=0.5)
)


@pytest.fixture(scope="module")
def bench():
    running = Bench()
    yield running
    running.close()


def planned(recipe):
    model = load_model(recipe.model)
    network = trace(model.module, model.inputs)
    return model, network, resolve(recipe, network, score(model, network, recipe))


def accuracy_of(recipe, **settings):
    return Question("accuracy", recipe, planned(recipe)[2].fingerprint, settings)


def answered(bench, question, owner="me"):
    bench.ask(question, owner)
    return bench.wait(question)


def test_the_process_answers_what_the_core_measures(bench):
    outcome = answered(bench, accuracy_of(RECIPE))
    assert outcome.state == "done"
    model, network, plan = planned(RECIPE)
    expected = what_if(model, network, plan, load_dataset(model.data), n=SAMPLES[0])
    found = WhatIf(**outcome.answer)
    assert (found.accuracy, found.dense, found.n) == (
        expected.accuracy,
        expected.dense,
        expected.n,
    )
    assert (found.lost, found.gained) == (expected.lost, expected.gained)


def test_equal_plans_are_measured_once_whatever_the_recipe_says(bench):
    first = accuracy_of(RECIPE)
    second = accuracy_of(RECIPE.replace(tuning=RECIPE.tuning.model_copy(update={"epochs": 9})))
    answered(bench, first)
    assert first.key == second.key
    assert bench.ask(second).state == "done"
    masks = Recipe(model=RECIPE.model)
    assert Question("accuracy", masks, first.plan).key != first.key


def test_a_newer_plan_of_the_same_visitor_takes_the_place_of_the_older(bench):
    questions = [accuracy_of(RECIPE.replace(target=Ratio(value=x))) for x in (0.1, 0.2, 0.3)]
    for question in questions:
        bench.ask(question, "someone")
    assert bench.wait(questions[-1]).state == "done"
    assert [bench.look(question).state for question in questions[:2]] == ["cancelled"] * 2
    bench.ask(questions[0], "someone")
    assert bench.wait(questions[0]).state == "done"


def test_another_plan_than_the_one_shown_is_not_measured(bench):
    outcome = answered(bench, Question("accuracy", RECIPE, "0" * 64))
    assert outcome.state == "failed"
    assert "not the one on the screen" in outcome.text


def test_a_model_that_may_not_be_loaded_is_refused_in_words(bench):
    recipe = Recipe(model="python:os:getcwd")
    outcome = answered(bench, Question("accuracy", recipe, "0" * 64))
    assert outcome.state == "failed"
    assert "only the command line and Python load them" in outcome.text


def test_latency_comes_with_device_threads_and_progress(bench):
    fingerprint = planned(RECIPE)[2].fingerprint
    settings = {"batch_sizes": [1, 4], "threads": 1, "seconds": 0.1}
    question = Question("latency", RECIPE, fingerprint, settings)
    outcome = answered(bench, question)
    assert outcome.state == "done"
    assert outcome.answer["device"]
    assert [one["batch_size"] for one in outcome.answer["comparisons"]] == [1, 4]
    assert all(one["threads"] == 1 and one["n"] >= 15 for one in outcome.answer["comparisons"])
    bench.forget(question)
    assert bench.look(question) is None


def test_a_drop_is_searched_and_time_shares_are_measured(bench):
    question = Question("drop", RECIPE, settings={"limit": 3.0})
    outcome = answered(bench, question)
    assert outcome.state == "done"
    assert outcome.answer["found"]["value"] <= 3.0
    assert outcome.answer["n"] == 200
    shares = answered(bench, Question("shares", RECIPE, settings={"batch_size": 1, "seconds": 0.1}))
    assert list(shares.answer["shares"]) == ["fc1", "fc2", "fc3"]


def test_a_search_can_be_given_up_and_the_next_question_is_answered(bench):
    question = Question("time", RECIPE, settings={"limit": 1e-9, "batch_size": 1, "threads": 1})
    bench.ask(question)
    while bench.look(question).state == "waiting":
        time.sleep(0.01)
    bench.cancel(question)
    assert bench.look(question).state == "cancelled"
    shares = Question("shares", RECIPE, settings={"batch_size": 2, "seconds": 0.1})
    assert answered(bench, shares).state == "done"
    assert bench.look(question).state == "cancelled"


def test_a_process_that_is_killed_is_replaced(bench):
    answered(bench, accuracy_of(RECIPE))
    process = bench._lanes[True]._process
    os.kill(process.pid, 9)
    process.wait()
    assert answered(bench, accuracy_of(RECIPE.replace(target=Ratio(value=0.7)))).state == "done"


def test_closing_the_input_ends_the_process():
    bench = Bench()
    answered(bench, accuracy_of(RECIPE))
    process = bench._lanes[True]._process
    process.stdin.close()
    assert process.wait(timeout=10) == 0
