"""Processor time of one thread, goals and verdicts, and the table they go into."""

import argparse
import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import torch
from torch import Tensor

from pruning_core.runs.environment import describe_environment


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured number.

    Attributes:
        model: What it was measured on.
        what: What was measured.
        value: The number.
        unit: Its unit.
        goal: What it should be at most, or at least; None where it is only told.
        at_least: True when more is better.
    """

    model: str
    what: str
    value: float
    unit: str
    goal: float | None = None
    at_least: bool = False

    @property
    def verdict(self) -> str:
        """``reached``, or by how much it falls short; empty without a goal."""
        if self.goal is None:
            return ""
        reached = self.value >= self.goal if self.at_least else self.value <= self.goal
        if reached:
            return "reached"
        if self.goal == 0:
            return "missed"
        factor = self.goal / self.value if self.at_least else self.value / self.goal
        return f"missed, {factor:.2g} x"

    @property
    def row(self) -> str:
        """The figure as a row of a Markdown table."""
        sign = "at least" if self.at_least else "at most"
        goal = "" if self.goal is None else f"{sign} {_short(self.goal)} {self.unit}"
        value = f"{_short(self.value)} {self.unit}"
        return f"| {self.model} | {self.what} | {value} | {goal} | {self.verdict} |"


def _short(number: float) -> str:
    return f"{number:,.0f}" if number >= 100 else f"{number:.3g}"


def seconds(run: Callable[[], object], repeats: int) -> float:
    """Return the least processor time of this thread over some runs."""
    times = []
    for _ in range(repeats):
        began = time.thread_time()
        run()
        times.append(time.thread_time() - began)
    return min(times)


def seconds_beside(
    run: Callable[[], object], other: Callable[[], object], repeats: int
) -> tuple[float, float]:
    """Return the least processor time of two things that take turns, so that noise meets both."""
    pairs = [(seconds(run, 1), seconds(other, 1)) for _ in range(repeats)]
    return min(first for first, _ in pairs), min(second for _, second in pairs)


def median_seconds(run: Callable[[], object], repeats: int) -> float:
    """Return the middle processor time of this thread over some runs."""
    return statistics.median(seconds(run, 1) for _ in range(repeats))


def reset_peak() -> float:
    """Forget how much memory the process had at most (Linux); return what it has now, in MiB."""
    Path("/proc/self/clear_refs").write_text("5")
    return _memory("VmRSS")


def peak() -> float:
    """Return how much memory the process had at most since :func:`reset_peak`, in MiB."""
    return _memory("VmHWM")


def _memory(field: str) -> float:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1]) / 1024
    raise RuntimeError(f"{field} is not told by this system")


def read_all(weights: Sequence[Tensor]) -> None:
    """Read every weight once: the unit of many figures."""
    for weight in weights:
        weight.sum()


def publish(title: str, explanation: str, figures: Iterable[Figure], path: Path | None) -> None:
    """Print each figure as soon as it is measured, then write them all to ``path`` as Markdown."""
    measured = []
    for figure in figures:
        print(figure.row, flush=True)
        measured.append(figure)
    if path:
        path.write_text(_document(title, explanation, measured))


def _document(title: str, explanation: str, figures: Sequence[Figure]) -> str:
    """Return the Markdown page with all figures and the versions they were measured with."""
    environment = describe_environment()
    environment["torch-pruning"] = version("torch-pruning")
    versions = ", ".join(f"{name} {value}" for name, value in environment.items())
    with_goal = [figure for figure in figures if figure.goal is not None]
    reached = sum(figure.verdict == "reached" for figure in with_goal)
    lines = [
        f"# {title}",
        "",
        explanation,
        "",
        f"{reached} of {len(with_goal)} goals reached. Measured with {versions}.",
        "",
        "| model | figure | value | goal | |",
        "|---|---|---|---|---|",
        *(figure.row for figure in figures),
        "",
    ]
    return "\n".join(lines)


def arguments(description: str, names: Sequence[str]) -> argparse.Namespace:
    """Read ``--only`` and ``--write``, and set one thread."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--only", nargs="+", choices=names, default=list(names))
    parser.add_argument("--write", type=Path, help="folder for the Markdown page")
    parser.add_argument("--alone", action="store_true", help="leave out the peers, which take long")
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    torch.set_num_threads(1)
    return parser.parse_args()
