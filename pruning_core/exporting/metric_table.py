"""Test metrics of a run as rows of text with their intervals; every surface shows these."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from pruning_core.exporting.wording import count, percent
from pruning_core.tasks import CLASSES, Metric

if TYPE_CHECKING:
    from pruning_core.tasks.registry import Task

METRIC_TITLES: Final[Mapping[str, str]] = {
    "accuracy": "Accuracy",
    "top5": "Top-5 accuracy",
    "precision": "Precision (macro)",
    "recall": "Recall (macro)",
    "f1": "F1 (macro)",
    "calibration_error": "Calibration error (ECE)",
    "loss": "Loss (cross-entropy)",
    "n": "Test samples n",
}
STAGE_TITLES: Final[Mapping[str, str]] = {
    "dense": "Dense",
    "pruned": "Pruned",
    "tuned": "Fine-tuned",
}
HOW: Final = (
    "In brackets: 95 % intervals. Accuracy, top-5 and single classes: Wilson. Loss: normal. "
    "Macro metrics (means over the classes) and ECE (how far confidence lies from accuracy, in 15 "
    "bins): basic bootstrap over the samples, 1,000 resamples, seed 0."
)

Report = Mapping[str, Any]
Row = tuple[str, ...]


def task_of(report: Report) -> "Task":
    """Return the task of a run; reports of older versions are of classification."""
    from pruning_core.tasks.registry import TASKS

    return TASKS[report.get("task", CLASSES)]


def how(report: Report) -> str:
    """Say how the intervals of a report's metrics were found."""
    task = task_of(report)
    if task.counts_classes:
        return HOW
    metric = task.metrics[0]
    better = "Higher" if metric.higher_is_better else "Lower"
    return f"{better} is better for {metric.name}. In brackets: 95 % intervals, {metric.interval}."


def measured_stages(report: Report) -> tuple[str, ...]:
    """Return the moments at which test metrics were measured, in order."""
    key = "accuracy" if task_of(report).counts_classes else "details"
    return tuple(stage for stage in STAGE_TITLES if report[key].get(stage) is not None)


def headlines(report: Report) -> dict[str, float | None]:
    """Return what the task is judged by, at each moment; None where it was not measured."""
    task = task_of(report)
    if task.counts_classes:
        return {stage: report["accuracy"].get(stage) for stage in STAGE_TITLES}
    key = task.metrics[0].key
    details = {stage: report["details"].get(stage) or {} for stage in STAGE_TITLES}
    return {stage: (found.get("values") or {}).get(key) for stage, found in details.items()}


def headline_interval(report: Report, stage: str) -> Sequence[float] | None:
    """Return the 95 % interval of that, None where there is none."""
    return _interval(report, stage, task_of(report).metrics[0].key)


def metric_rows(report: Report) -> list[Row]:
    """Return title and one cell for each measured moment, e.g. ``92.8 % (92.3 to 93.3)``.

    Metrics that no moment has (top-5 of five classes) are left out.
    """
    stages = measured_stages(report)
    if not task_of(report).counts_classes:
        return _task_rows(report, stages)
    rows = []
    for metric, title in METRIC_TITLES.items():
        values = [(report.get(metric) or {}).get(stage) for stage in stages]
        if metric != "loss" and all(value is None for value in values):
            continue
        intervals = [_interval(report, stage, metric) for stage in stages]
        cells = [stage_cell(metric, *pair) for pair in zip(values, intervals, strict=True)]
        rows.append((title, *cells))
    return rows


def _task_rows(report: Report, stages: Sequence[str]) -> list[Row]:
    """Return the rows of a task without classes."""
    rows = []
    for metric in task_of(report).metrics:
        cells = [
            metric_cell(
                metric,
                report["details"][stage]["values"].get(metric.key),
                _interval(report, stage, metric.key),
            )
            for stage in stages
        ]
        rows.append((metric.title, *cells))
    losses = (
        stage_cell("loss", report["loss"].get(stage), _interval(report, stage, "loss"))
        for stage in stages
    )
    rows.append(("Loss", *losses))
    rows.append((METRIC_TITLES["n"], *(count(int(report["n"][stage])) for stage in stages)))
    return rows


def metric_cell(metric: Metric, value: float | None, interval: Sequence[float] | None) -> str:
    """Return a number of a task with its interval as text, e.g. ``8.31 (8.1 to 8.52)``."""
    text = metric.text(value)
    if value is None or interval is None or any(end is None for end in interval):
        return text
    low, high = interval
    return f"{text} ({metric.between(low, high)})"


def class_rows(report: Report, stage: str, names: Sequence[str]) -> list[Row]:
    """Return a row for each class: name, n, and precision, recall and F1 with intervals."""
    return [
        (
            names[item["label"]] if item["label"] < len(names) else str(item["label"]),
            count(item["n"]),
            *(
                stage_cell(metric, item[metric], (item.get("intervals") or {}).get(metric))
                for metric in ("precision", "recall", "f1")
            ),
        )
        for item in report["details"][stage]["per_class"]
    ]


CLASS_HEADER: Final = ("Class", "n", "Precision", "Recall", "F1")


def _interval(report: Report, stage: str, metric: str) -> Sequence[float] | None:
    details = report["details"][stage]
    found: Sequence[float] | None = (details.get("intervals") or {}).get(metric)
    return details["accuracy_interval"] if found is None and metric == "accuracy" else found


def stage_cell(metric: str, value: float | None, interval: Sequence[float] | None) -> str:
    """Return one number with its interval as text, e.g. ``92.8 % (92.3 to 93.3)``."""
    if value is None:
        return "not finite" if metric == "loss" else "not measured"
    if metric == "n":
        return count(int(value))
    if interval is None or any(end is None for end in interval):
        return f"{value:.4f}" if metric == "loss" else percent(value)
    low, high = interval
    if metric == "loss":
        return f"{value:.4f} ({low:.4f} to {high:.4f})"
    return f"{percent(value)} ({100 * low:.2f} to {100 * high:.2f})"
