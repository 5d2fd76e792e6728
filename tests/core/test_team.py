"""Several processes that carry one run out: torchrun with two of them, on real data."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from pruning_core.command_line import main
from pruning_core.errors import RunError
from pruning_core.loading.dataset import load_dataset
from pruning_core.planning.recipe import Tuning
from pruning_core.team import ALONE, Team, joined, started
from pruning_core.tuning.finetune import FineTuner
from pruning_core.tuning.preparing import batch_starts

ROOT = Path(__file__).parents[2]
# A trained network without batch norm, whose second process can be told to die while it trains.
MODEL = """
import os, signal
from pathlib import Path
import torch
from torch import nn
from pruning_core.loading.model import load_model


class Fragile(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = load_model("bundled:mlp_digits").module
        self.seen = 0

    def forward(self, inputs):
        if self.training and os.environ.get("RANK") == "1" and Path("die").exists():
            self.seen += 1
            if self.seen > 25:  # an epoch has 20 batches and a rest, which joins the last one
                os.kill(os.getpid(), signal.SIGKILL)
        return self.inner(inputs)


def build():
    return Fragile(), torch.zeros(1, *load_model("bundled:mlp_digits").inputs.args[0].shape[1:])


def differing():
    model, inputs = build()
    with torch.no_grad():
        next(model.parameters()).add_(int(os.environ["RANK"]))
    return model, inputs
"""
RECIPE = {
    "version": 1,
    "model": "python:fragile:build",
    "data": "digits",
    "granularity": "weight",
    "target": {"kind": "ratio", "value": 0.8},
    "tuning": {"epochs": 3, "train_samples": 1001, "batch_size": 50, "restore_best": False},
}
TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")


def torchrun(folder, *arguments):
    return subprocess.run(
        [sys.executable, *TORCHRUN, "-m", "pruning_core", *arguments],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{folder}", "OMP_NUM_THREADS": "1"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "fragile.py").write_text(MODEL)
    (tmp_path / "recipe.json").write_text(json.dumps(RECIPE))
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def test_two_processes_train_what_one_does_also_after_one_of_them_died(folder):
    (folder / "die").touch()
    died = torchrun(folder, "run", "recipe.json", "--out", "two")
    assert died.returncode != 0
    assert died.stdout == ""
    assert "the same command goes on after epoch 1." in died.stderr
    assert [path.name for path in (folder / "two").iterdir()] == ["checkpoints"]

    (folder / "die").unlink()
    done = torchrun(folder, "run", "recipe.json", "--out", "two", "--json")
    assert done.returncode == 0, done.stderr
    assert "Going on after epoch 1 of an earlier call" in done.stderr
    report = json.loads(done.stdout)  # one document: the second process says nothing
    assert report["environment"]["processes"] == "2"
    assert not (folder / "two" / "checkpoints").exists()

    assert main(["run", "recipe.json", "--out", "one"]) == 0
    alone = json.loads((folder / "one" / "report.json").read_text())
    assert "processes" not in alone["environment"]
    assert report["mask_fingerprint"] == alone["mask_fingerprint"]
    assert [epoch["accuracy"] for epoch in report["epochs"]] == [
        epoch["accuracy"] for epoch in alone["epochs"]
    ]
    assert report["n"] == alone["n"]
    two, one = (load_file(folder / name / "model.safetensors") for name in ("two", "one"))
    for name, weights in one.items():
        assert torch.equal(two[name] == 0, weights == 0)
        torch.testing.assert_close(two[name], weights, rtol=1e-4, atol=1e-6)


def test_processes_with_other_weights_are_refused(folder):
    done = torchrun(
        folder, "run", "recipe.json", "--out", "two", "--model", "python:fragile:differing"
    )
    assert done.returncode != 0
    assert "error: The weights of the model are not the same in all 2 processes" in done.stderr
    assert not (folder / "two").exists()


def test_an_environment_without_torchrun_is_a_team_of_one(monkeypatch):
    for name in ("RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    assert started() == ALONE
    with joined() as team:
        assert team.first(lambda: 3) == 3
        assert team.is_first
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "4")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    assert started() == Team(1, 4, 2)
    assert not started().is_first


@pytest.mark.parametrize(("rank", "size"), [("x", "2"), ("2", "2"), ("-1", "2")])
def test_an_environment_that_makes_no_sense_is_refused(monkeypatch, rank, size):
    monkeypatch.setenv("RANK", rank)
    monkeypatch.setenv("WORLD_SIZE", size)
    with pytest.raises(RunError, match=r"Use torchrun\."):
        started()


def test_other_commands_are_refused_once(monkeypatch, capsys):
    monkeypatch.setenv("WORLD_SIZE", "2")
    for rank, said in (("0", "only the command run shares its work"), ("1", "process 2: ")):
        monkeypatch.setenv("RANK", rank)
        assert main(["models"]) == 2
        assert said in capsys.readouterr().err
    assert main(["models", "--nonsense"]) == 2  # the first process says so for all
    assert capsys.readouterr().err == ""


def test_every_sample_of_a_batch_is_one_process_s():
    batch = torch.randperm(23)
    shares = [Team(rank, 4, 4).share(batch) for rank in range(4)]
    assert sorted(torch.cat(shares).tolist()) == list(range(23))
    assert {len(share) for share in shares} == {5, 6}


def test_a_rest_too_small_to_be_shared_joins_the_batch_before():
    assert batch_starts(103, 50, 4) == ((0, 50), (50, 103))
    assert batch_starts(104, 50, 4) == ((0, 50), (50, 100), (100, 104))
    assert batch_starts(3, 50, 4) == ((0, 3),)


def test_batches_too_small_to_be_shared_are_refused():
    tuner = FineTuner(
        nn.Sequential(nn.Flatten(), nn.Linear(64, 10)),
        load_dataset("digits"),
        Tuning(batch_size=6),
        seed=0,
    )
    tuner.share_with(Team(0, 3, 3))
    with pytest.raises(RunError, match=r"Set tuning\.batch_size to 8 or more"):
        tuner.share_with(Team(0, 4, 4))


def test_a_mac_s_accelerator_is_not_shared(monkeypatch):
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr("pruning_core.devices.available", lambda: ("mps", "cpu"))
    with pytest.raises(RunError, match="use --device cpu"), joined("mps"):
        pass


def test_more_processes_than_gpus_are_refused(monkeypatch):
    for name, value in {"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("pruning_core.devices.available", lambda: ("cuda", "cpu"))
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    with pytest.raises(RunError, match="--nproc-per-node 1"), joined("cuda"):
        pass
