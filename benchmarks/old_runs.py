"""How long a server with many old runs takes from its start to a usable Run page.

Usage: python -m benchmarks.old_runs [--runs 1000] [--repeats 3]

One real run is carried out and its folder copied under other names; the list of runs is then
rebuilt from the folders, as it is when its file was damaged. Servers with and without old runs
start in turns, each opened in a fresh Chromium; the clock stops when the button Prune and the list
are there.
"""

import argparse
import json
import os
import shutil
import statistics
import tempfile
import time
from pathlib import Path

from benchmarks.browser import APP, chromium, serve
from pruning_core.planning.recipe import Ratio, Recipe, Tuning
from pruning_core.runs import dispatcher
from pruning_core.runs.store import Store, new_id

RECIPE = Recipe(
    model="bundled:mlp_digits",
    target=Ratio(value=0.5),
    tuning=Tuning(epochs=1, train_samples=200),
)


def fill(store: Store, n: int) -> float:
    """Give ``store`` a list of ``n`` finished runs; return the seconds its rebuilding took."""
    run_id = dispatcher.submit(RECIPE, store=store)
    while not dispatcher.poll(run_id, store=store).is_finished:
        time.sleep(0.2)
    first = time.time() - 60 * n
    for number in range(1, n):
        name = new_id(first + 60 * number)
        folder = shutil.copytree(store.folder(run_id), store.root / "runs" / name)
        spec = json.loads((folder / "spec.json").read_bytes())
        spec |= {"id": name, "created": first + 60 * number}
        (folder / "spec.json").write_text(json.dumps(spec))
    (store.root / "jobs.sqlite3").write_bytes(b"damaged")
    for suffix in ("-wal", "-shm"):
        (store.root / f"jobs.sqlite3{suffix}").unlink(missing_ok=True)
    began = time.monotonic()
    assert len(Store(store.root).all()) == n
    return time.monotonic() - began


def seconds_to_page(state: Path) -> float:
    """Return the seconds from the start of a server to its usable Run page."""
    with chromium() as browser, serve(APP, state) as server:
        page = browser.new_page()
        page.goto(f"{server.url}/run?model={RECIPE.model}")
        page.get_by_role("button", name="Prune", exact=True).wait_for(timeout=120_000)
        page.get_by_text("Runs", exact=True).wait_for(timeout=120_000)
        return time.monotonic() - server.started


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        empty, full = Path(name) / "empty", Path(name) / "full"
        empty.mkdir()
        rebuilding = fill(Store(full), arguments.runs)
        print(f"the list of {arguments.runs:,} runs was rebuilt in {rebuilding:.2f} s")
        began = time.monotonic()
        dispatcher.list_runs(store=Store(full))
        print(f"and is read in {1000 * (time.monotonic() - began):.0f} ms")
        found: dict[str, list[float]] = {"no runs": [], f"{arguments.runs:,} runs": []}
        for _ in range(arguments.repeats):
            for label, state in zip(found, (empty, full), strict=True):
                found[label].append(seconds_to_page(state))
    for label, values in found.items():
        print(
            f"{label}: usable page {statistics.median(values):.2f} s after the start of the server "
            f"({min(values):.2f} to {max(values):.2f}, n = {len(values)}; load "
            f"{os.getloadavg()[0]:.1f} on {os.cpu_count()} processors)"
        )


if __name__ == "__main__":
    main()
