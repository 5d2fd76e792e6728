"""How long a newcomer waits for the first picture, beside an empty Streamlit app.

Usage: python -m benchmarks.first_picture [--runs 5]

Each run starts a server of its own with an empty state folder, waits until it answers, opens the
page in a fresh Chromium and stops the clock when the heatmap and the exact totals are drawn. Times
count from the start of the server; the time until it answers is told as well.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

from playwright.sync_api import Page

from benchmarks.browser import APP, Server, chromium, serve

PICTURE = ".st-key-first_heatmap canvas"
TOTALS = ".st-key-strip_numbers >> text=EXACT"


def seconds_until(page: Page, server: Server, selectors: list[str]) -> list[float]:
    """Open the server's page; return when the first element of each selector was visible."""
    page.goto(server.url)
    times = []
    for selector in selectors:
        page.locator(selector).first.wait_for(timeout=120_000)
        times.append(time.monotonic() - server.started)
    return times


def main() -> None:
    """Measure and print medians with their range."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=5)
    runs = parser.parse_args().runs
    found: dict[str, list[float]] = {"empty app": [], "first picture": [], "exact totals": []}
    answers: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        empty = Path(folder) / "empty.py"
        empty.write_text("import streamlit as st\nst.write('empty')\n")
        for number in range(runs):
            state = Path(folder) / f"state_{number}"
            state.mkdir()
            for script, selectors, names in (
                (empty, ["text=empty"], ["empty app"]),
                (APP, [PICTURE, TOTALS], ["first picture", "exact totals"]),
            ):
                with chromium() as browser, serve(script, state) as server:
                    answers.append(time.monotonic() - server.started)
                    times = seconds_until(browser.new_page(), server, selectors)
                for name, value in zip(names, times, strict=True):
                    found[name].append(value)
    for name, values in found.items():
        print(
            f"{name}: median {statistics.median(values):.2f} s after the start of the server "
            f"({min(values):.2f} to {max(values):.2f}, n = {len(values)})"
        )
    print(f"the server answers: median {statistics.median(answers):.2f} s")
    ratio = statistics.median(found["first picture"]) / statistics.median(found["empty app"])
    print(f"first picture / empty app: {ratio:.2f}")


if __name__ == "__main__":
    main()
