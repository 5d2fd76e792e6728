"""Does a run survive what happens? Kills, damage, full disks, cancels, and a thousand old runs.

Usage: python -m benchmarks.reliability [--full] [--only kills] [--write docs/benchmarks]

Every run is a real one: a worker process, its checkpoints, its record. A run that was disturbed has
to end with the weights (SHA-256 of the file) of one that never was. The short form takes about a
minute; ``--full`` is 200 worker kills, 20 server kills, 20 damaged checkpoints, 5 full disks and
100 cancels.
"""

import argparse
import contextlib
import hashlib
import os
import random
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from pruning_core.exporting.formats.safetensors import write_safetensors
from pruning_core.planning.recipe import Ratio, Recipe, Tuning
from pruning_core.runs import dispatcher, process
from pruning_core.runs.checkpoint import checkpoint_files
from pruning_core.runs.events import Finished
from pruning_core.runs.pipeline import execute
from pruning_core.runs.store import WORKING, Record, Store

_SERVER = """
import sys, time
from pruning_core.planning.recipe import Recipe
from pruning_core.runs import dispatcher
recipe = Recipe.from_json(sys.argv[1])
print(dispatcher.submit(recipe), flush=True)
while True:
    dispatcher.list_runs()
    time.sleep(0.05)
"""
_DISK_BYTES = 96_000_000


@dataclass(frozen=True, slots=True)
class Amounts:
    """How often each thing is done."""

    runs: int
    kills: int
    servers: int
    damages: int
    disks: int
    cancels: int
    epochs: int


SHORT = Amounts(runs=2, kills=6, servers=2, damages=2, disks=1, cancels=4, epochs=40)
FULL = Amounts(runs=20, kills=200, servers=20, damages=20, disks=5, cancels=100, epochs=150)


@dataclass(slots=True)
class Tally:
    """What was done, and what went wrong; ``problems`` must stay empty."""

    counts: dict[str, int] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    seconds: dict[str, list[float]] = field(default_factory=dict)

    def add(self, name: str, n: int = 1) -> None:
        """Count something that was done."""
        self.counts[name] = self.counts.get(name, 0) + n

    def note(self, name: str, seconds: float) -> None:
        """Keep a time."""
        self.seconds.setdefault(name, []).append(seconds)


def recipe_of(amounts: Amounts, seed: int) -> Recipe:
    """Return the recipe of the runs that are disturbed; ``seed`` makes their weights differ."""
    return Recipe(
        model="bundled:mlp_digits",
        granularity="weight",
        target=Ratio(value=0.8),
        tuning=Tuning(epochs=amounts.epochs),
        seed=seed,
    )


def expected_weights(recipe: Recipe, folder: Path) -> str:
    """Return the digest of the file that an undisturbed run writes."""
    for event in execute(recipe):
        if isinstance(event, Finished):
            write_safetensors(event.result, folder / "expected.safetensors")
    return sha256(folder / "expected.safetensors")


def sha256(path: Path) -> str:
    """Return the digest of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def until(condition: Callable[[], object], seconds: float) -> bool:
    """Wait for a condition; False when it did not come true in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def end_all(store: Store) -> None:
    """End the workers that are left."""
    for record in store.in_state(*WORKING):
        if record.pid and record.mark:
            process.kill(record.pid, record.mark)


def check_end(store: Store, run_id: str, expected: str, tally: Tally, what: str) -> None:
    """Wait until a run ends and compare its weights."""
    until(lambda: dispatcher.poll(run_id, store=store).is_finished, 900)
    record = store.get(run_id)
    if record.state != "done":
        tally.problems.append(f"{what}: {run_id} is {record.state}: {record.error}")
    elif sha256(store.folder(run_id) / "export" / "model.safetensors") != expected:
        tally.problems.append(f"{what}: the weights of {run_id} differ")
    else:
        tally.add("runs that ended with the same weights")


def disturb_workers(
    store: Store, amounts: Amounts, expected: str, draw: random.Random, tally: Tally
) -> None:
    """Kill workers at random moments, and damage the newest checkpoint after some of the kills."""
    recipe = recipe_of(amounts, 0)
    for number in range(amounts.runs):
        kills = amounts.kills // amounts.runs
        damages = amounts.damages // amounts.runs
        damaged = 0
        run_id = dispatcher.submit(recipe, store=store)
        for _ in range(kills):
            record = _at_work(store, run_id, draw, epochs=amounts.epochs // (2 * kills))
            if record is None:
                break
            os.kill(record.pid or 0, signal.SIGKILL)
            until(partial(_is_gone, record), 10)
            tally.add("worker kills")
            files = checkpoint_files(store.folder(run_id))
            if damaged < damages and files:
                _damage(files[-1], draw)
                damaged += 1
                tally.add("damaged checkpoints")
        check_end(store, run_id, expected, tally, f"kills, run {number + 1}")


def _at_work(store: Store, run_id: str, draw: random.Random, epochs: int) -> Record | None:
    """Return the record of a working run at a random moment; None when it has ended.

    The moment is at most 4 s (then mostly in the worker's start) and ``epochs`` epochs ahead,
    whichever comes first: on a fast machine the run would be over otherwise.
    A run is given up when three workers in a row finish no epoch, as one that runs out of memory
    is; so the third of them is left until it has finished one.
    """
    until(lambda: _seen(store, run_id), 60)
    record = store.get(run_id)
    if record.stalled >= dispatcher.STARTS_WITHOUT_EPOCH - 1:
        until(lambda: store.get(run_id).stalled == 0 or store.get(run_id).is_finished, 120)
    goal = store.get(run_id).epoch + draw.randint(1, max(1, epochs))
    until(lambda: store.get(run_id).epoch >= goal, draw.uniform(0, 4.0))
    record = store.get(run_id)
    if not process.is_alive(record.pid, record.mark):
        return None if record.is_finished else _at_work(store, run_id, draw, epochs)
    return record


def _seen(store: Store, run_id: str) -> bool:
    record = dispatcher.poll(run_id, store=store)
    return record.is_finished or process.is_alive(record.pid, record.mark)


def _is_finished(store: Store, run_id: str) -> bool:
    return dispatcher.poll(run_id, store=store).is_finished


def _is_gone(record: Record) -> bool:
    return not process.is_alive(record.pid, record.mark)


def _damage(path: Path, draw: random.Random) -> None:
    """Cut a file, empty it, turn one bit of it, or put rubbish in its place."""
    content = bytearray(path.read_bytes())
    kind = draw.randrange(4)
    if kind == 0:
        content = content[: draw.randrange(len(content))]
    elif kind == 1:
        content = bytearray()
    elif kind == 2:
        content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
    else:
        content = bytearray(b"rubbish")
    path.write_bytes(content)


def kill_servers(
    store: Store, amounts: Amounts, expected: str, draw: random.Random, tally: Tally
) -> None:
    """Kill servers that queue runs and look after them; what they said is queued must end."""
    told = []
    text = recipe_of(amounts, 0).to_json()
    for _ in range(amounts.servers):
        server = subprocess.Popen(
            [sys.executable, "-c", _SERVER, text],
            stdout=subprocess.PIPE,
            env=os.environ | {"PRUNING_STUDIO_STATE": str(store.root)},
        )
        assert server.stdout is not None
        if draw.random() < 0.75:
            told.append(server.stdout.readline().decode().strip())
            time.sleep(draw.uniform(0, 1.0))
        else:
            time.sleep(draw.uniform(0.2, 1.0))  # perhaps in the middle of queueing
        server.kill()
        told += [line.strip() for line in server.stdout.read().decode().splitlines() if line]
        server.wait()
        tally.add("server kills")
    for run_id in filter(None, told):
        check_end(store, run_id, expected, tally, "server kills")
    recorded = {record.id for record in store.all()}
    tally.problems += [f"the record of {run_id} is lost" for run_id in set(told) - recorded - {""}]
    for record in store.all():
        if not record.is_finished:  # queued, but its server died before it could say so
            check_end(store, record.id, expected, tally, "server kills")


def fill_disks(amounts: Amounts, expected: str, tally: Tally) -> None:
    """Fill the disk under a run; with room again and resumed, it has to end as if nothing was."""
    if os.geteuid() != 0:
        tally.add("full disks left out, because only root can mount a small one", amounts.disks)
        return
    for _ in range(amounts.disks):
        with small_disk() as root:
            _fill_one(root, amounts, expected, tally)


def _fill_one(root: Path, amounts: Amounts, expected: str, tally: Tally) -> None:
    store = Store(root / "state")
    record = store.add(recipe_of(amounts, 0), threads=process.default_threads())
    dispatcher.dispatch(store)
    until(lambda: store.get(record.id).epoch >= 2, 60)
    working = store.get(record.id)
    filler = root / "filler"
    with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
        while file.write(bytes(65_536)):
            pass
    if not until(lambda: not process.is_alive(working.pid, working.mark), 60):
        tally.problems.append("a worker went on with a full disk")
    filler.unlink()
    state = dispatcher.poll(record.id, store=store).state
    # With not a byte left even the record could not be changed: then the poll did that.
    tally.add(f"full disks after which the run was {state}")
    dispatcher.resume(record.id, store=store)
    check_end(store, record.id, expected, tally, "full disk")


@contextlib.contextmanager
def small_disk() -> Iterator[Path]:
    """Yield the folder of a disk in memory with room for one run."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={_DISK_BYTES}", "tmpfs", folder], check=True
        )
        try:
            yield Path(folder)
        finally:
            subprocess.run(["umount", "-l", folder], check=True)


def cancel_runs(store: Store, amounts: Amounts, draw: random.Random, tally: Tally) -> None:
    """Cancel runs at random moments; measure until the record says so and the process is gone."""
    recipe = recipe_of(amounts, 1).replace(tuning=Tuning(epochs=1000))
    for _ in range(amounts.cancels):
        run_id = dispatcher.submit(recipe, store=store)
        record = _at_work(store, run_id, draw, epochs=100)
        if record is None:
            tally.problems.append(f"the run to cancel, {run_id}, ended by itself")
            continue
        asked = time.monotonic()
        dispatcher.cancel(run_id, store=store)
        until(partial(_is_finished, store, run_id), 20)
        tally.note("cancel", time.monotonic() - asked)
        if store.get(run_id).state != "cancelled":
            tally.problems.append(f"{run_id} was cancelled and is {store.get(run_id).state}")
        if until(partial(_is_gone, record), 5):
            tally.note("worker gone", time.monotonic() - asked)
        else:
            tally.problems.append(f"the worker of {run_id} was there 5 s after the cancel")
        tally.add("cancels")


def measure(amounts: Amounts, only: set[str], seed: int = 0) -> Tally:
    """Do everything, or what ``only`` names, with all state in a folder of its own."""
    tally, draw = Tally(), random.Random(seed)
    with tempfile.TemporaryDirectory(prefix="reliability-") as name:
        folder = Path(name)
        expected = expected_weights(recipe_of(amounts, 0), folder)
        store = Store(folder / "state")
        try:
            if "kills" in only:
                disturb_workers(store, amounts, expected, draw, tally)
            if "servers" in only:
                kill_servers(Store(folder / "servers"), amounts, expected, draw, tally)
            if "disks" in only:
                fill_disks(amounts, expected, tally)
            if "cancels" in only:
                cancel_runs(store, amounts, draw, tally)
        finally:
            end_all(store)
            shutil.rmtree(folder / "state", ignore_errors=True)
    return tally


def report(tally: Tally) -> str:
    """Return what was found as Markdown."""
    lines = ["| what | result |", "|---|---|"]
    lines += [f"| {name} | {n} |" for name, n in tally.counts.items()]
    for name, times in tally.seconds.items():
        ordered = sorted(times)
        high = ordered[min(len(ordered) - 1, int(0.95 * len(ordered)))]
        lines.append(
            f"| {name}, n = {len(times)} | median {statistics.median(times):.2f} s, "
            f"95 % within {high:.2f} s, longest {ordered[-1]:.2f} s |"
        )
    lines.append(f"| problems | {len(tally.problems)} |")
    return "\n".join([*lines, *(f"\n- {problem}" for problem in tally.problems)])


def main() -> None:
    """Measure, print, and end with code 1 when something went wrong."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--full", action="store_true", help="the whole set; about an hour")
    parser.add_argument("--only", action="append", choices=["kills", "servers", "disks", "cancels"])
    parser.add_argument("--write", type=Path, help="folder for reliability.md")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    only = set(arguments.only or ["kills", "servers", "disks", "cancels"])
    tally = measure(FULL if arguments.full else SHORT, only, arguments.seed)
    text = report(tally)
    print(text)
    if arguments.write:
        title = "# Reliability\n\n`python -m benchmarks.reliability --full`\n\n"
        (arguments.write / "reliability.md").write_text(title + text + "\n")
    sys.exit(1 if tally.problems else 0)


if __name__ == "__main__":
    main()
