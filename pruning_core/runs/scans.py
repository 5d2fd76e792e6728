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
from pruning_core.evaluation.evaluate import right_answers
from pruning_core.evaluation.sensitivity import Curves, Point
from pruning_core.evaluation.stopping import ShouldStop
from pruning_core.evaluation.whatif import WhatIf, what_if
from pruning_core.folders import state_folder
from pruning_core.planning.plan import Plan
from pruning_core.planning.recipe import Recipe
from pruning_core.runs.atomic import exclusive
from pruning_core.runs.setup import Setup

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
        dense: Accuracy of the dense model on the same examples, 0..1.
        n: Examples measured, the first of the validation split.
        source: Which copy of the data they are from.
        finished: Whether every point was measured.
    """

    points: tuple[Point, ...]
    dense: float
    n: int
    source: str
    finished: bool

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
    return Scan(points, head["dense"], head["n"], head["source"], finished)


def _line(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def carry_out(
    setup: Setup, *, n: int = EXAMPLES, should_stop: ShouldStop | None = None
) -> Generator[tuple[float, Point], None, None]:
    """Measure the points that are missing and keep each; yields the share done, and the point.

    A scan that began with another number of examples goes on with its own; one on another copy of
    the data begins anew.

    Args:
        setup: What is scanned; the targets of its recipe do not matter.
        n: Validation examples, at most those there are.
        should_stop: Asked before every batch.

    Raises:
        DataError: If there is no validation example.
        StoppedError: If ``should_stop`` says so; what was measured is kept.
    """
    recipe, model, data = setup.recipe, setup.model, setup.data
    if not len(data.validation):
        raise DataError(f"The data set '{data.key}' has no validation examples to measure.")
    path = path_of(recipe, model.weights_sha256, data.key)
    path.parent.mkdir(parents=True, exist_ok=True)
    with exclusive(path.with_suffix(".lock")):
        known = read(path)
        if known is not None and known.source != data.source:
            known = None
        sample = data.validation.first(known.n if known else n)
        dense = right_answers(model.module, sample, should_stop=should_stop)
        if known is None:
            path.unlink(missing_ok=True)
            head = {"dense": float(dense.mean()), "n": len(sample), "source": data.source}
            _append(path, {**head, "model": recipe.model})

        def measure(plan: Plan) -> WhatIf:
            return what_if(
                model,
                setup.network,
                plan,
                data,
                n=len(sample),
                dense=dense,
                should_stop=should_stop,
            )

        points = known.points if known else ()
        for share, point in sensitivity.scan(recipe, setup.network, setup.scores, measure, points):
            _append(path, asdict(point))
            yield share, point
        if known is None or not known.finished:
            _append(path, {"finished": True})


def _append(path: Path, line: Mapping[str, Any]) -> None:
    """Add a line; one that was cut short before it is ended first."""
    with path.open("a+b") as file:
        if file.tell():
            file.seek(-1, os.SEEK_END)
            if file.read(1) != b"\n":
                file.write(b"\n")
        file.write(json.dumps(line).encode() + b"\n")
