"""Sensitivity scans: against plans measured one by one, stopped and gone on with, and used."""

import json

import pytest

from pruning_core.command_line import main
from pruning_core.errors import RunError
from pruning_core.evaluation.sensitivity import RATIOS, Point, curves, tolerated
from pruning_core.evaluation.whatif import what_if
from pruning_core.loading.dataset import load_dataset
from pruning_core.loading.model import load_model
from pruning_core.planning.recipe import Part, Ratio, Recipe
from pruning_core.planning.resolve import resolve
from pruning_core.runs import scans
from pruning_core.runs.bench import Bench, Question
from pruning_core.runs.board import Board
from pruning_core.runs.setup import Setup
from pruning_core.runs.storages import open_study
from pruning_core.scoring.score import score
from pruning_core.tracing.trace import trace

N = 60


@pytest.fixture(autouse=True)
def state(tmp_path, monkeypatch):
    monkeypatch.setenv("PRUNING_STUDIO_STATE", str(tmp_path))


def setup_of(recipe):
    model = load_model(recipe.model)
    network = trace(model.module, model.inputs)
    scores = score(model, network, recipe)
    return Setup(recipe, model, network, scores, load_dataset(model.data))


def scanned(recipe, most=None):
    setup = setup_of(recipe)
    steps = scans.carry_out(setup, n=N)
    for number, _ in enumerate(steps, start=1):
        if number == most:
            steps.close()
    return scans.path_of(recipe, setup.model.weights_sha256, setup.data.key)


@pytest.mark.parametrize("granularity", ["unit", "weight", "2:4"])
def test_every_point_is_a_plan_that_prunes_one_layer(granularity):
    recipe = Recipe(model="bundled:mlp_digits", granularity=granularity, normalise="mean")
    found = scans.read(scanned(recipe))
    setup = setup_of(recipe)
    assert found.finished
    assert found.n == N
    assert len({(p.site, p.n_removed) for p in found.points}) == len(found.points)
    if granularity == "unit":
        assert len(found.points) == 2 * len(RATIOS)
    for point in found.points:
        asked = min((*RATIOS, 0.5), key=lambda ratio: abs(ratio - point.ratio))
        asked_for = recipe.with_layer(point.site, Ratio(value=asked))
        plan = resolve(asked_for, setup.network, setup.scores)
        assert [plan.n_removed(site) for site in plan.keep if site != point.site] == [0] * (
            len(plan.keep) - 1
        )
        assert plan.n_removed(point.site) == point.n_removed
        expected = what_if(setup.model, setup.network, plan, setup.data, n=N)
        assert (point.accuracy, point.lost, point.gained) == (
            expected.accuracy,
            expected.lost,
            expected.gained,
        )
        assert found.dense == expected.dense


def test_a_scan_that_was_stopped_or_cut_goes_on_where_it_was():
    recipe = Recipe(model="bundled:mlp_digits", granularity="unit", normalise="mean")
    path = scanned(recipe)
    whole = set(scans.read(path).points)
    path.unlink()
    scanned(recipe, most=5)
    assert not scans.read(path).finished
    assert len(scans.read(path).points) == 5
    path.write_bytes(path.read_bytes()[:-9])  # the power went while the last line was written
    assert len(scans.read(path).points) == 4
    scanned(recipe)
    assert scans.read(path).finished
    assert set(scans.read(path).points) == whole


def test_what_decides_nothing_about_single_layers_leads_to_the_same_scan():
    recipe = Recipe(model="bundled:mlp_digits", granularity="unit")
    others = [
        recipe.replace(target=Ratio(value=0.5), scope="local", normalise="mean"),
        recipe.with_layer("fc1", Ratio(value=0.5)).replace(pins=("fc1",)),
        recipe.replace(also=(Part(granularity="weight"),)),
    ]
    assert {scans.path_of(one, "abc", "digits") for one in others} == {
        scans.path_of(recipe, "abc", "digits")
    }
    changed = [recipe.replace(criterion="l2"), recipe.replace(reverse=True)]
    assert len({scans.path_of(one, "abc", "digits") for one in [recipe, *changed]}) == 3
    assert scans.path_of(recipe, "abd", "digits") != scans.path_of(recipe, "abc", "digits")


def test_curves_begin_with_the_dense_model_and_rise_in_ratio():
    points = [
        Point("a", 5, 10, 0.7, 2, 0),
        Point("a", 1, 10, 0.88, 1, 0),
        Point("b", 1, 4, 0.9, 0, 0),
    ]
    found = curves(points, 0.9)
    assert found == {"a": ([0.0, 0.1, 0.5], [0.9, 0.88, 0.7]), "b": ([0.0, 0.25], [0.9, 0.9])}
    assert tolerated(found, 0.02) == {"a": 0.1, "b": 0.25}
    assert tolerated(found, 0.01) == {"a": 0.0, "b": 0.25}
    assert tolerated(found, 0.2) == {"a": 0.5, "b": 0.25}


def test_a_layer_that_recovers_after_a_fall_is_cut_before_the_fall():
    fell = {"a": ([0.0, 0.3, 0.5, 0.7], [0.9, 0.89, 0.6, 0.9])}
    assert tolerated(fell, 0.02) == {"a": 0.3}


def test_the_bench_scans_in_parts_between_other_questions():
    recipe = Recipe(model="bundled:mlp_digits", granularity="unit", normalise="mean")
    bench = Bench()
    try:
        question = Question("scan", recipe)
        bench.ask(question)
        outcome = bench.wait(question, 120)
        assert (outcome.state, outcome.fraction) == ("done", 1.0)
    finally:
        bench.close()
    model = load_model(recipe.model)
    found = scans.read(scans.path_of(recipe, model.weights_sha256, model.data))
    assert found.finished
    assert len(found.points) == 2 * len(RATIOS)


def test_the_command_line_measures_prints_and_keeps(capsys, tmp_path):
    recipe = Recipe(model="bundled:mlp_digits", granularity="unit", normalise="mean")
    path = tmp_path / "recipe.json"
    path.write_text(recipe.to_json())
    assert main(["sensitivity", str(path), "--examples", str(N), "--json"]) == 0
    first = capsys.readouterr()
    document = json.loads(first.out)
    assert list(document["layers"]) == ["fc1", "fc2"]
    assert document["n"] == N
    assert len(first.err.splitlines()) == 2 * len(RATIOS)
    assert main(["sensitivity", str(path), "--examples", str(N)]) == 0
    again = capsys.readouterr()
    assert not again.err  # nothing was left to measure
    assert "fc1" in again.out
    assert main(["sensitivity", str(path), "--examples", "0"]) == 2


def test_workers_that_share_a_storage_divide_the_points(tmp_path):
    recipe = Recipe(model="bundled:mlp_digits", granularity="unit", normalise="mean")
    alone = set(scans.read(scanned(recipe)).points)
    path = scans.path_of(recipe, setup_of(recipe).model.weights_sha256, "digits")
    path.unlink()
    url = f"sqlite:///{tmp_path / 'shared.sqlite3'}"
    dead = scans.carry_out(setup_of(recipe), n=N, storage=url)
    workers = [scans.carry_out(setup_of(recipe), n=N, storage=url) for _ in range(2)]
    # The one that will die has claimed a place before it is killed; the others ask for fewer
    # examples than the first, and measure as many as it does.
    board = Board(url, path.stem, n=N, source=setup_of(recipe).data.source)
    first = next(iter(alone))
    assert board.claim(first.site, first.n_removed, first.n_units)
    assert not board.claim(first.site, first.n_removed, first.n_units)
    found = [next(dead)[1]]
    dead.close()
    for turn in range(2 * len(alone)):
        found += [point for _, point in [next(workers[turn % 2], (1.0, None))] if point]
    assert len(found) == len(alone)
    assert set(found) == alone == set(scans.read(path).points)
    assert scans.read(path).finished


def test_workers_on_other_copies_of_the_data_are_refused(tmp_path):
    url = f"sqlite:///{tmp_path / 'shared.sqlite3'}"
    assert Board(url, "a", n=100, source="full set").n == 100
    assert Board(url, "a", n=500, source="full set").n == 100
    with pytest.raises(RunError, match="measured on the full set, and here is the bundled"):
        Board(url, "a", n=500, source="bundled subset")


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("shared.db", "'shared.db' is no URL of a database"),
        ("nonsense://x", "names no kind of database that is known"),
        ("mysql+nothere://x", "names no kind of database that is known"),
        ("oracle+oracledb://me:secret@x/y", "needs a driver for its database"),
        ("sqlite:////nowhere/at/all.sqlite3", "cannot be used: unable to open database file"),
    ],
)
def test_a_storage_that_cannot_be_used_is_named_without_its_password(url, said):
    with pytest.raises(RunError) as caught:
        open_study(url, "a", ["maximize"])
    assert said in str(caught.value)
    assert "secret" not in str(caught.value)
