"""Take the pictures of docs/screenshots: every view of the pages, light and dark.

Usage: python -m scripts.take_screenshots [--only TEXT]

Needs Chromium and what requirements-dev.txt installs.
"""

import argparse
import io
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple

from PIL import Image
from playwright.sync_api import Page

from benchmarks.browser import APP, ROOT, chromium, serve
from pages.common import link
from pruning_core import Recipe
from pruning_core.planning.recipe import Budget, Count, Ratio, Tuning
from pruning_core.runs import dispatcher
from pruning_core.runs.store import Store

FOLDER: Final = ROOT / "docs" / "screenshots"
WIDTH: Final = 1280
LARGEST: Final = 120_000

RESIDUAL: Final = Recipe(
    model="bundled:resnet_8",
    granularity="unit",
    normalise="mean",
    target=Budget(kind="macs", value=0.5),
    layers={"conv1": Count(value=2)},
    pins=("conv1",),
)
HEADS: Final = Recipe(
    model="bundled:vit_tiny", granularity="unit", normalise="mean", target=Ratio(value=0.4)
)
GATES: Final = Recipe(
    model="bundled:gru_128", granularity="unit", normalise="mean", target=Ratio(value=0.4)
)
SMALL: Final = Recipe(
    model="bundled:cnn_digits", granularity="unit", normalise="mean", target=Ratio(value=0.3)
)
WEIGHTS: Final = Recipe(model="bundled:lenet_300_100", target=Ratio(value=0.9))
# What is run first, for the pages that show runs; the last one is shown.
RUNS: Final = tuple(
    SMALL.replace(target=Ratio(value=ratio), tuning=Tuning(epochs=epochs))
    for ratio, epochs in ((0.2, 2), (0.6, 2), (0.4, 8))
)


def _pick(name: str) -> Callable[[Page], None]:
    return lambda page: page.get_by_role("radio", name=name, exact=True).click()


def _press(name: str) -> Callable[[Page], None]:
    return lambda page: page.get_by_role("button", name=name).locator("visible=true").first.click()


def _measure(button: str, done: str) -> Callable[[Page], None]:
    def act(page: Page) -> None:
        start = page.get_by_role("button", name=button, exact=True)
        if start.count():  # else it was measured for the other appearance
            start.click()
        page.get_by_text(done).first.wait_for(timeout=300_000)

    return act


def _take(steps: int) -> Callable[[Page], None]:
    """Take a lesson as far as its answer: predict, move the control by some steps, reveal."""

    def act(page: Page) -> None:
        page.locator(".st-key-learn_commit button").click()
        reveal = page.locator(".st-key-learn_reveal button")
        reveal.wait_for(timeout=120_000)
        settle(page)
        page.get_by_role("slider").last.focus()
        for _ in range(steps):
            page.keyboard.press("ArrowRight")
        reveal.and_(page.locator(":enabled")).click()
        page.locator(".st-key-learn_check button").wait_for()

    return act


class View(NamedTuple):
    """What to open, what to do there, and how far down to look; runs are there on some pages.

    Pages of the course have no recipe; their ``layer`` is what their address asks for.
    """

    page: str
    recipe: Recipe | None
    layer: str
    view: str
    act: Callable[[Page], None] | None
    height: int


VIEWS: Final = {
    "model": View("", RESIDUAL, "", "", None, 1240),
    "plan": View("plan", RESIDUAL, "blocks.1.conv2", "layer", None, 1280),
    "units": View("plan", RESIDUAL, "conv1", "layer", None, 2100),
    "weights": View("plan", WEIGHTS, "fc2", "layer", None, 1280),
    "heads": View("plan", HEADS, "blocks.1.attention.qkv", "layer", None, 1900),
    "gates": View("plan", GATES, "gru", "layer", None, 1500),
    "scores": View("plan", RESIDUAL, "conv1", "all", None, 1400),
    "widths": View("plan", RESIDUAL, "conv1", "all", _pick("Widths"), 1500),
    "savings": View("plan", RESIDUAL, "conv1", "all", _pick("Savings"), 1600),
    "criteria": View("plan", RESIDUAL, "conv1", "criteria", None, 1500),
    "sensitivity": View(
        "plan",
        SMALL,
        "conv2",
        "sensitivity",
        _measure("Scan the layers", "30 plans measured"),
        1400,
    ),
    "search": View(
        "plan", SMALL, "conv2", "search", _measure("Search", "Measure up to 60 plans"), 1500
    ),
    "why": View("plan", RESIDUAL, "conv1", "layer", _press("Why?"), 1000),
    "difference": View("plan", RESIDUAL, "conv1", "layer", _press("Differences"), 1000),
    "run": View("run", RUNS[-1], "", "", None, 1800),
    "compare": View("compare", RUNS[-1], "", "", None, 1800),
    "export": View("export", RUNS[-1], "", "", None, 1400),
    "course": View("learn", None, "lang=en", "", None, 1400),
    "lesson": View("learn", None, "lesson=threshold", "", _take(29), 1700),
    "lesson-chinese": View("learn", None, "lesson=square&lang=zh", "", _take(6), 1500),
    "glossary": View("glossary", None, "term=granularity", "", None, 1000),
}


def carry_out_runs(store: Store) -> str:
    """Carry RUNS out; return the last one's identifier."""
    for recipe in RUNS:
        run_id = dispatcher.submit(recipe, store=store)
        while not dispatcher.poll(run_id, store=store).is_finished:
            time.sleep(0.2)
    return run_id


def settle(page: Page) -> None:
    """Wait until the page neither runs nor draws."""
    page.wait_for_timeout(1500)
    page.wait_for_function(
        "() => document.querySelector('[data-testid=stApp]')?.dataset.testScriptState"
        " === 'notRunning'",
        timeout=120_000,
    )
    page.wait_for_timeout(1500)


def show(page: Page, url: str, view: View, run_id: str) -> None:
    """Open a view and do what has to be done there."""
    if view.recipe is None:
        page.goto(f"{url}/{view.page}?{view.layer}")
        page.locator(".st-key-learn").first.wait_for(timeout=120_000)
    else:
        word = link.inline(view.recipe)
        run = run_id if view.recipe in RUNS else ""
        page.goto(f"{url}/{view.page}?plan={word}&layer={view.layer}&view={view.view}&run={run}")
        page.locator(".st-key-strip_numbers .item").first.wait_for(timeout=120_000)
    settle(page)
    if view.act is not None:
        view.act(page)
        settle(page)


def save(page: Page, name: str) -> None:
    """Write what the page shows as a PNG of few colours."""
    picture = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    for colours in (256, 128, 64, 32):
        picture.quantize(colours, dither=Image.Dither.NONE).save(
            FOLDER / f"{name}.png", optimize=True
        )
        if (FOLDER / f"{name}.png").stat().st_size <= LARGEST:
            break
    print(name, (FOLDER / f"{name}.png").stat().st_size, flush=True)


def main() -> None:
    """Take them all."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--only", default="", help="take those whose name contains this")
    only = parser.parse_args().only
    with (
        tempfile.TemporaryDirectory() as state,
        serve(APP, Path(state)) as server,
        chromium() as browser,
    ):
        names = [name for name in VIEWS if only in name]
        needs_runs = any(VIEWS[name].recipe in RUNS for name in names)
        run_id = carry_out_runs(Store(Path(state))) if needs_runs else ""
        for scheme in ("light", "dark"):
            for name in names:
                page = browser.new_page(
                    viewport={"width": WIDTH, "height": VIEWS[name].height},
                    color_scheme="dark" if scheme == "dark" else "light",
                )
                show(page, server.url, VIEWS[name], run_id)
                save(page, f"{name}-{scheme}")
                page.close()


if __name__ == "__main__":
    main()
