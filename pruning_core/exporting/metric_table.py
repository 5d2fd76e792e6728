"""Test metrics of a run as rows of text with their intervals; every surface shows these."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from pruning_core.exporting.wording import count, percent

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


def measured_stages(report: Report) -> tuple[str, ...]:
    """Return the moments at which test metrics were measured, in order."""
    return tuple(stage for stage in STAGE_TITLES if report["accuracy"].get(stage) is not None)


def metric_rows(report: Report) -> list[Row]:
    """Return title and one cell for each measured moment, e.g. ``92.8 % (92.3 to 93.3)``.

    Metrics that no moment has (top-5 of five classes) are left out.
    """
    stages = measured_stages(report)
    rows = []
    for metric, title in METRIC_TITLES.items():
        values = [(report.get(metric) or {}).get(stage) for stage in stages]
        if metric != "loss" and all(value is None for value in values):
            continue
        intervals = [_interval(report, stage, metric) for stage in stages]
        cells = [stage_cell(metric, *pair) for pair in zip(values, intervals, strict=True)]
        rows.append((title, *cells))
    return rows


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
