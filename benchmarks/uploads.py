"""Bad and good files through the uploaders of the Model page, in Chromium.

    python -m benchmarks.uploads [--only LABEL] [--folder FOLDER]

Every file of ``tests/vendored/bad_inputs.py`` that is weights or data is given to a real server as
a person gives it. Printed are what became of it, the seconds until the page answered, the length of
the sentence, and the peak memory of the server and all its children above what they had before.
``--folder`` takes files of your own instead; a ``manifest.json`` as ``bad_inputs.py`` writes it
says what is expected of them. Linux only: memory is read from ``/proc``.
"""

import argparse
import importlib
import json
import os
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from playwright.sync_api import Page

from benchmarks.browser import APP, ROOT, chromium, serve

_FIELDS: Final = {"model": "weights", "data": "data", "images": "data"}
_PANELS: Final = {"weights": "own_model", "data": "own_data"}
_SECONDS: Final = 10.0
_LETTERS: Final = 200
_MEMORY: Final = 1e9
_MODEL: Final = "bundled:mlp_digits"  # one channel of 8 x 8, as the good files of data
_DATA_ENDINGS: Final = {".npz", ".npy", ".zip", ".csv", ".gz"}


@dataclass(frozen=True, slots=True)
class Item:
    """A file to send.

    Attributes:
        name: Of the file.
        field: ``weights`` or ``data``.
        path: Where it is.
        expect: ``reject``, ``warn``, ``accept``, ``safe`` (opened or refused) or empty.
        says: What the answer has to contain.
    """

    name: str
    field: str
    path: Path
    expect: str = ""
    says: str = ""


@dataclass(frozen=True, slots=True)
class Answer:
    """What the page said.

    Attributes:
        verdict: ``reject`` or, for files that were opened, ``warn`` or ``accept``.
        text: The sentence of a refusal, or all warnings.
        seconds: From giving the file until the page had answered and was done.
        peak: Bytes that server and children took more than before, at most.
        base: Bytes that they had before.
    """

    verdict: str
    text: str
    seconds: float
    peak: int
    base: int

    def problems(self, item: Item) -> list[str]:
        """Return what is not as it must be, but for the time."""
        found = []
        expected = {"safe": self.verdict, "": self.verdict}.get(item.expect, item.expect)
        if (self.verdict == "reject") != (expected == "reject") or (
            expected == "warn" and not self.text
        ):
            found.append(f"{self.verdict} instead of {expected}")
        if len(self.text) > _LETTERS:
            found.append(f"{len(self.text)} letters")
        if item.says not in self.text:
            found.append(f"does not say '{item.says}'")
        if self.peak > _MEMORY:
            found.append(f"{self.peak / 1e6:,.0f} MB")
        return found


class Uploader:
    """The Model page of a server, in a browser, and its two fields for files."""

    def __init__(self, page: Page, url: str, pid: int) -> None:
        self._page, self._url, self._pid = page, url, pid
        self._turns: Counter[str] = Counter()

    def open(self) -> None:
        """Open the page and both panels."""
        self._page.goto(f"{self._url}/?model={_MODEL}")
        self._turns.clear()
        for field, panel in _PANELS.items():
            expander = self._page.locator(f".st-key-{panel} summary")
            expander.wait_for(timeout=120_000)
            expander.click()
            self._input(field).wait_for(state="attached", timeout=120_000)
        self._settle()

    def send(self, item: Item) -> Answer:
        """Give a file to its field; return what the page says once it has said it."""
        with watched(self._pid) as memory:
            began = time.monotonic()
            self._input(item.field).set_input_files(item.path)
            self._turns[item.field] += 1
            self._input(item.field).wait_for(state="attached", timeout=120_000)
            self._settle()
            seconds = time.monotonic() - began
        errors, warnings = (self._texts(item.field, kind) for kind in ("Error", "Warning"))
        return Answer(
            "reject" if errors else "warn" if warnings else "accept",
            " ".join(errors or warnings).strip(),
            seconds,
            memory.peak - memory.base,
            memory.base,
        )

    def _texts(self, field: str, kind: str) -> list[str]:
        """Return the sentences of one kind in the panel; a box is there before its text is."""
        boxes = self._page.locator(f".st-key-{_PANELS[field]}").get_by_test_id(
            f"stAlertContent{kind}"
        )
        while not all(found := boxes.all_inner_texts()):
            self._page.wait_for_timeout(50)
        return found

    def _input(self, field: str) -> Any:
        """The field of this turn: an answer always comes with a new one."""
        return self._page.locator(f".st-key-{field}_file-{self._turns[field]} input[type=file]")

    def _settle(self) -> None:
        self._page.wait_for_function(
            "() => document.querySelector('[data-testid=stApp]')?.dataset.testScriptState"
            " === 'notRunning'",
            timeout=120_000,
        )


class Memory:
    """Memory of a process and all its children, asked again and again in a thread of its own.

    Attributes:
        base: Bytes at the start.
        peak: Most bytes seen.
    """

    def __init__(self, pid: int) -> None:
        self._pid, self._over = pid, threading.Event()
        self.base = self.peak = proportional(pid)
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        while not self._over.wait(0.02):
            self.peak = max(self.peak, proportional(self._pid))

    def stop(self) -> None:
        """Stop asking."""
        self._over.set()
        self._thread.join()


@contextmanager
def watched(pid: int) -> Iterator[Memory]:
    """Watch the memory of a process and its children until the block ends."""
    memory = Memory(pid)
    try:
        yield memory
    finally:
        memory.stop()


def proportional(pid: int) -> int:
    """Return the bytes of a process and its children; shared pages are counted once (PSS)."""
    total = 0
    for each in _family(pid):
        with suppress(OSError):
            for line in Path(f"/proc/{each}/smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    total += 1024 * int(line.split()[1])
    return total


def _family(pid: int) -> Iterator[int]:
    yield pid
    with suppress(OSError):
        for thread in Path(f"/proc/{pid}/task").iterdir():
            for child in (thread / "children").read_text().split():
                yield from _family(int(child))


def traces(state: Path) -> set[Path]:
    """Return the files that code in a bad file would have made, wherever it would have run."""
    places = [ROOT, Path("/"), Path.home(), Path(tempfile.gettempdir())]
    return {path for place in places for path in place.glob("PWNED*")} | set(state.rglob("PWNED*"))


def corpus(folder: Path, only: str = "") -> list[Item]:
    """Write the files of the tests to ``folder``; return those that are weights or data."""
    files = importlib.import_module("tests.core.bad_files").FILES
    items = []
    for entry in files:
        if entry.kind in _FIELDS and only in entry.label:
            path = folder / entry.file
            path.write_bytes(entry.make())
            items.append(Item(entry.file, _FIELDS[entry.kind], path, entry.expect, entry.says))
    return items


def _of_folder(folder: Path, only: str) -> list[Item]:
    """Return the files of a folder, with what its manifest expects."""
    manifest = folder / "manifest.json"
    known = {}
    if manifest.is_file():
        known = {entry["file"]: entry for entry in json.loads(manifest.read_text())}
    items = []
    for path in sorted(folder.iterdir()):
        entry = known.get(path.name, {})
        if path == manifest or not path.is_file() or only not in path.name:
            continue
        by_ending = "data" if path.suffix.lower() in _DATA_ENDINGS else "weights"
        field = _FIELDS.get(entry.get("kind", ""), by_ending if not entry else "")
        if field:
            items.append(Item(path.name, field, path, entry.get("expect", "")))
    return items


def measure(items: Sequence[Item], state: Path) -> int:
    """Send all files to one server; print a line each and return the number of problems."""
    n_problems, answers = 0, []
    before = traces(state)
    with chromium() as browser, serve(APP, state) as server:
        uploader = Uploader(browser.new_page(), server.url, server.pid)
        uploader.open()
        good = _good(state.parent)
        uploader.send(good)
        for item in items:
            uploader.open()  # a fresh visitor: nothing of the file before is on the page
            answer = uploader.send(item)
            answers.append(answer)
            problems = answer.problems(item)
            if answer.seconds > _SECONDS:
                problems.append(f"{answer.seconds:.1f} s")
            n_problems += len(problems)
            print(
                f"{item.name:32} {answer.verdict:6} {answer.seconds:5.1f} s "
                f"+{max(0, answer.peak) / 1e6:4.0f} MB {len(answer.text):3} letters  "
                f"{'PROBLEM: ' + '; '.join(problems) if problems else answer.text[:70]}",
                flush=True,
            )
        uploader.open()
        alive = uploader.send(good).verdict == "accept"
    ran = traces(state) - before
    n_problems += len(ran) + (not alive)
    counts = Counter(answer.verdict for answer in answers)
    print(
        f"{len(answers)} files: {dict(counts)}; slowest {max(x.seconds for x in answers):.1f} s; "
        f"longest sentence {max(len(x.text) for x in answers)} letters; most memory "
        f"+{max(x.peak for x in answers) / 1e6:,.0f} MB over {answers[0].base / 1e6:,.0f} MB; code "
        f"ran: {', '.join(map(str, ran)) or 'no'}; the server answers afterwards: "
        f"{'yes' if alive else 'NO'}; problems: {n_problems}"
    )
    return n_problems


def _good(folder: Path) -> Item:
    """Write a small valid file."""
    import torch
    from safetensors.torch import save_file

    path = folder / "good.safetensors"
    save_file({"fc.weight": torch.ones(4, 3)}, path)
    return Item(path.name, "weights", path, "accept")


def main() -> None:
    """Send the files and print what became of each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="", help="files whose label contains this")
    parser.add_argument("--folder", type=Path, help="files of your own")
    arguments = parser.parse_args()
    os.environ.setdefault("BOMB_SHRINK", "1")
    with tempfile.TemporaryDirectory() as name:
        room = Path(name) / "files"
        room.mkdir()
        items = (
            _of_folder(arguments.folder, arguments.only)
            if arguments.folder
            else corpus(room, arguments.only)
        )
        raise SystemExit(bool(measure(items, Path(name) / "state")))


if __name__ == "__main__":
    main()
