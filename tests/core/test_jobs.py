"""Runs that outlive the command: queued here, or handed to a cluster by submitit."""

import json
import sys
import time

import pytest

from pruning_core.command_line import main
from pruning_core.commands import jobs
from pruning_core.loading.model import load_model
from pruning_core.planning.recipe import Ratio, Recipe, Tuning
from pruning_core.planning.resolve import resolve
from pruning_core.runs import cluster, process
from pruning_core.runs.cluster import Cluster, Wish
from pruning_core.runs.store import Store
from pruning_core.runs.view import read_run
from pruning_core.scoring.score import score
from pruning_core.tracing.trace import trace

RECIPE = Recipe(
    model="bundled:mlp_digits",
    granularity="unit",
    target=Ratio(value=0.5),
    tuning=Tuning(epochs=1, train_samples=200, restore_best=False),
)
# The training of this network never ends.
ENDLESS = """
import time
import torch
from torch import nn


class Endless(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(64, 10)

    def forward(self, inputs):
        while self.training:
            time.sleep(0.05)
        return self.fc(inputs.flatten(1))


def build():
    return Endless(), torch.zeros(1, 1, 8, 8)
"""


@pytest.fixture(autouse=True)
def state(tmp_path, monkeypatch):
    monkeypatch.setenv("PRUNING_STUDIO_STATE", str(tmp_path / "state"))
    monkeypatch.delenv("PRUNING_STUDIO_CLUSTER", raising=False)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setattr(jobs, "_WAIT_SECONDS", 0.1)
    (tmp_path / "recipe.json").write_text(RECIPE.to_json())
    return tmp_path


@pytest.fixture
def call(capsys):
    """Run a command; return its document."""

    def run(*arguments):
        assert main([*map(str, arguments), "--json"]) == 0
        return json.loads(capsys.readouterr().out)

    return run


@pytest.fixture
def refused(capsys):
    def run(*arguments):
        assert main([*map(str, arguments)]) == 2
        return capsys.readouterr().err

    return run


def until(condition, seconds=120):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "not within the time allowed"
        time.sleep(0.05)


def test_a_run_is_submitted_listed_fetched_forked_and_deleted(state, call, refused):
    pytest.importorskip("tensorboard")
    submitted = call("submit", state / "recipe.json", "--device", "cpu", "--wait", "--tensorboard")
    run = submitted["id"]
    assert (submitted["state"], submitted["epoch"], submitted["n_epochs"]) == ("done", 1, 1)
    events = read_run(run).event_files
    assert events is not None
    assert len([*events.iterdir()]) == 1
    (listed,) = call("runs")["runs"]
    assert (listed["id"], listed["forkable"]) == (run, [1])
    fetched = call("fetch", run, "--out", state / "files")
    assert "model.safetensors" in fetched["files"]
    report = json.loads((state / "files" / "report.json").read_text())
    assert report["recipe_fingerprint"] == RECIPE.fingerprint

    assert "it can be forked after: 1" in refused("fork", run, "--epoch", "7")
    fork = call("fork", run, "--epochs", "3")
    assert (fork["epoch"], fork["n_epochs"]) == (1, 3)
    assert Store().get(fork["id"]).parent == run
    call("cancel", fork["id"])
    until(lambda: call("poll", fork["id"])["state"] in {"cancelled", "done"})
    assert call("delete", run)["deleted"] == run
    assert "No run is called" in refused("poll", run)


def test_a_waiting_run_is_paused_resumed_and_cancelled(call, refused):
    record = Store().add(RECIPE, threads=1)
    assert call("pause", record.id)["state"] == "paused"
    assert "Cancel it before you delete it" in refused("delete", record.id)
    assert call("resume", record.id)["state"] in {"queued", "running"}
    call("cancel", record.id)
    until(lambda: call("poll", record.id)["state"] in {"cancelled", "done"})


@pytest.mark.parametrize("name", ["nonsense", "../../etc", "20200101-000000-aaaaaa"])
def test_runs_that_do_not_exist_are_refused_by_every_command(name, refused):
    for command in ("poll", "pause", "resume", "cancel", "delete", "fork"):
        assert "No run is called" in refused(command, name)
    assert "No run is called" in refused("fetch", name, "--out", "x")


def test_submitit_carries_a_run_out_as_a_command_does(state, call, refused):
    pytest.importorskip("submitit")
    submitted = call("submit", state / "recipe.json", "--cluster", "local", "--device", "cpu")
    run = submitted["id"]
    assert submitted["state"] in {"queued", "running"}
    assert "its files are there once it is done" in refused("fetch", run, "--out", state / "a")
    ended = call("poll", run, "--wait")
    assert (ended["state"], ended["epoch"], ended["error"]) == ("done", 1, "")
    call("fetch", run, "--out", state / "cluster")
    report = json.loads((state / "cluster" / "report.json").read_text())

    model = load_model(RECIPE.model)
    network = trace(model.module, model.inputs)
    plan = resolve(RECIPE, network, score(model, network, RECIPE))
    assert report["mask_fingerprint"] == plan.fingerprint
    assert report["accuracy"]["tuned"] > 0.8
    assert [one.id for one in Cluster().all()] == [run]


def test_a_cluster_run_is_cancelled_without_orphans(state, call, monkeypatch):
    pytest.importorskip("submitit")
    (state / "endless.py").write_text(ENDLESS)
    monkeypatch.setenv("PYTHONPATH", str(state))
    endless = RECIPE.replace(model="python:endless:build", data="digits", granularity="weight")
    (state / "recipe.json").write_text(endless.to_json())
    run = call("submit", state / "recipe.json", "--cluster", "local", "--device", "cpu")["id"]
    own = Cluster("local").own_folder(run)
    job = json.loads((own / "job.json").read_text())
    until(lambda: list((own / "submitit").glob("*_log.out")))
    assert call("cancel", run)["state"] == "cancelled"
    until(lambda: not process.is_alive(job["pid"], job["mark"]))
    assert call("cancel", run)["state"] == "cancelled"
    assert call("delete", run)["deleted"] == run
    assert not own.exists()


def test_a_cluster_run_whose_job_is_gone_says_where_its_logs_are(state):
    own = cluster.default_folder() / "20260101-000000-abcdef"
    own.mkdir(parents=True)
    (own / "recipe.json").write_text(RECIPE.to_json())
    assert Cluster().poll(own.name).error == "It was never submitted."
    (own / "job.json").write_text('{"kind": "local", "job_id": "1", "pid": 1, "mark": "other"}')
    found = Cluster().poll(own.name)
    assert found.state == "failed"
    assert f"left no result. Its logs: {own / 'submitit'}" in found.error


def test_a_run_that_cannot_be_carried_out_says_why(state):
    own = cluster.default_folder() / "20260101-000000-abcdef"
    (own / "export").mkdir(parents=True)
    (own / "recipe.json").write_text(RECIPE.replace(model="bundled:nothing").to_json())
    cluster.carry_out(own, "cpu")
    found = Cluster().poll(own.name)
    assert found.state == "failed"
    assert "nothing" in found.error


def test_wishes_that_make_no_sense_are_refused(state, refused):
    recipe = state / "recipe.json"
    assert "Add --cluster slurm" in refused("submit", recipe, "--gpus", "2")
    assert "must be at least 1" in refused("submit", recipe, "--cluster", "local", "--cpus", "0")
    assert "is one machine" in refused("submit", recipe, "--cluster", "local", "--nodes", "2")


def test_slurm_is_told_what_the_run_needs():
    wish = Wish(minutes=90, nodes=2, processes=4, gpus=4, memory=16.0, partition="gpu")
    assert wish.parameters("slurm") == {
        "name": "pruning",
        "timeout_min": 90,
        "nodes": 2,
        "tasks_per_node": 4,
        "gpus_per_node": 4,
        "mem_gb": 16.0,
        "slurm_partition": "gpu",
    }
    assert "slurm_partition" not in wish.parameters("local")


def test_without_submitit_there_is_one_sentence(state, refused, monkeypatch):
    monkeypatch.setitem(sys.modules, "submitit", None)
    monkeypatch.setattr(cluster, "find_spec", lambda name: None)
    said = refused("submit", state / "recipe.json", "--cluster", "slurm")
    assert "pip install -r requirements-cluster.txt" in said


def test_a_machine_without_slurm_says_so(state, refused, monkeypatch):
    pytest.importorskip("submitit")
    monkeypatch.setenv("PATH", "")
    said = refused("submit", state / "recipe.json", "--cluster", "slurm")
    assert "The cluster did not take the run: Could not detect" in said
