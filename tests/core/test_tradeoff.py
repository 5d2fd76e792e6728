"""Searches between accuracy and cost: against plans measured one by one, and shared."""

import json
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as some

from pruning_core.command_line import main
from pruning_core.evaluation.tradeoff import Trial, choices, front, knobs, varied
from pruning_core.evaluation.whatif import what_if
from pruning_core.inputs import Inputs
from pruning_core.loading.model import load_model
from pruning_core.planning.recipe import Count, Ratio, Recipe
from pruning_core.planning.resolve import resolve
from pruning_core.preview import preview
from pruning_core.runs import studies
from pruning_core.runs.bench import Bench, Question
from pruning_core.tracing.trace import trace
from tests.core.test_sensitivity import setup_of
from tests.many_layers import chain

UNITS = Recipe(model="bundled:mlp_digits", granularity="unit", normalise="mean")
N = 60


@pytest.fixture(autouse=True)
def state(tmp_path, monkeypatch):
    monkeypatch.setenv("PRUNING_STUDIO_STATE", str(tmp_path))


def searched(setup, cost="macs", n_trials=8):
    steps = list(studies.carry_out(setup, cost, n_trials=n_trials, n=N))
    name = studies.name_of(setup.recipe, setup.model.weights_sha256, setup.data.key, cost)
    return steps, studies.read(studies.path_of(name))


def trial(number, accuracy, macs):
    return Trial(number, {}, accuracy, 1, 1, macs, 1, None, "")


@given(some.lists(some.tuples(some.integers(0, 6), some.integers(0, 6)), min_size=1, max_size=12))
def test_the_front_is_what_nobody_beats(values):
    trials = [trial(place, a / 6, macs) for place, (a, macs) in enumerate(values)]
    best = front(trials, "macs")
    beaten = {
        one.number
        for one in trials
        for other in trials
        if other.accuracy >= one.accuracy
        and other.macs <= one.macs
        and (other.accuracy, other.macs) != (one.accuracy, one.macs)
    }
    alive = {(t.accuracy, t.macs) for t in trials if t.number not in beaten}
    assert {(t.accuracy, t.macs) for t in best} == alive
    assert len(best) == len(alive)


@pytest.mark.parametrize("granularity", ["unit", "weight", "2:4"])
def test_every_plan_is_as_it_was_measured(granularity):
    setup = setup_of(UNITS.replace(granularity=granularity))
    cost = "macs" if granularity == "unit" else "nonzero"
    _, found = searched(setup, cost)
    assert len(found.trials) == 8
    for one in found.trials:
        plan = resolve(varied(setup.recipe, one.ratios), setup.network, setup.scores)
        after = preview(setup.network, plan).after
        assert (one.params, one.nonzero, one.macs) == (after.params, after.nonzero, after.macs)
        assert one.n_bytes == after.n_bytes
        assert one.plan == plan.fingerprint
        again = what_if(setup.model, setup.network, plan, setup.data, n=N)
        assert one.accuracy == again.accuracy
        assert found.dense.accuracy == again.dense


def test_a_search_goes_on_where_it_was_and_counts_what_is_there():
    setup = setup_of(UNITS)
    steps, found = searched(setup, n_trials=7)
    assert len(steps) == 7
    more, grown = searched(setup, n_trials=9)
    assert len(more) == 2
    assert grown.trials[:7] == found.trials
    none, same = searched(setup, n_trials=9)
    assert not none
    assert same == grown


def test_pinned_layers_keep_what_they_have():
    recipe = UNITS.replace(pins=("fc1",), layers={"fc1": Count(value=5), "fc2": Ratio(value=0.9)})
    setup = setup_of(recipe)
    _, found = searched(setup)
    for one in found.trials:
        assert set(one.ratios) == {"fc2"}
        plan = resolve(varied(recipe, one.ratios), setup.network, setup.scores)
        assert plan.n_removed("fc1") == 5


def test_time_can_be_the_cost():
    _, found = searched(setup_of(UNITS), "milliseconds", n_trials=2)
    assert all(one.milliseconds > 0 for one in (*found.trials, found.dense))


def test_of_many_layers_neighbours_share_a_ratio():
    module, inputs = chain()
    network = trace(module, Inputs.of(inputs))
    together = knobs(UNITS, network)
    assert len(together) == 40
    sites = [site for sites in together for site in sites]
    assert sites == [group.name for group in network.groups]
    assert choices(UNITS.replace(granularity="1:4")) == (0.0, 0.75)


def test_two_workers_share_one_storage(tmp_path):
    path = tmp_path / "recipe.json"
    path.write_text(UNITS.to_json())
    storage = f"sqlite:///{tmp_path / 'shared.sqlite3'}"
    command = [sys.executable, "-m", "pruning_core", "search", str(path), "--storage", storage]
    command += ["--plans", "12", "--examples", str(N), "--json"]
    workers = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    answers = [worker.communicate(timeout=180) for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0], answers
    totals = [json.loads(out)["n_plans"] for out, _ in answers]
    assert 12 <= max(totals) <= 13  # each may begin one plan before it sees the other's last
    told = sum(len(err.splitlines()) for _, err in answers)
    assert told == max(totals)


def test_the_command_line_prints_and_writes_the_best(capsys, tmp_path):
    path = tmp_path / "recipe.json"
    path.write_text(UNITS.to_json())
    out = tmp_path / "best"
    arguments = ["search", str(path), "--plans", "6", "--examples", str(N), "--out", str(out)]
    assert main([*arguments, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["n_plans"] == 6
    written = sorted(out.glob("plan_*.json"))
    assert len(written) == len(document["best"])
    recipes = [Recipe.from_json(one.read_bytes()) for one in written]
    expected = {one["plan"] for one in document["best"]}
    setup = setup_of(UNITS)
    assert {resolve(r, setup.network, setup.scores).fingerprint for r in recipes} == expected
    assert main([*arguments]) == 0
    assert "Not beaten" in capsys.readouterr().out
    assert main(["search", str(path), "--storage", "nonsense://x"]) == 2
    assert "storage of the search" in capsys.readouterr().err


def test_the_bench_searches_beside_the_pages():
    bench = Bench()
    try:
        question = Question("study", UNITS, settings={"cost": "macs", "n_trials": 7})
        bench.ask(question)
        assert bench.wait(question, 120).state == "done"
    finally:
        bench.close()
    model = load_model(UNITS.model)
    name = studies.name_of(UNITS, model.weights_sha256, model.data, "macs")
    assert len(studies.read(studies.path_of(name)).trials) == 7
