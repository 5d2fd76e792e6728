"""What was measured of an int8 file, as rows and sentences; every surface shows these."""

from collections.abc import Sequence
from typing import Any, Final

from pruning_core.exporting.metric_table import metric_cell
from pruning_core.exporting.wording import count, percent, ratio, size
from pruning_core.tasks import CLASSES

HEADER: Final = ("In onnxruntime", "float32", "int8", "Change")
_MOST_NAMES: Final = 6

Found = dict[str, Any]


def int8_rows(found: Found) -> list[tuple[str, str, str, str]]:
    """Return the rows under ``HEADER`` of ``quantised`` in a report.json."""
    small, large = found["int8_bytes"], found["float_bytes"]
    rows = [("File", size(large), size(small), f"{ratio(large, small)} smaller")]
    before, after = found["before"], found["after"]
    if before is not None and after is not None:
        rows += _quality_rows(before, after, found["change"])
    rows += [_speed_row(speed) for speed in found["speed"]]
    return rows


def int8_sentences(found: Found) -> list[str]:
    """Return what a reader of the rows should know besides."""
    texts = []
    if found["agreement"] is not None:
        texts.append(
            f"Both files give the same answer to {percent(found['agreement'])} of "
            f"{count(found['after']['n'])} test examples."
        )
    if found["n_calibration"]:
        texts.append(
            f"Ranges of activations were watched on {count(found['n_calibration'])} samples of the "
            "training split."
        )
    if found["stored"]:
        texts.append(
            f"Stored as int8 but multiplied in float32, because this kind has no fast int8 "
            f"operator for them: {_listed(found['stored'])}."
        )
    if found["left"]:
        texts.append(f"Still float32: {_listed(found['left'])}.")
    if found["session"]:
        options = ", ".join(f"{key}={value}" for key, value in found["session"].items())
        texts.append(
            f"Measured with the onnxruntime session setting {options}: stored weights are turned "
            "into float32 once, when the file is opened, and not at every call."
        )
    return texts


def speed_words(speed: Found) -> str:
    """Say a ratio of times: ``1.45x faster (1.40 to 1.50)``, or that there is no gain."""
    interval = f"{speed['ratio_low']:.2f} to {speed['ratio_high']:.2f}"
    if speed["verdict"] == "slower":
        return f"{1 / speed['ratio']:.2f}x slower (ratio {interval})"
    if speed["verdict"] == "faster":
        return f"{speed['ratio']:.2f}x faster ({interval})"
    return f"no measurable gain (ratio {interval})"


def milliseconds(timing: Found) -> str:
    """Return a median with its quartiles: ``0.23 ms (0.22 to 0.25)``."""
    median, low, high = (_three(timing[name]) for name in ("median_ms", "low_ms", "high_ms"))
    return f"{median} ms ({low} to {high})"


def _three(number: float) -> str:
    """Return a number with three digits, or all those before the point."""
    if number >= 100:
        return f"{number:,.0f}"
    return f"{number:#.3g}"


def _quality_rows(
    before: Found, after: Found, change: Sequence[float]
) -> list[tuple[str, str, str, str]]:
    if after.get("task", CLASSES) != CLASSES:
        return _task_rows(before, after, change)
    low, high = (f"{100 * end:+.2f}" for end in change)
    points = 100 * (after["accuracy"] - before["accuracy"])
    intervals = [
        "{} to {}".format(*map(percent, side["accuracy_interval"])) for side in (before, after)
    ]
    return [
        (
            f"Test accuracy, n = {count(after['n'])}",
            percent(before["accuracy"]),
            percent(after["accuracy"]),
            f"{points:+.2f} points ({low} to {high})",
        ),
        ("95 % interval", intervals[0], intervals[1], ""),
        ("F1 (macro)", percent(before["f1"]), percent(after["f1"]), ""),
        ("Loss (cross-entropy)", _loss(before["loss"]), _loss(after["loss"]), ""),
    ]


def _task_rows(
    before: Found, after: Found, change: Sequence[float]
) -> list[tuple[str, str, str, str]]:
    """Return the rows of a task without classes."""
    from pruning_core.tasks.registry import TASKS

    task = TASKS[after["task"]]
    metric, rows = task.metrics[0], []
    for each in task.metrics:
        was, now = before["values"].get(each.key), after["values"].get(each.key)
        known = was is not None and now is not None
        rows.append(
            (
                each.title,
                metric_cell(each, was, before["intervals"].get(each.key)),
                metric_cell(each, now, after["intervals"].get(each.key)),
                each.change(was, now, 2) if known else "",
            )
        )
    if all(end is not None for end in change):
        low, high = (f"{metric.scaled(end):+.4g}" for end in change)
        rows[0] = (*rows[0][:3], f"{rows[0][3]} ({low} to {high} {metric.axis})")
    rows.append(("Loss", _loss(before["loss"]), _loss(after["loss"]), ""))
    rows.append(("Test samples n", count(before["n"]), count(after["n"]), ""))
    return rows


def _speed_row(speed: Found) -> tuple[str, str, str, str]:
    threads = "1 thread" if speed["threads"] == 1 else f"{speed['threads']} threads"
    return (
        f"Batch of {speed['batch_size']}, {threads}",
        milliseconds(speed["before"]),
        milliseconds(speed["after"]),
        speed_words(speed),
    )


def _loss(value: float | None) -> str:
    return "not finite" if value is None else f"{value:.4f}"


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(names[:_MOST_NAMES])
    return shown if len(names) <= _MOST_NAMES else f"{shown}, ... ({len(names)} in all)"
