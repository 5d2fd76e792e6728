"""How the Plan page feels in a real Chromium: frames of a drag, release, messages, server time.

Usage: python -m benchmarks.ui [--only NAME] [--releases 25] [--write FOLDER]

The networks are made by factories of benchmarks/shapes.py with random weights and are opened the
way a person opens their own: ``streamlit run app.py -- --model package.module:factory``. A minimal
Streamlit script, one slider in a fragment and one line of text, is measured in the same run.
"""

import argparse
import random
import statistics
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from playwright.sync_api import Browser, Page

from benchmarks.browser import APP, Server, chromium, serve
from benchmarks.measuring import Figure, publish

FACTORIES: Final = {
    "LeNet-300-100": ("bundled:lenet_300_100", ""),
    "ResNet-50": ("benchmarks.shapes:resnet_50", "3,224,224"),
    "MobileNetV2": ("benchmarks.shapes:mobilenet_v2", "3,224,224"),
    "ViT-B/16": ("benchmarks.shapes:VisionTransformer", "3,224,224"),
}
MINIMAL: Final = """
import gc
import streamlit as st

@st.cache_resource
def freeze():
    gc.freeze()

freeze()

@st.fragment
def panel():
    value = st.slider("value", 0, 100, 50, key="value")
    st.text(f"shown {value}")

panel()
"""
HANDLE: Final = ".st-key-threshold [role=slider]"
STRIP: Final = ".st-key-strip_numbers .strip"
WARM_UP: Final = 3

# Times in the page: ``spy.mark`` when the person lets go, ``spy.last`` at the last change of the
# document or of a component, ``spy.confirmed`` when the strip got the server's totals.
SPY: Final = """() => {
  const spy = { mark: 0, last: 0, confirmed: 0, seen: new WeakSet() };
  window.spy = spy;
  const watch = (root) => {
    if (spy.seen.has(root)) return;
    spy.seen.add(root);
    new MutationObserver((records) => {
      const now = performance.now();
      spy.last = now;
      for (const record of records) {
        if (record.attributeName === "data-updates") spy.confirmed = now;
      }
    }).observe(root, { subtree: true, childList: true, characterData: true, attributes: true });
  };
  spy.watchAll = () => {
    watch(document.body);
    for (const element of document.querySelectorAll("*")) {
      if (element.shadowRoot) watch(element.shadowRoot);
    }
  };
  spy.watchAll();
  window.addEventListener("pointerup", () => { spy.mark = performance.now(); }, true);
  window.addEventListener("keydown", () => { spy.mark = performance.now(); }, true);
}"""

# A frame of a drag: from the pointer's event to the next painted frame.
FRAMES: Final = """() => {
  window.frames_ms = [];
  window.addEventListener("pointermove", () => {
    const began = performance.now();
    requestAnimationFrame(() => {
      const channel = new MessageChannel();
      channel.port1.onmessage = () => window.frames_ms.push(performance.now() - began);
      channel.port2.postMessage(0);
    });
  }, true);
}"""
QUIET: Final = """() => {
  const app = document.querySelector("[data-testid=stApp]");
  return app.dataset.testScriptState === "notRunning" && performance.now() - spy.last > 250
    && spy.last > spy.mark;
}"""


def open_plan(browser: Browser, server: Server, sizes: list[int]) -> Page:
    """Open the Plan page and note the size of every message."""
    page = browser.new_page(viewport={"width": 1440, "height": 1000})
    page.on(
        "websocket",
        lambda socket: socket.on("framereceived", lambda payload: sizes.append(len(payload))),
    )
    page.goto(f"{server.url}/plan")
    page.locator(HANDLE).wait_for(timeout=180_000)
    page.wait_for_timeout(3000)
    page.evaluate(SPY)
    return page


def drags(page: Page, releases: int, seed: int = 0) -> dict[str, list[float]]:
    """Drag the threshold to ``releases`` places; return milliseconds by what was waited for.

    Other seeds drag to other places, which no cache has seen.
    """
    draw = random.Random(seed)
    page.evaluate(FRAMES)
    page.locator(HANDLE).scroll_into_view_if_needed()
    found: dict[str, list[float]] = {"confirmed": [], "page": []}
    for number in range(WARM_UP + releases):
        chart = page.locator(".st-key-threshold svg").bounding_box()
        handle = page.locator(HANDLE).bounding_box()
        assert chart is not None
        assert handle is not None
        y = handle["y"] + handle["height"] / 2
        page.mouse.move(handle["x"] + handle["width"] / 2, y)
        page.mouse.down()
        goal = chart["x"] + chart["width"] * draw.uniform(0.15, 0.85)
        page.mouse.move(goal, y, steps=20)
        page.evaluate("() => { spy.watchAll(); spy.confirmed = 0; }")
        page.mouse.up()
        page.wait_for_function(QUIET, polling=50, timeout=60_000)
        times: dict[str, float] = page.evaluate("() => ({ ...spy, seen: null })")
        if number >= WARM_UP and times["confirmed"] > times["mark"]:
            found["confirmed"].append(times["confirmed"] - times["mark"])
            found["page"].append(times["last"] - times["mark"])
    found["frame"] = page.evaluate("() => window.frames_ms")
    return found


def minimal(browser: Browser, folder: Path, releases: int) -> list[float]:
    """Return milliseconds from a key to the changed text of a minimal fragment."""
    script = folder / "minimal.py"
    script.write_text(MINIMAL)
    times = []
    with serve(script, folder) as server:
        page = browser.new_page()
        page.goto(server.url)
        page.locator("text=shown 50").wait_for()
        page.wait_for_timeout(1000)
        page.evaluate(SPY)
        slider = page.get_by_role("slider")
        slider.focus()
        for number in range(WARM_UP + releases):
            page.keyboard.press("ArrowRight" if number % 2 == 0 else "ArrowLeft")
            page.locator(f"text=shown {51 - number % 2}").wait_for()
            page.wait_for_function(QUIET, polling=50)
            if number >= WARM_UP:
                times.append(page.evaluate("() => spy.last - spy.mark"))
        page.close()
    return times


def measure(name: str, browser: Browser, folder: Path, releases: int) -> dict[str, Any]:
    """Measure one network."""
    identity, shape = FACTORIES[name]
    options = ["--model", identity] + (["--input-shape", shape] if shape else [])
    sizes: list[int] = []
    with serve(APP, folder, options) as server:
        page = open_plan(browser, server, sizes)
        opening = max(sizes)
        before = server.cpu_seconds()
        found: dict[str, Any] = drags(page, releases)
        found["cpu"] = 1000 * (server.cpu_seconds() - before) / (WARM_UP + releases)
        found["opening"], found["largest"] = opening / 1000, max(sizes) / 1000
        page.close()
    return found


def figures(name: str, found: dict[str, Any], least: float) -> list[Figure]:
    """Return what was measured as rows of the table."""
    page, confirmed, frames = (sorted(found[key]) for key in ("page", "confirmed", "frame"))
    n = f"n = {len(page)}"
    median = statistics.median(page)
    return [
        Figure(name, f"frame of a drag, median (n = {len(frames)})", _at(frames, 0.5), "ms", 16),
        Figure(name, "frame of a drag, 95th percentile", _at(frames, 0.95), "ms"),
        Figure(name, f"release to totals confirmed, median ({n})", _at(confirmed, 0.5), "ms", 100),
        Figure(
            name, "release to totals confirmed, 95th percentile", _at(confirmed, 0.95), "ms", 200
        ),
        Figure(name, f"release to the whole page updated, median ({n})", median, "ms", 100),
        Figure(
            name, "release to the whole page updated, 95th percentile", _at(page, 0.95), "ms", 200
        ),
        Figure(name, "whole page / minimal fragment", median / least, "", 1.5),
        Figure(name, "processor time of the server for a release", found["cpu"], "ms", 30),
        Figure(name, "largest message while opening", found["opening"], "kB", 500),
        Figure(name, "largest message", found["largest"], "kB", 500),
    ]


def _at(values: list[float], share: float) -> float:
    return values[min(len(values) - 1, int(share * len(values)))]


def main() -> None:
    """Measure, print and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=list(FACTORIES), default=list(FACTORIES))
    parser.add_argument("--releases", type=int, default=25)
    parser.add_argument("--write", type=Path, help="folder for the Markdown page")
    given = parser.parse_args()
    if given.write:
        given.write.mkdir(parents=True, exist_ok=True)
    publish(
        "The Plan page in the browser",
        "Chromium without graphics hardware, browser and server on the same machine. A release is "
        "the end of a drag of the threshold of the first layer, weights by magnitude; the whole "
        "page is updated at the last change of its document and components.",
        _measured(given.only, given.releases),
        given.write / "ui.md" if given.write else None,
    )


def _measured(names: Sequence[str], n_releases: int) -> Iterator[Figure]:
    with tempfile.TemporaryDirectory() as folder, chromium() as browser:
        least = statistics.median(minimal(browser, Path(folder), n_releases))
        yield Figure("minimal fragment", "key to changed text, median", least, "ms")
        for name in names:
            yield from figures(name, measure(name, browser, Path(folder), n_releases), least)


if __name__ == "__main__":
    main()
