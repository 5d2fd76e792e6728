"""How the Plan page feels while two runs are at work: release to updated page, beside an idle one.

Usage: python -m benchmarks.beside_jobs [--releases 25] [--write FOLDER]

The same page is dragged in turns: nothing at work, then two workers that fine-tune LeNet-5, each
as the queue starts it, then nothing again, and so on.
"""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from benchmarks.browser import APP, chromium, serve
from benchmarks.measuring import Figure, publish
from benchmarks.ui import drags, open_plan
from pruning_core.planning.recipe import Ratio, Recipe, Tuning
from pruning_core.runs import dispatcher, process
from pruning_core.runs.store import Store

JOBS: Final = 2
BLOCKS: Final = 2
WORK: Final = Recipe(
    model="bundled:lenet_5",
    granularity="weight",
    target=Ratio(value=0.8),
    tuning=Tuning(epochs=1000),
)


@contextmanager
def at_work(store: Store) -> Iterator[None]:
    """Keep as many workers fine-tuning as a machine of two cores has."""
    ids = [dispatcher.submit(WORK.replace(seed=seed), store=store) for seed in range(JOBS)]
    while any(dispatcher.poll(run_id, store=store).epoch < 1 for run_id in ids):
        time.sleep(0.2)
    try:
        yield
        if any(dispatcher.poll(run_id, store=store).is_finished for run_id in ids):
            raise RuntimeError("A run ended before its time: nothing was at work.")
    finally:
        working = [store.get(run_id) for run_id in ids]
        for record in working:
            dispatcher.cancel(record.id, store=store)
        while any(process.is_alive(record.pid, record.mark) for record in working):
            dispatcher.list_runs(store=store)
            time.sleep(0.1)


def measured(releases: int) -> Iterator[Figure]:
    """Yield the times with nothing at work and with two runs, and how many times longer."""
    os.environ["PRUNING_STUDIO_JOBS"] = str(JOBS)
    times: dict[str, dict[str, list[float]]] = {
        state: {"confirmed": [], "page": []} for state in ("idle", "two runs")
    }
    with tempfile.TemporaryDirectory() as name, chromium() as browser:
        store = Store(Path(name))
        with serve(APP, store.root, ["--model", "bundled:lenet_300_100"]) as server:
            page = open_plan(browser, server, [])
            for turn in range(BLOCKS):
                _collect(drags(page, releases, seed=2 * turn), times["idle"])
                with at_work(store):
                    _collect(drags(page, releases, seed=2 * turn + 1), times["two runs"])
            page.close()
    for what, title in (("confirmed", "totals confirmed"), ("page", "the whole page updated")):
        medians = {}
        for state, found in times.items():
            values = sorted(found[what])
            medians[state] = statistics.median(values)
            high = values[min(len(values) - 1, int(0.95 * len(values)))]
            yield Figure(
                state, f"release to {title}, median (n = {len(values)})", medians[state], "ms"
            )
            yield Figure(state, f"release to {title}, 95th percentile", high, "ms")
        ratio = medians["two runs"] / medians["idle"]
        yield Figure("two runs / idle", f"release to {title}, medians", ratio, "", 1.5)


def _collect(found: dict[str, list[float]], into: dict[str, list[float]]) -> None:
    for what, values in into.items():
        values += found[what]


def main() -> None:
    """Measure, print and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--releases", type=int, default=25, help="in each turn")
    parser.add_argument("--write", type=Path, help="folder for the Markdown page")
    given = parser.parse_args()
    publish(
        "The Plan page while runs are at work",
        "LeNet-300-100 in Chromium, browser, server and two workers (fine-tuning LeNet-5, "
        "nice 10) on the same machine; turns with and without the workers.",
        measured(given.releases),
        given.write / "beside_jobs.md" if given.write else None,
    )


if __name__ == "__main__":
    main()
