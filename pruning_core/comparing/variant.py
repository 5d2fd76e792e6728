"""The networks a run knows, each with its numbers: dense, pruned, fine-tuned, int8."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from pruning_core.errors import UnknownNameError
from pruning_core.exporting.document import Document
from pruning_core.exporting.metric_table import headline_interval, measured_stages, task_of
from pruning_core.tasks import CLASSES, Metric
from pruning_core.tasks.registry import TASKS, headline

Stage = Literal["dense", "pruned", "tuned", "int8"]

STAGE_TITLES: Final[Mapping[str, str]] = {
    "dense": "Dense",
    "pruned": "Pruned",
    "tuned": "Fine-tuned",
    "int8": "Int8",
}


@dataclass(frozen=True, slots=True)
class Axis:
    """A number that networks are compared by.

    Attributes:
        title: With its unit, e.g. ``MACs for one sample``.
        more_is_better: True for accuracies, False for costs.
        known: ``EXACT`` (counted) or ``MEASURED``.
        is_share: True for shares of one, which are written as percentages.
    """

    title: str
    more_is_better: bool
    known: Literal["EXACT", "MEASURED"]
    is_share: bool = False


AXES: Final[Mapping[str, Axis]] = {
    "accuracy": Axis("Test accuracy", True, "MEASURED", True),
    "precision": Axis("Precision (macro)", True, "MEASURED", True),
    "recall": Axis("Recall (macro)", True, "MEASURED", True),
    "f1": Axis("F1 (macro)", True, "MEASURED", True),
    **{
        metric.key: Axis(
            f"Test {metric.name}", metric.higher_is_better, "MEASURED", metric.unit == "percent"
        )
        for task in TASKS.values()
        if not task.counts_classes
        for metric in task.metrics
    },
    "params": Axis("Parameters", False, "EXACT"),
    "nonzero": Axis("Non-zero parameters", False, "EXACT"),
    "macs": Axis("MACs for one sample", False, "EXACT"),
    "bytes": Axis("Bytes of the weights file", False, "EXACT"),
    "latency": Axis("Time of one sample in PyTorch (ms)", False, "MEASURED"),
    "latency_onnx": Axis("Time of one sample in onnxruntime (ms)", False, "MEASURED"),
}
_OF_CLASSES: Final = ("accuracy", "precision", "recall", "f1")
_QUALITIES: Final = (
    *_OF_CLASSES,
    *(metric.key for task in TASKS.values() if not task.counts_classes for metric in task.metrics),
)
_SIZES: Final = ("params", "nonzero", "macs", "bytes")


@dataclass(frozen=True, slots=True)
class Variant:
    """One network of one run.

    Attributes:
        run: Name of the run.
        stage: What was done to it last.
        numbers: Key in ``AXES`` -> value; None where it was not measured.
        n: Test samples behind the accuracies; None without data.
        interval: 95 % interval of the accuracy, or what another task is judged by; None without
            data.
        task: Key of what was measured.
    """

    run: str
    stage: Stage
    numbers: Mapping[str, float | None]
    n: int | None
    interval: tuple[float, float] | None
    task: str = CLASSES

    @property
    def metric(self) -> Metric:
        """What the network is judged by."""
        return headline(self.task)


def variants_of(
    run: str, document: Document, speed: Mapping[str, Any] | None = None
) -> tuple[Variant, ...]:
    """Return the networks of a run in the order in which they were made.

    Without fine-tuning the pruned network is the last of the float ones.

    Args:
        run: Its name.
        document: Its report.json.
        speed: Its speed.json, where its times were measured.
    """
    stages: list[Stage] = ["dense", "pruned"]
    if "tuned" in measured_stages(document):
        stages.append("tuned")
    found = [_float(run, document, stage, speed, is_last=stage == stages[-1]) for stage in stages]
    if document.get("quantised") is not None:
        found.append(_int8(run, document))
    return tuple(found)


def final(variants: Sequence[Variant]) -> Variant:
    """Return the network in float32 that a run hands out."""
    return next(one for one in reversed(variants) if one.stage != "int8")


def front(variants: Sequence[Variant], x: str, y: str) -> tuple[int, ...]:
    """Return the places of the networks that no other one beats in both numbers, by rising ``x``.

    A network without one of the numbers is never among them; of equal ones the first is.

    Raises:
        UnknownNameError: If there is no such number.
    """
    for name in (x, y):
        if name not in AXES:
            raise UnknownNameError("axis", name, AXES)
    points = [
        (place, _loss(one, x), _loss(one, y))
        for place, one in enumerate(variants)
        if one.numbers[x] is not None and one.numbers[y] is not None
    ]
    best: list[int] = []
    least = float("inf")
    for place, _, loss in sorted(points, key=lambda point: (point[1], point[2], point[0])):
        if loss < least:
            best.append(place)
            least = loss
    return tuple(sorted(best, key=lambda place: variants[place].numbers[x] or 0.0))


def _loss(variant: Variant, name: str) -> float:
    """Return a number such that less is better."""
    value = variant.numbers[name]
    assert value is not None
    return -value if AXES[name].more_is_better else value


def _float(
    run: str, document: Document, stage: Stage, speed: Mapping[str, Any] | None, *, is_last: bool
) -> Variant:
    side = "before" if stage == "dense" else "after"
    details = document["details"].get(stage)
    own = (details or {}).get("values") or {}
    numbers: dict[str, float | None] = {
        name: own.get(name, (document.get(name) or {}).get(stage)) for name in _QUALITIES
    }
    numbers |= {name: document[name][side] for name in _SIZES}
    timed = stage == "dense" or is_last
    for name, backend in (("latency", "pytorch"), ("latency_onnx", "onnxruntime")):
        numbers[name] = _time(speed, backend, side) if timed else None
    n = (document["n"] or {}).get(stage)
    interval = None if details is None else headline_interval(document, stage)
    return Variant(
        run,
        stage,
        numbers,
        None if n is None else int(n),
        _pair(interval),
        task_of(document).key,
    )


def _pair(interval: Sequence[float | None] | None) -> tuple[float, float] | None:
    if interval is None or interval[0] is None or interval[1] is None:
        return None
    return interval[0], interval[1]


def _time(speed: Mapping[str, Any] | None, backend: str, side: str) -> float | None:
    """Return the median time of one sample on one thread in ms; None where none was measured."""
    for row in (speed or {}).get("rows", ()):
        if (row["backend"], row["batch_size"], row["threads"]) == (backend, 1, 1):
            return float(row[side]["median_ms"])
    return None


def _int8(run: str, document: Document) -> Variant:
    found = document["quantised"]
    metrics = found["after"]
    times = [one["after"]["median_ms"] for one in found["speed"] if one["batch_size"] == 1]
    numbers: dict[str, float | None] = {
        name: None if metrics is None else (metrics.get("values") or metrics).get(name)
        for name in _QUALITIES
    }
    task = task_of(document)
    interval = None
    if metrics is not None:
        own = metrics.get("intervals") or {}
        interval = own.get(task.metrics[0].key) or metrics["accuracy_interval"]
    numbers |= {
        "params": document["params"]["after"],
        "nonzero": None,
        "macs": document["macs"]["after"],
        "bytes": found["int8_bytes"],
        "latency": None,
        "latency_onnx": times[0] if times else None,
    }
    return Variant(
        run,
        "int8",
        numbers,
        None if metrics is None else int(metrics["n"]),
        _pair(interval),
        task.key,
    )
