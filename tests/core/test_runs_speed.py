"""The speed of a finished run: tables, reasons, memory, and refusals."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from pruning_core.command_line import main
from pruning_core.errors import RunError
from pruning_core.evaluation.latency import comparison
from pruning_core.exporting.speed_table import memory_rows, speed_rows, speed_sentences
from pruning_core.planning.recipe import Ratio, Recipe, Tuning
from pruning_core.runs import speed
from pruning_core.runs.bench import Bench, Question
from pruning_core.runs.pipeline import execute, write_run
from pruning_core.runs.speed import Cases, measure_speed
from pruning_core.runs.store import Store
from pruning_core.steps import run_to_end


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr("pruning_core.evaluation.latency.WARM_UP_SECONDS", 0.01)


def result_of(granularity):
    recipe = Recipe(
        model="bundled:mlp_digits",
        granularity=granularity,
        target=Ratio(value=0.5),
        tuning=Tuning(epochs=0),
    )
    return list(execute(recipe))[-1].result


@pytest.fixture(scope="module")
def smaller():
    return result_of("unit")


@pytest.fixture(scope="module")
def folder(smaller, tmp_path_factory):
    path = tmp_path_factory.mktemp("run")
    write_run(smaller, path)
    return path


def carried_out(steps):
    told = []
    return run_to_end(steps, told.append), told


def test_every_case_is_measured_once_and_threads_are_left_as_they_were(smaller):
    before = torch.get_num_threads()
    cases = Cases(("pytorch", "onnxruntime"), (1, 4), (1,), 0.01)
    found, told = carried_out(measure_speed(smaller, cases))
    assert torch.get_num_threads() == before
    keys = [(row["backend"], row["batch_size"], row["threads"]) for row in found["rows"]]
    assert keys == [(key, size, 1) for key in ("pytorch", "onnxruntime") for size in (1, 4)]
    for row in found["rows"]:
        assert row["n"] >= 15
        assert row["ratio_low"] <= row["ratio"] <= row["ratio_high"]
        assert bool(row["why"]) == (row["verdict"] != "faster")
    assert [share for share, _ in told] == sorted(share for share, _ in told)
    assert found["problems"] == []
    assert found["macs"]["dense"] == 64 * 128 + 128 * 64 + 64 * 10
    assert [row["batch_size"] for row in found["memory"]] == [1, 4]
    assert len(speed_rows(found)) == 4
    assert memory_rows(found)[0][0] == "Weights, EXACT"
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_what_a_pass_adds_to_the_memory_is_about_its_activations(smaller):
    class Wide(nn.Module):
        def forward(self, x):
            return (x.flatten(1)[:, :1] + torch.zeros(len(x), 1 << 20)).sum(dim=1)  # 4 MiB a sample

    wide = replace(
        smaller,
        model=replace(smaller.model, module=Wide()),
        surgery=replace(smaller.surgery, module=nn.Identity()),
    )
    memory = speed._memory(wide, 16)
    assert memory.n == 5
    assert 16 * 4 * 2**20 <= memory.dense < 3 * 16 * 4 * 2**20
    assert memory.pruned < 2**20


def test_no_gain_has_a_reason_that_was_counted_or_measured(smaller):
    masked = result_of("weight")

    def row(before_ms, after_ms, batch_size=1):
        times = np.tile([before_ms / 1000, after_ms / 1000], (20, 1))
        return comparison(times, batch_size=batch_size, threads=1)

    assert speed._why(row(2, 1), [row(2, 1)], smaller) == ""
    even = row(1, 1)
    assert "do not skip zeros" in speed._why(even, [even], masked)
    full = row(1, 1, batch_size=64)
    assert "not what takes the time" in speed._why(even, [even, full], smaller)
    assert "narrower layers" in speed._why(full, [even, full], smaller)
    noisy = comparison(np.array([[1.0, 0.5], [1.0, 1.5], [1.0, 0.6]] * 5), batch_size=1, threads=1)
    assert noisy.verdict == "no measurable gain"
    assert "scatter" in speed._why(noisy, [noisy], smaller)
    found = {
        "rows": [{"backend": "pytorch", "batch_size": size, "why": "Why."} for size in (1, 32)],
        "macs": {"dense": 1000, "pruned": 500},
        "problems": ["A problem."],
    }
    assert speed_sentences(found) == [
        "PyTorch, batch of 1; PyTorch, batch of 32: Why.",
        "A problem.",
        "MACs for one sample (EXACT): 1,000 before, 500 after.",
    ]


def test_a_machine_without_a_compiler_says_so_and_the_rest_is_measured(smaller, monkeypatch):
    def broken(module):
        raise RuntimeError("no C++ compiler was found")

    monkeypatch.setattr(torch, "compile", broken)
    cases = Cases(("compiled", "pytorch"), (1,), (1,), 0.01)
    found, _ = carried_out(measure_speed(smaller, cases))
    assert [row["backend"] for row in found["rows"]] == ["pytorch"]
    (problem,) = found["problems"]
    assert "no C++ compiler was found" in problem


@pytest.mark.parametrize(
    ("cases", "words"),
    [
        (Cases(backends=("tensorrt",)), "No runtime is called 'tensorrt'"),
        (Cases(batch_sizes=(0,)), "A batch size is 1 to 4096"),
        (Cases(threads=(10_000,)), "A number of threads is 1 to"),
        (Cases(seconds=-1), "at most 600 seconds"),
        (Cases(backends=()), "1 to 100 cases"),
    ],
)
def test_cases_that_cannot_be_measured_are_refused(smaller, cases, words):
    with pytest.raises(RunError, match=words):
        carried_out(measure_speed(smaller, cases))


def test_the_command_line_prints_and_keeps_the_table(folder, capsys):
    options = ["--batch-sizes", "1", "--seconds", "0.01", "--runtimes", "pytorch"]
    assert main(["speed", str(folder), *options]) == 0
    out = capsys.readouterr().out
    assert "Dense / pruned, 95 % interval" in out
    kept = json.loads((folder / "speed.json").read_text())
    assert [row["backend"] for row in kept["rows"]] == ["pytorch"]
    assert main(["speed", str(folder), "--batch-sizes", "many"]) == 2
    assert main(["speed", str(folder / "none")]) == 2
    assert "There is no run folder" in capsys.readouterr().err


def test_the_bench_measures_a_finished_run_and_keeps_the_answer(smaller, tmp_path, monkeypatch):
    monkeypatch.setenv("PRUNING_STUDIO_STATE", str(tmp_path))
    store = Store()
    record = store.add(smaller.recipe, threads=1)
    folder = store.folder(record.id) / "export"
    folder.mkdir()
    write_run(smaller, folder)
    settings = {
        "run": record.id,
        "backends": ["pytorch"],
        "batch_sizes": [1],
        "by_threads": [1],
        "seconds": 0.01,
    }
    bench = Bench()
    try:
        question = Question("speed", smaller.recipe, settings=settings)
        bench.ask(question)
        outcome = bench.wait(question)
    finally:
        bench.close()
    assert outcome.state == "done", outcome.text
    assert json.loads((folder / "speed.json").read_text()) == outcome.answer


def test_the_shape_that_is_timed_is_resnet_18():
    from benchmarks.shapes import resnet_18

    with torch.device("meta"):
        module = resnet_18()
    assert sum(parameter.numel() for parameter in module.parameters()) == 11_689_512  # torchvision
    assert module(torch.zeros(2, 3, 224, 224, device="meta")).shape == (2, 1000)
