"""Many visitors at once: how long a click takes, what a visitor costs in memory, what stays behind.

    python -m benchmarks.sessions [--short] [--visitors 40] [--cycles 500]

Every visitor is a WebSocket that speaks Streamlit's own messages, as a browser does, with a Plan
page of its own and nothing drawn: what is measured is the server. A click sets the amount that is
pruned to a value that no visitor has set before, so that every click makes a new plan. Its time
runs from the moment it was due until the page is said to be finished, also where the page was still
busy with the click before. Times count on a quiet machine only. Linux: memory is read from
``/proc``.
"""

import argparse
import asyncio
import json
import os
import random
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from websockets.asyncio.client import ClientConnection, connect

from benchmarks.browser import APP, Server, serve

_PLAN: Final = ("plan", "model=bundled:lenet_300_100")
_FIELD: Final = "Share to remove (%)"
_EVERY: Final = 2.0
_PATIENCE: Final = 120.0
_GOAL_SECONDS: Final = 1.0
_GOAL_BYTES: Final = 2**20
_GOAL_GROWTH: Final = 0.05


@dataclass(slots=True)
class Visitor:
    """One page in one browser.

    Attributes:
        link: The WebSocket.
        fields: Ids of the number fields on the page, and of the fragments they are in, by label.
        n_bytes: Received so far.
        errors: Messages that the page showed in red.
    """

    link: ClientConnection
    fields: dict[str, tuple[str, str]] = field(default_factory=dict)
    n_bytes: int = 0
    errors: list[str] = field(default_factory=list)
    _script: str = ""
    _nonzero: int = -1

    @classmethod
    async def arrive(cls, server: Server) -> "Visitor":
        """Open the Plan page and wait until it is drawn."""
        address = server.url.replace("http", "ws") + "/_stcore/stream"
        link = await connect(address, subprotocols=["streamlit"], max_size=None)  # type: ignore[list-item]
        visitor = cls(link)
        message = BackMsg()
        message.rerun_script.page_name, message.rerun_script.query_string = _PLAN
        await link.send(message.SerializeToString())
        await visitor._answered()
        return visitor

    async def set(self, label: str, value: float) -> None:
        """Type a number into a field and wait for the page."""
        message = BackMsg()
        message.rerun_script.query_string = _PLAN[1]
        message.rerun_script.page_script_hash = self._script
        state = message.rerun_script.widget_states.widgets.add()
        state.id, message.rerun_script.fragment_id = self.fields[label]
        state.double_value = value
        await self.link.send(message.SerializeToString())
        before = self._nonzero
        await self._answered()
        if self._nonzero == before:
            self.errors.append(f"{label} {value} changed nothing")

    async def leave(self) -> None:
        """Close the page."""
        await self.link.close()

    async def _answered(self) -> None:
        """Read until a run of the page has come to its end."""
        async with asyncio.timeout(_PATIENCE):
            while True:
                raw = await self.link.recv()
                self.n_bytes += len(raw)
                message = ForwardMsg.FromString(bytes(raw))  # type: ignore[arg-type]
                kind = message.WhichOneof("type")
                if kind == "navigation":
                    self._script = message.navigation.page_script_hash
                elif kind == "delta":
                    self._look(message.delta.new_element, message.delta.fragment_id)
                elif kind == "script_finished" and message.script_finished in {
                    ForwardMsg.FINISHED_SUCCESSFULLY,
                    ForwardMsg.FINISHED_FRAGMENT_RUN_SUCCESSFULLY,
                }:
                    return

    def _look(self, element: Any, fragment: str) -> None:
        kind = element.WhichOneof("type")
        if kind == "number_input":
            self.fields[element.number_input.label] = (element.number_input.id, fragment)
        elif kind == "bidi_component" and element.bidi_component.component_name.endswith("strip"):
            items = json.loads(element.bidi_component.bytes)["items"]
            self._nonzero = next(x["after"] for x in items if x["key"] == "nonzero")
        elif kind == "alert" and element.alert.format == element.alert.ERROR:
            self.errors.append(element.alert.body)


@dataclass(frozen=True, slots=True)
class Load:
    """What many visitors found.

    Attributes:
        seconds: Of each click.
        late: Clicks that were due while the page was still busy with the one before.
        each: Bytes of memory for each visitor but the first, on arrival or after the clicks.
        errors: Messages in red.
        cpu: Processor seconds of the server a click.
    """

    seconds: list[float]
    late: int
    each: float
    errors: list[str]
    cpu: float


async def crowd(server: Server, n_visitors: int, n_clicks: int) -> Load:
    """Let visitors arrive one by one, then click, each every two seconds."""
    visitors = [await Visitor.arrive(server)]
    for percent in range(1, 100):  # fill the caches that all share
        await visitors[0].set(_FIELD, float(percent))
    first = await _settled(server.pid)
    visitors += [await Visitor.arrive(server) for _ in range(n_visitors - 1)]
    each = (await _settled(server.pid) - first) / max(1, n_visitors - 1)
    cpu = server.cpu_seconds()
    values = iter(random.Random(0).sample(range(100, 9_900), n_visitors * n_clicks))
    start = time.monotonic() + 1.0
    tasks = [
        _clicks(
            visitor,
            start + _EVERY * number / n_visitors,
            [next(values) / 100 for _ in range(n_clicks)],
        )
        for number, visitor in enumerate(visitors)
    ]
    found = await asyncio.gather(*tasks)
    cpu = (server.cpu_seconds() - cpu) / (n_visitors * n_clicks)
    worked = (await _settled(server.pid) - first) / max(1, n_visitors - 1)
    for visitor in visitors:
        await visitor.leave()
    return Load(
        [seconds for own, _ in found for seconds in own],
        sum(late for _, late in found),
        max(each, worked),
        [error for visitor in visitors for error in visitor.errors],
        cpu,
    )


async def _clicks(visitor: Visitor, due: float, values: list[float]) -> tuple[list[float], int]:
    seconds, late = [], 0
    for value in values:
        wait = due - time.monotonic()
        late += wait < 0
        await asyncio.sleep(max(0.0, wait))
        await visitor.set(_FIELD, value)
        seconds.append(time.monotonic() - due)
        due += _EVERY
    return seconds, late


async def cycles(server: Server, n: int, at_once: int = 5) -> None:
    """Let ``n`` visitors come, see the Plan page, and go, a few at a time."""
    for _ in range(n // at_once):
        visitors = await asyncio.gather(*(Visitor.arrive(server) for _ in range(at_once)))
        for visitor in visitors:
            await visitor.leave()


async def growth(server: Server, n: int) -> tuple[int, int]:
    """Return the memory of the server after a tenth of the cycles, and after all of them."""
    await cycles(server, max(20, n // 10))
    before = await _settled(server.pid)
    await cycles(server, n)
    return before, await _settled(server.pid)


async def _settled(pid: int) -> int:
    """Return the memory once the sessions of those who left have ended, and it stays the same."""
    last = 0
    for _ in range(30):
        await asyncio.sleep(2.0)
        now = _private(pid)
        if abs(now - last) < 1 << 20:
            break
        last = now
    return now


def _private(pid: int) -> int:
    """Return the bytes that a process alone has in memory."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines()
    return 1024 * sum(int(line.split()[1]) for line in lines if line.startswith("Private"))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--visitors", type=int, default=40)
    parser.add_argument("--clicks", type=int, default=30, help="of each visitor")
    parser.add_argument("--cycles", type=int, default=500)
    parser.add_argument("--short", action="store_true", help="8 visitors, 5 clicks, 40 cycles")
    arguments = parser.parse_args()
    n_visitors, n_clicks, n_cycles = (
        (8, 5, 40) if arguments.short else (arguments.visitors, arguments.clicks, arguments.cycles)
    )
    print(f"load of the machine before: {os.getloadavg()[0]:.2f}; {os.cpu_count()} cores")
    with tempfile.TemporaryDirectory() as name:
        quick = ["--server.disconnectedSessionTTL=1"]
        with serve(APP, Path(name), settings=quick) as server:
            load = asyncio.run(crowd(server, n_visitors, n_clicks))
            p50, p95 = np.percentile(load.seconds, [50, 95])
            print(
                f"{n_visitors} visitors, {len(load.seconds)} clicks, one each {_EVERY:g} s: median "
                f"{p50:.2f} s, p95 {p95:.2f} s (goal {_GOAL_SECONDS:g}), slowest "
                f"{max(load.seconds):.2f} s; {load.late} clicks while still busy; "
                f"{1000 * load.cpu:.0f} ms of the server's processor a click; errors: "
                f"{load.errors[:3] or 'none'}"
            )
            print(
                f"memory for each further visitor: {load.each / 2**20:.2f} MB "
                f"(goal {_GOAL_BYTES / 2**20:g})"
            )
            before, after = asyncio.run(growth(server, n_cycles))
            print(
                f"{n_cycles} pages opened and closed: {before / 2**20:.0f} MB before, "
                f"{after / 2**20:.0f} MB after, {100 * (after / before - 1):+.1f} % "
                f"(goal +{100 * _GOAL_GROWTH:g} %)"
            )


if __name__ == "__main__":
    main()
