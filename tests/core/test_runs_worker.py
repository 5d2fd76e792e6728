"""Real workers: a run from submit to done, kills, damage, cancelling, failing, and the view."""

import errno
import hashlib
import itertools
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pruning_core.errors import RunError
from pruning_core.exporting.formats.safetensors import write_safetensors
from pruning_core.planning.recipe import Ratio, Recipe, Schedule, Tuning
from pruning_core.runs import dispatcher, process, worker
from pruning_core.runs.checkpoint import Checkpoint, checkpoint_files, save_checkpoint
from pruning_core.runs.events import Finished
from pruning_core.runs.log import Log, read_log
from pruning_core.runs.pipeline import execute
from pruning_core.runs.store import WORKING, Record, Store
from pruning_core.runs.view import read_run

RECIPE = Recipe(
    model="bundled:mlp_digits",
    granularity="weight",
    target=Ratio(value=0.8),
    tuning=Tuning(epochs=40),
)
LONG = RECIPE.replace(tuning=Tuning(epochs=1000))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store(tmp_path / "state")
    yield store
    for record in store.in_state(*WORKING):
        if record.pid and record.mark:
            process.kill(record.pid, record.mark)


def until(condition: Callable[[], object], seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "not within the time allowed"
        time.sleep(0.01)


def wait_for_epoch(store: Store, run_id: str, epoch: int) -> Record:
    until(lambda: store.get(run_id).epoch >= epoch or store.get(run_id).is_finished)
    record = store.get(run_id)
    assert not record.is_finished, record
    return record


def kill_worker(record: Record) -> None:
    assert record.pid is not None
    os.kill(record.pid, signal.SIGKILL)
    until(lambda: not process.is_alive(record.pid, record.mark))


def wait_for_end(store: Store, run_id: str) -> Record:
    until(lambda: dispatcher.poll(run_id, store=store).is_finished)
    return store.get(run_id)


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_killed_run_with_a_damaged_checkpoint_ends_with_the_same_bits_as_one_never_killed(
    store: Store, tmp_path: Path
) -> None:
    run_id = dispatcher.submit(RECIPE, store=store)
    kill_worker(wait_for_epoch(store, run_id, 5))
    folder = store.folder(run_id)
    newest = checkpoint_files(folder)[-1]
    newest.write_bytes(newest.read_bytes()[:-1000])
    (folder / ".partial-1-epoch_00001.ckpt").write_bytes(b"left by a killed worker")
    record = wait_for_end(store, run_id)
    assert (record.state, record.error, record.attempt, record.epoch) == ("done", "", 2, 40)

    (finished,) = [event for event in execute(RECIPE) if isinstance(event, Finished)]
    write_safetensors(finished.result, tmp_path / "model.safetensors")
    assert sha256(folder / "export" / "model.safetensors") == sha256(tmp_path / "model.safetensors")
    assert not list(folder.glob(".partial*"))
    assert [path.name for path in checkpoint_files(folder)] == ["epoch_00040_round_01.ckpt"]
    check_view_of_the_killed_run(store, run_id, newest.name)


def check_view_of_the_killed_run(store: Store, run_id: str, damaged: str) -> None:
    view = read_run(run_id, store=store)
    assert [result.epoch for result in view.epochs] == list(range(1, 41))
    assert (view.fraction, view.seconds_left, view.stage_title) == (1.0, None, "done")
    assert set(view.metrics) == {"dense", "pruned", "tuned"}
    assert view.report is not None
    assert view.report["accuracy"]["tuned"] == view.metrics["tuned"].accuracy
    assert view.before is not None
    assert view.after is not None
    assert view.report["nonzero"] == {"before": view.before.nonzero, "after": view.after.nonzero}
    assert {file.path.name for file in view.files} == {
        *("model.onnx", "model.safetensors", "recipe.json", "report.html", "report.json")
    }
    assert any(damaged in note for note in view.notes)
    assert any("ended early; going on after epoch" in note for note in view.notes)
    assert view.recipe == RECIPE
    assert int(view.report["environment"]["threads"]) == process.default_threads()


def test_cancel_is_answered_at_once_and_keeps_what_was_finished(store: Store) -> None:
    run_id = dispatcher.submit(LONG, store=store)
    record = wait_for_epoch(store, run_id, 2)
    view = read_run(run_id, store=store)
    assert view.fraction is not None
    assert 0 < view.fraction < 1
    assert dispatcher.cancel(run_id, store=store).state == "cancelling"
    until(lambda: dispatcher.poll(run_id, store=store).is_finished)
    until(lambda: not process.is_alive(record.pid, record.mark))
    view = read_run(run_id, store=store)
    assert view.record.state == "cancelled"
    assert len(view.epochs) >= view.record.epoch >= 2
    assert view.record.error == ""
    assert view.files == ()
    dispatcher.delete(run_id, store=store)
    assert dispatcher.list_runs(store=store) == ()


def test_a_recipe_that_cannot_be_carried_out_fails_with_its_sentence(store: Store) -> None:
    wanted = RECIPE.replace(model="python:os:getcwd", input_shape=(3,))
    record = wait_for_end(store, dispatcher.submit(wanted, store=store))
    assert record.state == "failed"
    assert "only the command line and Python load them" in record.error
    assert "Traceback" not in (store.folder(record.id) / "worker.log").read_text()


DEAF = """
import sys, time
import pruning_core.runs.attempt as attempt
from pruning_core.runs import worker
def run(self):
    self._note("deaf")
    time.sleep(600)
attempt.Attempt.run = run
raise SystemExit(worker.main(sys.argv[1:]))
"""


def test_a_worker_deep_in_one_operation_is_cancelled_too(store: Store) -> None:
    record = store.add(RECIPE, threads=1)

    def spawn(store: Store, record: Record) -> "subprocess.Popen[bytes]":
        command = [sys.executable, "-c", DEAF, record.id, str(record.attempt)]
        environment = os.environ | {"PRUNING_STUDIO_STATE": str(store.root)}
        return subprocess.Popen(command, start_new_session=True, env=environment)

    dispatcher.dispatch(store, limit=1, spawn=spawn)
    until(lambda: any(e["kind"] == "note" for e in read_log(log_of(store, record.id))))
    running = store.get(record.id)
    store.ask_to_cancel(record.id)
    until(lambda: store.get(record.id).state == "cancelled")
    until(lambda: not process.is_alive(running.pid, running.mark))


def log_of(store: Store, run_id: str) -> Path:
    return store.folder(run_id) / "log.jsonl"


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (ValueError("a secret path"), "An error inside the program ended the run"),
        (MemoryError(), "The memory ran out."),
        (RunError("Say this."), "Say this."),
    ],
)
def test_an_error_ends_the_run_with_a_sentence_and_nothing_of_its_inside(
    store: Store, monkeypatch: pytest.MonkeyPatch, error: Exception, sentence: str
) -> None:
    def fails(self: object) -> str:
        raise error

    monkeypatch.setattr("pruning_core.runs.attempt.Attempt.run", fails)
    monkeypatch.setattr(worker, "_be_modest", lambda: None)
    monkeypatch.setenv("PRUNING_STUDIO_STATE", str(store.root))
    store.add(RECIPE, threads=1)
    record = store.claim(1)
    assert record is not None
    assert worker.main([record.id, "1"]) == 0
    record = store.get(record.id)
    assert record.state == "failed"
    assert record.error.startswith(sentence)
    assert "secret" not in record.error
    assert read_run(record.id, store=store).log[-1].endswith(record.error)


def test_a_worker_of_an_attempt_that_was_given_up_does_nothing(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "_be_modest", lambda: None)
    monkeypatch.setenv("PRUNING_STUDIO_STATE", str(store.root))
    store.add(RECIPE, threads=1)
    record = store.claim(1)
    assert record is not None
    store.requeue(record.id, 1)
    assert worker.main([record.id, "1"]) == 0
    assert store.get(record.id).state == "queued"
    assert not log_of(store, record.id).exists()


def test_a_line_cut_by_a_kill_is_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    with Log(path, 1) as log:
        log.add("note", text="whole")
    with path.open("a") as file:
        file.write('{"kind": "note", "te')
    with Log(path, 2) as log:
        log.add("note", text="after")
    entries = read_log(path)
    assert [entry["text"] for entry in entries] == ["whole", "after"]
    assert [entry["attempt"] for entry in entries] == [1, 2]
    assert read_log(tmp_path / "none") == ()


def test_progress_and_time_left_are_read_from_the_log(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = itertools.count(1000.0, 2.0)
    monkeypatch.setattr("pruning_core.runs.log.time.time", lambda: next(clock))
    wanted = RECIPE.replace(tuning=Tuning(epochs=4, batch_size=50))
    store.add(wanted, threads=1)
    record = store.claim(1)
    assert record is not None
    run_id = record.id
    store.set_stage(run_id, 1, "tune")
    with Log(log_of(store, run_id), 1) as log:
        log.add("stage", stage="tune", title="fine-tuning", round=1)
        for batch in (1, 6):  # two seconds apart: 0.4 s for a batch
            log.add("batch", epoch=1, batch=batch, n_batches=10, loss=1.0)
    view = read_run(run_id, store=store)
    assert view.stage_title == "fine-tuning"
    assert view.fraction == pytest.approx(0.6 / 4)
    assert view.examples_per_second == pytest.approx(50 / 0.4)
    assert view.seconds_left == pytest.approx(34 * 0.4)
    with Log(log_of(store, run_id), 1) as log:
        values = {"loss": 1.0, "accuracy": 0.5, "validation_loss": 1.0, "learning_rate": 0.1}
        values |= {"validation_accuracy": 0.5, "seconds": 5.0, "examples_per_second": 90.0}
        for loss in (2.0, 1.0):  # the epoch was done twice: a kill before its checkpoint
            log.add("epoch", epoch=1, n_epochs=4, **(values | {"loss": loss}))
    store.set_epoch(run_id, 1, 1)
    view = read_run(run_id, store=store)
    assert [result.loss for result in view.epochs] == [1.0]
    assert view.fraction == 0.25
    assert view.examples_per_second == 90
    assert view.seconds_left == pytest.approx(30 * 0.5)


def test_a_paused_run_frees_its_worker_and_ends_with_the_same_bits(
    store: Store, tmp_path: Path
) -> None:
    run_id = dispatcher.submit(RECIPE, store=store)
    working = wait_for_epoch(store, run_id, 3)
    dispatcher.pause(run_id, store=store)
    until(lambda: dispatcher.poll(run_id, store=store).state == "paused")
    until(lambda: not process.is_alive(working.pid, working.mark))
    paused = store.get(run_id)
    assert (paused.pid, paused.is_finished, paused.epoch >= 3) == (None, False, True)
    assert checkpoint_files(store.folder(run_id))

    other = RECIPE.replace(tuning=Tuning(epochs=1))
    assert wait_for_end(store, dispatcher.submit(other, store=store)).state == "done"
    assert dispatcher.poll(run_id, store=store).state == "paused"

    dispatcher.resume(run_id, store=store)
    record = wait_for_end(store, run_id)
    assert (record.state, record.attempt) == ("done", 2)
    (finished,) = [event for event in execute(RECIPE) if isinstance(event, Finished)]
    write_safetensors(finished.result, tmp_path / "model.safetensors")
    written = store.folder(run_id) / "export" / "model.safetensors"
    assert sha256(written) == sha256(tmp_path / "model.safetensors")
    notes = read_run(run_id, store=store).notes
    assert any(note.startswith("Resumed; going on after epoch") for note in notes)


def test_a_run_that_is_being_paused_can_be_cancelled_and_a_waiting_one_is_paused_at_once(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dispatcher, "dispatch", lambda store: None)
    first, second = (dispatcher.submit(RECIPE, store=store) for _ in range(2))
    claimed = store.claim(1)
    assert claimed is not None
    waiting = second if claimed.id == first else first
    assert dispatcher.pause(waiting, store=store).state == "paused"
    assert dispatcher.pause(claimed.id, store=store).state == "pausing"
    assert dispatcher.cancel(claimed.id, store=store).state == "cancelling"
    assert not store.pause(claimed.id, 1)
    assert dispatcher.cancel(waiting, store=store).state == "cancelled"
    assert dispatcher.resume(waiting, store=store).state == "cancelled"


def caused_by_a_full_disk() -> RunError:
    error = RunError("The files cannot be written.")
    error.__cause__ = OSError(errno.ENOSPC, "No space left on device")
    return error


@pytest.mark.parametrize(
    "error", [OSError(errno.EDQUOT, "Disk quota exceeded"), caused_by_a_full_disk()]
)
def test_a_full_disk_pauses_the_run_with_a_sentence(
    store: Store, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fails(self: object) -> str:
        raise error

    monkeypatch.setattr("pruning_core.runs.attempt.Attempt.run", fails)
    monkeypatch.setattr(worker, "_be_modest", lambda: None)
    monkeypatch.setattr(worker, "dispatch", lambda store: None)
    monkeypatch.setenv("PRUNING_STUDIO_STATE", str(store.root))
    store.add(RECIPE, threads=1)
    record = store.claim(1)
    assert record is not None
    assert worker.main([record.id, "1"]) == 0
    record = store.get(record.id)
    assert (record.state, record.pid) == ("paused", None)
    assert record.error.startswith("The disk is full. What was finished is kept")
    assert store.resume(record.id).error == ""


def weights_of(store: Store, run_id: str) -> str:
    return sha256(store.folder(run_id) / "export" / "model.safetensors")


def test_a_fork_goes_on_from_a_kept_epoch_with_its_own_fine_tuning(store: Store) -> None:
    rounds = RECIPE.replace(schedule=Schedule(rounds=2), tuning=Tuning(epochs=3))
    parent = dispatcher.submit(rounds, store=store)
    assert wait_for_end(store, parent).state == "done"
    assert dispatcher.forkable(parent, store=store) == (3, 6)

    same = dispatcher.fork(parent, 3, rounds, store=store)
    record = wait_for_end(store, same)
    assert (record.state, record.parent, record.parent_epoch, record.epoch, record.n_epochs) == (
        *("done", parent, 3, 6, 6),
    )
    assert weights_of(store, same) == weights_of(store, parent)

    longer = rounds.replace(tuning=Tuning(epochs=4, optimiser="sgd", weight_decay=0.01))
    dispatcher.delete(parent, store=store)
    other = dispatcher.fork(same, 6, longer, store=store)
    kill_worker(wait_for_epoch(store, other, 6))
    record = wait_for_end(store, other)
    assert (record.state, record.n_epochs, record.epoch) == ("done", 7, 7)
    assert weights_of(store, other) != weights_of(store, same)
    view = read_run(other, store=store)
    assert [epoch.epoch for epoch in view.epochs] == [1, 2, 3, 4, 5, 6, 7]
    assert f"Forked from run {same} after epoch 6." in view.notes
    assert view.metrics["dense"].accuracy == record.dense


@pytest.mark.parametrize(
    ("epoch", "changes", "sentence"),
    [
        (2, {}, "Nothing is kept of epoch 2 of run .* it can be forked after: 3"),
        (3, {"seed": 5}, "settings of fine-tuning, and nothing else"),
        (3, {"tuning": Tuning(epochs=2)}, "3 epochs of round 1 are done"),
    ],
)
def test_a_fork_that_makes_no_sense_is_refused(
    store: Store, monkeypatch: pytest.MonkeyPatch, epoch: int, changes: dict, sentence: str
) -> None:
    monkeypatch.setattr(dispatcher, "dispatch", lambda store: None)
    recipe = RECIPE.replace(tuning=Tuning(epochs=3, train_samples=200))
    run_id = dispatcher.submit(recipe, store=store)
    *_, last = (event for event in execute(recipe) if isinstance(event, Checkpoint))
    save_checkpoint(store.folder(run_id), last)
    with pytest.raises(RunError, match=sentence):
        dispatcher.fork(run_id, epoch, recipe.replace(**changes), store=store)
    assert len(store.all()) == 1
