"""The store: states, claims, damage, limits."""

import json
import os
import shutil
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

from pruning_core.errors import RunError
from pruning_core.planning.recipe import Budget, Count, Ratio, Recipe, Schedule, Threshold, Tuning
from pruning_core.runs import atomic, process
from pruning_core.runs.store import (
    MOMENTS,
    QUEUE_LIMIT,
    Record,
    Store,
    read_spec,
    state_folder,
    title_of,
)

RECIPE = Recipe(model="bundled:mlp_digits", target=Ratio(value=0.5))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "state")


def claimed(store: Store) -> Record:
    store.add(RECIPE, threads=1)
    record = store.claim(1)
    assert record is not None
    return record


def test_a_new_run_is_queued_with_everything_needed_to_rebuild_it(store: Store) -> None:
    recipe = RECIPE.replace(schedule=Schedule(rounds=2), tuning=Tuning(epochs=5))
    record = store.add(recipe, threads=3)
    assert (record.state, record.epoch, record.n_epochs, record.attempt) == ("queued", 0, 10, 0)
    assert record.fingerprint == recipe.fingerprint
    spec = read_spec(store.folder(record.id) / "spec.json")
    assert (spec.id, spec.threads, spec.recipe, spec.device) == (record.id, 3, recipe, "")
    other = store.add(recipe, threads=3, device="cpu")
    assert read_spec(store.folder(other.id) / "spec.json").device == "cpu"


def test_the_state_folder_is_private_to_the_user(store: Store) -> None:
    assert store.root.stat().st_mode & 0o777 == 0o700


def test_the_state_folder_follows_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", "/some/state")
    monkeypatch.delenv("PRUNING_STUDIO_STATE", raising=False)
    assert state_folder() == Path("/some/state/pruning-studio")
    monkeypatch.setenv("PRUNING_STUDIO_STATE", "/elsewhere")
    assert state_folder() == Path("/elsewhere")


def test_a_state_folder_that_cannot_be_made_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(RunError, match="PRUNING_STUDIO_STATE"):
        Store(tmp_path / "file" / "state")


def test_a_run_walks_from_queued_to_done(store: Store) -> None:
    record = claimed(store)
    assert (record.state, record.attempt, record.stalled) == ("running", 1, 1)
    assert store.set_worker(record.id, 1, 42, "mark")
    assert store.set_stage(record.id, 1, "tune")
    assert store.set_epoch(record.id, 1, 2)
    record = store.get(record.id)
    assert (record.stage, record.epoch, record.stalled, record.pid) == ("tune", 2, 0, 42)
    assert store.finish(record.id, 1, "done")
    record = store.get(record.id)
    assert (record.state, record.pid, record.is_finished) == ("done", None, True)
    result = json.loads((store.folder(record.id) / "result.json").read_text())
    assert (result["state"], result["epoch"]) == ("done", 2)


def test_an_epoch_done_again_after_a_fall_back_is_no_progress(store: Store) -> None:
    record = claimed(store)
    store.set_epoch(record.id, 1, 3)
    store.requeue(record.id, 1)
    store.claim(1)
    store.set_epoch(record.id, 2, 3)
    assert (store.get(record.id).epoch, store.get(record.id).stalled) == (3, 1)


def test_a_worker_that_was_given_up_changes_nothing_any_more(store: Store) -> None:
    record = claimed(store)
    assert store.requeue(record.id, 1)
    assert store.is_cancelling(record.id, 1)
    store.claim(1)
    before = store.get(record.id)
    assert not store.set_stage(record.id, 1, "late")
    assert not store.set_epoch(record.id, 1, 9)
    assert not store.set_worker(record.id, 1, 9, "late")
    assert not store.finish(record.id, 1, "done")
    assert not store.requeue(record.id, 1)
    assert store.get(record.id) == before
    assert not store.is_cancelling(record.id, 2)


def test_cancel_ends_a_queued_run_and_marks_a_running_one(store: Store) -> None:
    running = claimed(store)
    queued = store.add(RECIPE, threads=1)
    assert store.ask_to_cancel(queued.id).state == "cancelled"
    assert store.ask_to_cancel(running.id).state == "cancelling"
    assert store.is_cancelling(running.id, 1)
    assert store.finish(running.id, 1, "cancelled")
    assert store.ask_to_cancel(running.id).state == "cancelled"


def test_a_finished_run_stays_as_it_ended(store: Store) -> None:
    record = claimed(store)
    store.finish(record.id, 1, "failed", "No room.")
    assert not store.finish(record.id, 1, "done")
    assert not store.requeue(record.id, 1)
    assert store.ask_to_cancel(record.id).state == "failed"
    assert store.claim(1) is None


def test_no_more_runs_are_claimed_than_the_limit_and_the_oldest_first(store: Store) -> None:
    ids = [store.add(RECIPE, threads=1).id for _ in range(3)]
    order = [record.id for record in reversed(store.all())]
    assert sorted(order) == sorted(ids)
    first, second = store.claim(2), store.claim(2)
    assert first is not None
    assert second is not None
    assert [first.id, second.id] == order[:2]
    assert store.claim(2) is None


def test_a_deleted_run_is_gone_and_a_running_one_is_not_deleted(store: Store) -> None:
    record = claimed(store)
    with pytest.raises(RunError, match=r"is running\. Cancel it before"):
        store.delete(record.id)
    store.finish(record.id, 1, "done")
    store.delete(record.id)
    assert store.all() == ()
    assert not store.folder(record.id).exists()
    with pytest.raises(RunError, match="No run is called"):
        store.get(record.id)


@pytest.mark.parametrize("name", ["", "..", "../../etc", "20260101-000000-zzzzzz", "a" * 10_000])
def test_a_run_id_that_is_not_ours_is_refused(store: Store, name: str) -> None:
    for call in (store.get, store.delete, store.folder, store.ask_to_cancel):
        with pytest.raises(RunError, match="No run is called"):
            call(name)


def test_the_queue_has_a_limit(store: Store) -> None:
    for _ in range(QUEUE_LIMIT):
        store.add(RECIPE, threads=1)
    with pytest.raises(RunError, match=r"20 runs are waiting already\. Cancel one"):
        store.add(RECIPE, threads=1)
    assert len(list((store.root / "runs").iterdir())) == QUEUE_LIMIT


def test_a_newer_schema_is_refused_and_left_alone(store: Store) -> None:
    with sqlite3.connect(store.root / "jobs.sqlite3") as connection:
        connection.execute("PRAGMA user_version = 7")
    connection.close()
    with pytest.raises(RunError, match=r"newer version \(schema 7; this program knows 4\)"):
        Store(store.root)


@pytest.mark.parametrize("damage", ["rubbish", "cut", "pages"])
def test_a_damaged_database_is_moved_aside_and_rebuilt(store: Store, damage: str) -> None:
    done, running, queued = (store.add(RECIPE, threads=1).id for _ in range(3))
    done, running = (record.id for record in (store.claim(2), store.claim(2)) if record)
    store.set_epoch(done, 1, 3)
    store.finish(done, 1, "done")
    (queued,) = (record.id for record in store.in_state("queued"))
    damage_database(store.root / "jobs.sqlite3", damage)
    rebuilt = Store(store.root)
    states = {record.id: record.state for record in rebuilt.all()}
    assert states == {done: "done", running: "queued", queued: "queued"}
    assert rebuilt.get(done).epoch == 3
    (notice,) = rebuilt.notices()
    assert "was damaged" in notice
    assert "3 runs" in notice
    assert list(store.root.glob("jobs.broken-*.sqlite3"))
    assert Store(store.root).notices() == (notice,)


def damage_database(path: Path, damage: str) -> None:
    content = path.read_bytes()
    if damage == "rubbish":
        path.write_bytes(b"not a database at all" * 100)
    elif damage == "cut":
        path.write_bytes(content[:4096])
    else:
        path.write_bytes(content[:4096] + os.urandom(len(content) - 4096))


def test_damage_while_the_store_is_open_is_said_and_repaired(store: Store) -> None:
    record = store.add(RECIPE, threads=1)
    damage_database(store.root / "jobs.sqlite3", "rubbish")
    with pytest.raises(RunError, match="was damaged and had to be rebuilt"):
        store.all()
    assert [found.id for found in store.all()] == [record.id]


def test_an_unreadable_spec_is_a_sentence(store: Store) -> None:
    record = store.add(RECIPE, threads=1)
    path = store.folder(record.id) / "spec.json"
    path.write_text('{"id": 3}')
    with pytest.raises(RunError, match=f"run {record.id} cannot be read"):
        read_spec(path)


CLAIMER = """
import sys
from pathlib import Path
from pruning_core.runs.store import Store
store = Store(Path(sys.argv[1]))
while (record := store.claim(10**6)) is not None:
    print(record.id)
"""


def test_many_processes_claim_each_run_once(store: Store) -> None:
    ids: set[str] = set()
    while len(ids) < 60:
        ids |= {store.add(RECIPE, threads=1).id for _ in range(QUEUE_LIMIT)}
        command = [sys.executable, "-c", CLAIMER, str(store.root)]
        claimers = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(4)]
        names = [name for child in claimers for name in child.communicate()[0].split()]
        assert all(child.returncode == 0 for child in claimers)
        assert len(names) == len(set(names)) == QUEUE_LIMIT
    assert store.n_in("running") == len(ids)


def test_a_partial_write_leaves_the_old_file_and_no_rubbish(tmp_path: Path) -> None:
    path = tmp_path / "file"
    atomic.write_bytes(path, b"old")

    def fails(partial: Path) -> None:
        partial.write_bytes(b"ne")
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        atomic.publish(path, fails)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_process_is_told_apart_from_a_later_one_of_the_same_id() -> None:
    own = process.start_mark(os.getpid())
    assert own is not None
    assert process.is_alive(os.getpid(), own)
    assert not process.is_alive(os.getpid(), own + "0")
    assert not process.is_alive(None, None)


def test_a_zombie_counts_as_dead() -> None:
    child = subprocess.Popen([sys.executable, "-c", ""])
    deadline = time.monotonic() + 20
    while process.start_mark(child.pid) is not None and time.monotonic() < deadline:
        time.sleep(0.02)
    assert process.start_mark(child.pid) is None
    child.wait()


@pytest.mark.parametrize(
    ("target", "words"),
    [
        (Ratio(value=0.5), "50 % removed"),
        (Count(value=7), "7 removed"),
        (Threshold(value=0.25), "scores below 0.25 removed"),
        (Budget(kind="macs", value=0.5), "at most 50 % of the MACs left"),
    ],
)
def test_the_title_says_what_was_asked_for(
    target: Ratio | Count | Threshold | Budget, words: str
) -> None:
    assert title_of(Recipe(model="m", target=target)) == f"m: weights by L1 norm, {words}"
    own = Recipe(model="m", target=target, pins=("a",), layers={"b": Count(value=1)})
    assert title_of(own) == f"m: weights by L1 norm, {words}, 2 layers of their own"
    one = Recipe(model="m", target=target, pins=("a",))
    assert title_of(one) == f"m: weights by L1 norm, {words}, 1 layer of its own"


def test_the_start_is_that_of_the_first_worker(store):
    record = claimed(store)
    store.requeue(record.id, 1)
    again = store.claim(1)
    assert (again.attempt, again.started) == (2, record.started)


def test_a_copied_run_folder_is_not_restored_twice(store):
    record = store.add(RECIPE, threads=1)
    shutil.copytree(store.folder(record.id), store.folder("20260101-000000-abcdef"))
    damage_database(store.root / "jobs.sqlite3", "rubbish")
    assert [found.id for found in Store(store.root).all()] == [record.id]


def test_a_run_being_cancelled_still_takes_its_place(store):
    record = claimed(store)
    store.add(RECIPE, threads=1)
    store.ask_to_cancel(record.id)
    assert store.claim(1) is None


def test_a_store_of_the_first_version_is_brought_up_to_date(tmp_path: Path) -> None:
    store = Store(tmp_path)
    record = store.add(RECIPE, threads=1)
    with closing(sqlite3.connect(tmp_path / "jobs.sqlite3")) as connection:
        for index in ("runs_by_recipe", "runs_by_group"):
            connection.execute(f"DROP INDEX {index}")
        for column in (
            "group_id",
            "label",
            "parent",
            "parent_epoch",
            "paused_attempt",
            *MOMENTS,
            "task",
        ):
            connection.execute(f"ALTER TABLE runs DROP COLUMN {column}")
        connection.execute("PRAGMA user_version = 1")
        connection.commit()
    again = Store(tmp_path)
    assert again.get(record.id) == record
    assert again.notices() == ()
