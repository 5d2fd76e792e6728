"""Sensitivity scans on disk: each point is kept as soon as it is measured, so a scan can go on."""

import hashlib
import json
import os
from collections.abc import Generator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from pruning_core.errors import DataError
from pruning_core.evaluation import sensitivity
from pruning_core.evaluation.evaluate import headline_of, statistics_of
from pruning_core.evaluation.sensitivity import Curves, Point
from pruning_core.evaluation.stopping import ShouldStop
from pruning_core.evaluation.whatif import WhatIf, what_if
from pruning_core.folders import state_folder
from pruning_core.planning.plan import Plan
from pruning_core.planning.recipe import Recipe
from pruning_core.runs.atomic import exclusive, write_bytes
from pruning_core.runs.board import Board
from pruning_core.runs.setup import Setup
from pruning_core.tasks import CLASSES

EXAMPLES: Final = 500
"""That are measured for each point, unless fewer are quick enough."""
_VERSION: Final = 1
# What decides the order in which the units of one layer go, and how many of them.
_DECIDES: Final = {
    "granularity", "criterion", "reduction", "reverse", "calibration", "seed", "min_kept",
    "round_to", "input_shape",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Scan:
    """What is known of a scan, finished or not.

    Attributes:
        points: Measured so far.
        dense: Accuracy of the dense model on the same examples, 0..1, or the headline metric of
            another task.
        n: Examples measured, the first of the validation split.
        source: Which copy of the data they are from.
        finished: Whether every point was measured.
        task: Key of what was measured.
    """

    points: tuple[Point, ...]
    dense: float
    n: int
    source: str
    finished: bool
    task: str = CLASSES

    @property
    def curves(self) -> Curves:
        """By site the ratios in rising order, 0 first, and the accuracy at each."""
        return sensitivity.curves(self.points, self.dense)


def path_of(recipe: Recipe, weights_sha256: str, data: str) -> Path:
    """Return where the scan of a recipe is kept; targets and the spread over layers do not matter.

    Args:
        recipe: What is pruned and how it is rated.
        weights_sha256: Digest of the model.
        data: Name of the data set.
    """
    decides = recipe.parts[""].model_dump(mode="json", include=_DECIDES)
    text = json.dumps([_VERSION, weights_sha256, data, decides], sort_keys=True)
    name = hashlib.sha256(text.encode()).hexdigest()[:32]
    return state_folder() / "scans" / f"{name}.jsonl"


def read(path: Path) -> Scan | None:
    """Return what is known of a scan; None when it never began. A line cut short is left out."""
    try:
        lines = [_line(text) for text in path.read_text(encoding="utf-8").splitlines()]
    except OSError:
        return None
    if not lines or "dense" not in lines[0]:
        return None
    head, *rest = lines
    points = tuple(Point(**line) for line in rest if "site" in line)
    finished = any("finished" in line for line in rest)
    task = head.get("task", CLASSES)
    return Scan(points, head["dense"], head["n"], head["source"], finished, task)


def _line(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def carry_out(
    setup: Setup,
    *,
    n: int = EXAMPLES,
    storage: str | None = None,
    should_stop: ShouldStop | None = None,
) -> Generator[tuple[float, Point], None, None]:
    """Measure the points that are missing and keep each; yields the share done, and the point.

    A scan that began with another number of examples goes on with its own; one on another copy of
    the data begins anew. Workers that share a storage divide the points between them; each yields
    its own, and its file holds everybody's.

    Args:
        setup: What is scanned; the targets of its recipe do not matter.
        n: Validation examples, at most those there are.
        storage: URL of a database for Optuna; None keeps the scan to this machine.
        should_stop: Asked before every batch.

    Raises:
        DataError: If there is no validation example.
        RunError: If the storage cannot be used, or others measure on another copy of the data.
        StoppedError: If ``should_stop`` says so; what was measured is kept.
    """
    model, data = setup.model, setup.data
    if not len(data.validation):
        raise DataError(f"The data set '{data.key}' has no validation examples to measure.")
    path = path_of(setup.recipe, model.weights_sha256, data.key)
    path.parent.mkdir(parents=True, exist_ok=True)
    if storage is None:
        with exclusive(path.with_suffix(".lock")):
            yield from _carry_out_here(setup, path, n, should_stop)
    else:
        yield from _carry_out_together(setup, path, n, storage, should_stop)


def _carry_out_here(
    setup: Setup, path: Path, n: int, should_stop: ShouldStop | None
) -> Generator[tuple[float, Point], None, None]:
    known = read(path)
    if known is not None and known.source != setup.data.source:
        known = None
    examples = _Examples(setup, known.n if known else n, should_stop)
    if known is None:
        path.unlink(missing_ok=True)
        _append(path, examples.head())
    points = known.points if known else ()
    steps = sensitivity.scan(setup.recipe, setup.network, setup.scores, examples.measure, points)
    for share, point in steps:
        _append(path, asdict(point))
        yield share, point
    if known is None or not known.finished:
        _append(path, {"finished": True})


def _carry_out_together(
    setup: Setup, path: Path, n: int, storage: str, should_stop: ShouldStop | None
) -> Generator[tuple[float, Point], None, None]:
    """Measure what nobody has claimed, then what was claimed and never came."""
    board = Board(storage, path.stem, n=n, source=setup.data.source)
    examples = _Examples(setup, board.n, should_stop)

    def publish(*, finished: bool) -> None:
        lines = [examples.head(), *map(asdict, board.points())]
        lines += [{"finished": True}] if finished else []
        with exclusive(path.with_suffix(".lock")):
            write_bytes(path, b"".join(json.dumps(line).encode() + b"\n" for line in lines))

    for claim in (board.claim, board.claim_left):
        steps = sensitivity.scan(
            setup.recipe, setup.network, setup.scores, examples.measure, board.points(), claim
        )
        for share, point in steps:
            board.add(point)
            publish(finished=False)
            yield share, point
    publish(finished=True)


class _Examples:
    """The validation examples of a scan, and what the dense model makes of them."""

    def __init__(self, setup: Setup, n: int, should_stop: ShouldStop | None) -> None:
        self._is = setup
        self._sample = setup.data.validation.first(n)
        self._should_stop = should_stop
        self._dense = statistics_of(setup.model.module, self._sample, should_stop=should_stop)

    def head(self) -> dict[str, Any]:
        """Return the first line of the file."""
        return {
            "dense": headline_of(self._sample.task, self._dense),
            "n": len(self._sample),
            "source": self._is.data.source,
            "task": self._sample.task.key,
            "model": self._is.recipe.model,
        }

    def measure(self, plan: Plan) -> WhatIf:
        """Measure a plan on them."""
        return what_if(
            self._is.model,
            self._is.network,
            plan,
            self._is.data,
            n=len(self._sample),
            dense=self._dense,
            should_stop=self._should_stop,
        )


def _append(path: Path, line: Mapping[str, Any]) -> None:
    """Add a line; one that was cut short before it is ended first."""
    with path.open("a+b") as file:
        if file.tell():
            file.seek(-1, os.SEEK_END)
            if file.read(1) != b"\n":
                file.write(b"\n")
        file.write(json.dumps(line).encode() + b"\n")
