"""How long a newcomer waits for the first picture, beside an empty Streamlit app.

Usage: python -m benchmarks.first_picture [--runs 5]

Each run starts a server of its own with an empty state folder, waits until it answers, opens the
page in a fresh Chromium and stops the clock when the heatmap and the exact totals are drawn.
"""

import argparse
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

ROOT = Path(__file__).resolve().parents[1]
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking"]
PICTURE = ".st-key-first_heatmap canvas"
TOTALS = ".st-key-strip_numbers >> text=EXACT"


@contextmanager
def server(script: Path, state: Path) -> Iterator[str]:
    """Run a Streamlit script until the block ends; yield its address once it answers."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "streamlit", "run", str(script)]
    command += ["--server.headless=true", f"--server.port={port}"]
    process = subprocess.Popen(
        command,
        cwd=script.parent,
        env=os.environ | {"PRUNING_STUDIO_STATE": str(state)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    url = f"http://127.0.0.1:{port}"
    try:
        while not _answers(f"{url}/_stcore/health"):
            time.sleep(0.05)
        yield url
    finally:
        process.terminate()
        process.wait(timeout=30)


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url):
            return True
    except (urllib.error.URLError, OSError):
        return False


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
    chromium = os.environ.get("CHROMIUM") or shutil.which("chromium")
    found: dict[str, list[float]] = {"empty app": [], "first picture": [], "exact totals": []}
    with sync_playwright() as playwright, tempfile.TemporaryDirectory() as folder:
        empty = Path(folder) / "empty.py"
        empty.write_text("import streamlit as st\nst.write('empty')\n")
        for number in range(runs):
            state = Path(folder) / f"state_{number}"
            state.mkdir()
            for script, selectors, names in (
                (empty, ["text=empty"], ["empty app"]),
                (ROOT / "app.py", [PICTURE, TOTALS], ["first picture", "exact totals"]),
            ):
                browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
                with server(script, state) as url:
                    times = seconds_until(browser.new_page(), url, selectors)
                browser.close()
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
