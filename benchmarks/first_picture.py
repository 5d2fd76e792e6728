"""How long a newcomer waits for the first picture, beside an empty Streamlit app.

Usage: python -m benchmarks.first_picture [--runs 5]

Each run starts a server of its own with an empty state folder, waits until it answers, opens the
page in a fresh Chromium and stops the clock when the heatmap and the exact totals are drawn.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

from playwright.sync_api import Page

from benchmarks.browser import APP, chromium, serve

PICTURE = ".st-key-first_heatmap canvas"
TOTALS = ".st-key-strip_numbers >> text=EXACT"


def seconds_until(page: Page, url: str, selectors: list[str]) -> list[float]:
    """Open ``url`` and return when the first element of each selector was visible."""
    began = time.monotonic()
    page.goto(url)
    times = []
    for selector in selectors:
        page.locator(selector).first.wait_for(timeout=120_000)
        times.append(time.monotonic() - began)
    return times


def main() -> None:
    """Measure and print medians with their range."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=5)
    runs = parser.parse_args().runs
    found: dict[str, list[float]] = {"empty app": [], "first picture": [], "exact totals": []}
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
                    times = seconds_until(browser.new_page(), server.url, selectors)
                for name, value in zip(names, times, strict=True):
                    found[name].append(value)
    for name, values in found.items():
        print(
            f"{name}: median {statistics.median(values):.2f} s after the server answers "
            f"({min(values):.2f} to {max(values):.2f}, n = {len(values)})"
        )
    ratio = statistics.median(found["first picture"]) / statistics.median(found["empty app"])
    print(f"first picture / empty app: {ratio:.2f}")


if __name__ == "__main__":
    main()
