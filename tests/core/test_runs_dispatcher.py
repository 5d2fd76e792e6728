"""The dispatcher with stand-in workers: claims, dead workers, limits, cancelling."""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pruning_core.errors import RunError
from pruning_core.planning.recipe import Ratio, Recipe
from pruning_core.runs import dispatcher, process
from pruning_core.runs.dispatcher import dispatch
from pruning_core.runs.store import Record, Store

RECIPE = Recipe(model="bundled:mlp_digits", target=Ratio(value=0.5))
SLEEP = "import time; time.sleep(600)"


class Workers:
    """Stand-ins for workers: processes that run ``code``."""

    def __init__(self, code: str = SLEEP) -> None:
        self.code = code
        self.started: list[tuple[str, int]] = []
        self.children: list[subprocess.Popen[bytes]] = []

    def __call__(self, store: Store, record: Record) -> "subprocess.Popen[bytes]":
        self.started.append((record.id, record.attempt))
        command = [sys.executable, "-c", self.code]
        self.children.append(subprocess.Popen(command, start_new_session=True))
        return self.children[-1]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "state")


@pytest.fixture
def workers() -> Iterator[Workers]:
    workers = Workers()
    yield workers
    for child in workers.children:
        child.kill()
        child.wait()


def until(condition: Callable[[], bool], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "not within the time allowed"
        time.sleep(0.02)


def kill(child: "subprocess.Popen[bytes]") -> None:
    child.kill()
    until(lambda: process.start_mark(child.pid) is None)


def test_one_run_works_at_a_time_and_the_next_follows(store: Store, workers: Workers) -> None:
    first, second = store.add(RECIPE, threads=1), store.add(RECIPE, threads=1)
    order = sorted([first, second], key=lambda record: (record.created, record.id))
    dispatch(store, limit=1, spawn=workers)
    dispatch(store, limit=1, spawn=workers)
    assert workers.started == [(order[0].id, 1)]
    running = store.get(order[0].id)
    assert process.is_alive(running.pid, running.mark)
    store.finish(running.id, 1, "done")
    dispatch(store, limit=1, spawn=workers)
    assert workers.started[1:] == [(order[1].id, 1)]


def test_as_many_runs_work_as_allowed(store: Store, workers: Workers) -> None:
    for _ in range(3):
        store.add(RECIPE, threads=1)
    dispatch(store, limit=2, spawn=workers)
    assert (store.n_in("running"), store.n_in("queued")) == (2, 1)


def test_a_dead_worker_is_replaced(store: Store, workers: Workers) -> None:
    record = store.add(RECIPE, threads=1)
    dispatch(store, limit=1, spawn=workers)
    kill(workers.children[0])
    dispatch(store, limit=1, spawn=workers)
    assert workers.started == [(record.id, 1), (record.id, 2)]
    assert store.get(record.id).pid == workers.children[1].pid


def test_a_process_that_only_has_the_same_id_is_not_the_worker(
    store: Store, workers: Workers
) -> None:
    record = store.add(RECIPE, threads=1)
    dispatch(store, limit=1, spawn=workers)
    store.set_worker(record.id, 1, workers.children[0].pid, "an earlier boot:123")
    dispatch(store, limit=1, spawn=workers)
    assert store.get(record.id).attempt == 2


def test_a_run_without_progress_fails_after_three_workers(store: Store, workers: Workers) -> None:
    record = store.add(RECIPE, threads=1)
    for number in range(4):
        dispatch(store, limit=1, spawn=workers)
        if number < 3:
            kill(workers.children[number])
    record = store.get(record.id)
    assert (record.state, record.attempt) == ("failed", 3)
    assert record.error.startswith(
        "The worker was killed by signal 9, most likely because memory ran out, 3 times"
    )
    assert len(workers.children) == 3


def test_progress_gives_a_run_new_workers(store: Store, workers: Workers) -> None:
    record = store.add(RECIPE, threads=1)
    for number in range(5):
        dispatch(store, limit=1, spawn=workers)
        assert store.set_epoch(record.id, number + 1, number + 1)
        kill(workers.children[number])
    dispatch(store, limit=1, spawn=workers)
    record = store.get(record.id)
    assert (record.state, record.attempt) == ("running", 6)


def test_a_worker_of_another_server_is_said_to_have_ended(store: Store, workers: Workers) -> None:
    record = store.add(RECIPE, threads=1)
    for number in range(3):
        store.claim(1)
        store.set_worker(record.id, number + 1, 2**22 - 1, "gone:1")
        dispatch(store, limit=0, spawn=workers)
    assert "was ended from outside (or the machine restarted) 3 times" in store.get(record.id).error


def test_a_worker_that_ends_with_a_code_says_so(store: Store, workers: Workers) -> None:
    workers.code = "raise SystemExit(7)"
    record = store.add(RECIPE, threads=1)
    until(lambda: dispatch(store, limit=1, spawn=workers) or store.get(record.id).is_finished)
    assert "ended with exit code 7" in store.get(record.id).error


def test_a_worker_that_cannot_be_started_fails_its_run(store: Store) -> None:
    def no_process(store: Store, record: Record) -> "subprocess.Popen[bytes]":
        raise OSError(11, "Resource temporarily unavailable")

    record = store.add(RECIPE, threads=1)
    dispatch(store, limit=1, spawn=no_process)
    record = store.get(record.id)
    assert (record.state, record.error) == (
        "failed",
        "No worker could be started: Resource temporarily unavailable",
    )


def test_a_damaged_spec_fails_its_run_only(store: Store) -> None:
    record = store.add(RECIPE, threads=1)
    (store.folder(record.id) / "spec.json").write_text("{")
    dispatch(store, limit=1)
    record = store.get(record.id)
    assert record.state == "failed"
    assert "cannot be read" in record.error


def test_a_worker_that_ignores_a_cancel_is_ended(
    store: Store, workers: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dispatcher, "_CANCEL_GRACE_SECONDS", 0.1)
    record = store.add(RECIPE, threads=1)
    dispatch(store, limit=1, spawn=workers)
    store.ask_to_cancel(record.id)
    until(lambda: dispatch(store, limit=1, spawn=workers) or store.get(record.id).is_finished)
    assert store.get(record.id).state == "cancelled"
    until(lambda: workers.children[0].poll() is not None)


def test_a_cancelled_run_whose_worker_died_is_cancelled(store: Store, workers: Workers) -> None:
    record = store.add(RECIPE, threads=1)
    dispatch(store, limit=1, spawn=workers)
    kill(workers.children[0])
    store.ask_to_cancel(record.id)
    dispatch(store, limit=1, spawn=workers)
    assert store.get(record.id).state == "cancelled"
    assert len(workers.children) == 1


@pytest.mark.parametrize("text", ["0", "-1", "many", "1e3", "65", "9" * 5000, "²"])
def test_the_limit_must_be_a_sensible_number(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("PRUNING_STUDIO_JOBS", text)
    with pytest.raises(RunError, match="must be a number from 1 to 64"):
        dispatcher.job_limit()


def test_the_limit_is_one_unless_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PRUNING_STUDIO_JOBS", raising=False)
    assert dispatcher.job_limit() == 1
    monkeypatch.setenv("PRUNING_STUDIO_JOBS", "3")
    assert dispatcher.job_limit() == 3


def test_a_full_disk_is_said_before_a_run_is_queued(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dispatcher, "MIN_FREE_BYTES", 10**18)
    with pytest.raises(RunError, match=r"MB are free where runs are kept"):
        dispatcher.submit(RECIPE, store=store)
    assert store.all() == ()


def test_a_run_whose_worker_died_while_it_was_to_pause_is_paused(
    store: Store, workers: Workers
) -> None:
    record = store.add(RECIPE, threads=1)
    dispatch(store, limit=1, spawn=workers)
    store.ask_to_pause(record.id)
    kill(workers.children[0])
    dispatch(store, limit=1, spawn=workers)
    assert store.get(record.id).state == "paused"
    assert store.resume(record.id).state == "queued"
    dispatch(store, limit=1, spawn=workers)
    assert (store.get(record.id).attempt, store.get(record.id).stalled) == (2, 1)
