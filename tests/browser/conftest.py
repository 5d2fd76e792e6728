"""A real server with a state folder of its own, and a real Chromium."""

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FLAGS = tuple(
    f"--{flag}"
    for flag in (
        "no-sandbox",
        "disable-gpu",
        "disable-quic",
        "no-first-run",
        "disable-background-networking",
        "disable-component-update",
        "disable-sync",
    )
)
REQUIRED = os.environ.get("PRUNING_STUDIO_REQUIRE_BROWSER") == "1"


def pytest_collection_modifyitems(items):
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker("browser")


@dataclass(frozen=True)
class Server:
    url: str
    state: Path
    ready: float  # time.monotonic() when the server first answered
    pid: int


@contextlib.contextmanager
def serve(state: Path, script: str = "app.py") -> Iterator[Server]:
    """Start the app the way a person does, or another script, and wait until it answers."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    state.mkdir(parents=True, exist_ok=True)
    url = f"http://127.0.0.1:{port}"
    with (state / "server.log").open("wb") as log:
        server = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "streamlit",
                "run",
                script,
                "--server.headless=true",
                f"--server.port={port}",
            ],
            cwd=ROOT,
            env=os.environ | {"PRUNING_STUDIO_STATE": str(state)},
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        try:
            yield Server(url, state, _wait_for(url, server, state), server.pid)
        finally:
            server.terminate()
            try:
                server.wait(timeout=30)
            except subprocess.TimeoutExpired:  # a busy machine
                server.kill()
                server.wait()


def _wait_for(url: str, server: "subprocess.Popen[bytes]", state: Path) -> float:
    for _ in range(600):
        if server.poll() is not None:
            break
        with contextlib.suppress(OSError), urllib.request.urlopen(f"{url}/_stcore/health"):
            return time.monotonic()
        time.sleep(0.1)
    raise RuntimeError((state / "server.log").read_text())


@pytest.fixture(scope="session")
def chromium():
    """One browser for all tests; skipped, and said so, where none is found."""
    path = os.environ.get("CHROMIUM") or next(
        (
            found
            for name in ("chromium", "chromium-browser", "google-chrome", "chrome")
            if (found := shutil.which(name))
        ),
        None,
    )
    if path is None:
        message = "no Chromium found (install one, or set CHROMIUM to its path)"
        if REQUIRED:
            pytest.fail(message)
        pytest.skip(message)
    if REQUIRED:
        from playwright import sync_api
    else:
        sync_api = pytest.importorskip("playwright.sync_api")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    with serve(tmp_path_factory.mktemp("state")) as running:
        yield running


@pytest.fixture
def cold_server(tmp_path):
    """A server that nobody has visited yet."""
    with serve(tmp_path / "state") as running:
        yield running


@pytest.fixture
def page(chromium):
    """A fresh page; errors that JavaScript raised fail the test."""
    context = chromium.new_context(viewport={"width": 1280, "height": 1200}, accept_downloads=True)
    context.set_default_timeout(60_000)
    tab = context.new_page()
    problems: list[str] = []
    tab.on("pageerror", lambda error: problems.append(str(error)))
    yield tab
    context.close()
    assert problems == []
