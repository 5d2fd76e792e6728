"""Everything a page shows of a run, read from the store alone; any tab may look at any run."""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Final, TypeVar

from pruning_core.exporting.exporter import EXPORTERS
from pruning_core.planning.recipe import Recipe
from pruning_core.preview import Totals
from pruning_core.runs.events import STAGES, Moment, RoundFinished, Shrunk
from pruning_core.runs.log import Entry, read_log
from pruning_core.runs.store import WORKING, Record, Store, read_spec
from pruning_core.tasks import CLASSES
from pruning_core.tasks.registry import headline
from pruning_core.tuning.finetune import BatchProgress, EpochResult

LOG_LINES: Final = 200
T = TypeVar("T")
Numbered = TypeVar("Numbered", EpochResult, Shrunk)


@dataclass(frozen=True, slots=True)
class TestMetrics:
    """Test metrics at one moment of a run; all but ``loss`` (nats) and ``n`` are shares, 0 to 1.

    ``accuracy`` is what the task is judged by; those of classes alone are None for other tasks.
    """

    accuracy: float
    loss: float
    n: int
    precision: float | None = None
    recall: float | None = None
    f1: float | None = None
    task: str = CLASSES


@dataclass(frozen=True, slots=True)
class ExportFile:
    """A file of a finished run that can be downloaded.

    Attributes:
        key: Key in ``EXPORTERS``.
        title: Name on screen.
        description: One sentence.
        media_type: For the download button.
        path: Where it lies; whole.
        n_bytes: Its size.
    """

    key: str
    title: str
    description: str
    media_type: str
    path: Path
    n_bytes: int


@dataclass(frozen=True, slots=True, eq=False)
class RunView:
    """One run, as far as it has come.

    Attributes:
        record: State, stage, epoch, error and so on.
        recipe: What was asked for.
        stage_title: What it is doing, in words.
        epochs: Finished epochs, in order; each once, also after a worker was replaced.
        batches: Sampled batches of all epochs, in order: for a loss curve.
        progress: The last batch seen; None before the first.
        fraction: Share of the fine-tuning that is done, 0 to 1; None without fine-tuning.
        examples_per_second: Training samples per second lately; None before it is known.
        seconds_left: Estimated seconds of fine-tuning left; None when unknown or not running.
        before: Totals of the dense network; None before the preview.
        after: Totals of the plan of the latest round; None before the preview.
        layers: Parameters that are not zero, before and after, by layer, likewise.
        metrics: Test metrics by moment; only those that were measured.
        rounds: Finished rounds.
        shrunk: What sparse training did to the sizes, by epoch from 0; empty without it.
        source: Which copy of the data is used, e.g. ``full set``; empty when not known.
        notes: Sentences the user should know, in order.
        report: The content of report.json; None before it is written.
        log: The last lines of the log as text, the oldest first.
        files: What can be downloaded; whole files only.
        event_files: Folder of the TensorBoard event files; None where there are none.
    """

    record: Record
    recipe: Recipe
    stage_title: str
    epochs: tuple[EpochResult, ...]
    batches: tuple[BatchProgress, ...]
    progress: BatchProgress | None
    fraction: float | None
    examples_per_second: float | None
    seconds_left: float | None
    before: Totals | None
    after: Totals | None
    layers: Mapping[str, tuple[int, int]]
    metrics: Mapping[Moment, TestMetrics]
    rounds: tuple[RoundFinished, ...]
    shrunk: tuple[Shrunk, ...]
    source: str
    notes: tuple[str, ...]
    report: Mapping[str, Any] | None
    log: tuple[str, ...]
    files: tuple[ExportFile, ...]
    event_files: Path | None = None


def read_run(run_id: str, *, store: Store | None = None) -> RunView:
    """Return what is known of a run; nothing is changed (see ``dispatcher.poll`` for that).

    Raises:
        RunError: If there is no such run, or its description is damaged.
    """
    store = store or Store()
    record = store.get(run_id)
    folder = store.folder(run_id)
    recipe = read_spec(folder / "spec.json").recipe
    entries = read_log(folder / "log.jsonl")
    by_kind: dict[str, list[Entry]] = {}
    for entry in entries:
        by_kind.setdefault(entry["kind"], []).append(entry)
    epochs = _last_by_number(_made(EpochResult, by_kind.get("epoch", ())))
    batches = tuple(_made(BatchProgress, by_kind.get("batch", ())))
    costs = by_kind.get("preview", [])
    loaded = by_kind.get("loaded", [])
    pace = _pace(by_kind.get("batch", ()), epochs, record)
    n_left = _batches_left(record, batches)
    return RunView(
        record=record,
        recipe=recipe,
        stage_title=_stage_title(record, by_kind.get("stage", ())),
        epochs=epochs,
        batches=batches,
        progress=batches[-1] if batches else None,
        fraction=_fraction(record, batches),
        examples_per_second=_speed(epochs, pace, recipe),
        seconds_left=None if pace is None or n_left is None else n_left * pace,
        before=Totals(**costs[-1]["before"]) if costs else None,
        after=Totals(**costs[-1]["after"]) if costs else None,
        layers=costs[-1].get("nonzero", {}) if costs else {},
        metrics=_metrics(by_kind.get("evaluation", ())),
        rounds=_last_by_round(_made(RoundFinished, by_kind.get("round", ()))),
        shrunk=_last_by_number(_shrunk(by_kind.get("shrunk", ()))),
        source=loaded[-1]["source"] if loaded else "",
        notes=tuple(dict.fromkeys(entry["text"] for entry in by_kind.get("note", ()))),
        report=_read_report(folder / "export" / "report.json"),
        log=tuple(filter(None, map(_line, entries)))[-LOG_LINES:],
        files=_files(folder / "export") if record.state == "done" else (),
        event_files=next(iter(folder.glob("tensorboard")), None),
    )


def _made(kind: type[T], entries: Sequence[Entry]) -> list[T]:
    """Return the entries as instances of the dataclass whose fields they hold."""
    names = [field.name for field in fields(kind)]  # type: ignore[arg-type]
    return [kind(**{name: entry[name] for name in names if name in entry}) for entry in entries]


def _shrunk(entries: Sequence[Entry]) -> list[Shrunk]:
    return [replace(item, counts=tuple(item.counts)) for item in _made(Shrunk, entries)]


def _last_by_number(epochs: Sequence[Numbered]) -> tuple[Numbered, ...]:
    """Return one result for each epoch: an epoch done again after a kill counts once."""
    latest = {result.epoch: result for result in epochs}
    return tuple(latest[number] for number in sorted(latest))


def _last_by_round(rounds: Sequence[RoundFinished]) -> tuple[RoundFinished, ...]:
    latest = {result.round: result for result in rounds}
    return tuple(latest[number] for number in sorted(latest))


def _metrics(entries: Sequence[Entry]) -> dict[Moment, TestMetrics]:
    moments = [entry["moment"] for entry in entries]
    return dict(zip(moments, _made(TestMetrics, entries), strict=True))


def _stage_title(record: Record, entries: Sequence[Entry]) -> str:
    """Return the words for the present stage, with the round where the log knows it."""
    if record.is_finished:
        return record.state
    if record.state != "queued" and entries and entries[-1]["stage"] == record.stage:
        return str(entries[-1]["title"])
    return STAGES.get(record.stage, record.stage)


def _batches_left(record: Record, batches: Sequence[BatchProgress]) -> int | None:
    if record.state != "running" or not batches:
        return None
    last = batches[-1]
    n_done = max(record.epoch * last.n_batches, (last.epoch - 1) * last.n_batches + last.batch)
    return max(0, record.n_epochs * last.n_batches - n_done)


def _fraction(record: Record, batches: Sequence[BatchProgress]) -> float | None:
    if record.n_epochs == 0:
        return None
    done = float(record.epoch)
    if batches and record.state in WORKING:
        done = max(done, batches[-1].epoch - 1 + batches[-1].batch / batches[-1].n_batches)
    return min(1.0, done / record.n_epochs)


def _pace(entries: Sequence[Entry], epochs: Sequence[EpochResult], record: Record) -> float | None:
    """Return the seconds one batch takes, validation included where an epoch is known."""
    if epochs and entries:
        return epochs[-1].seconds / float(entries[-1]["n_batches"])
    own = [entry for entry in entries if entry["attempt"] == record.attempt]
    if len(own) < 2 or own[-1]["batch"] <= own[0]["batch"]:
        return None
    spent: float = own[-1]["time"] - own[0]["time"]
    return max(0.0, spent) / float(own[-1]["batch"] - own[0]["batch"])


def _speed(epochs: Sequence[EpochResult], pace: float | None, recipe: Recipe) -> float | None:
    if epochs:
        return epochs[-1].examples_per_second
    return recipe.tuning.batch_size / pace if pace else None


def _read_report(path: Path) -> Mapping[str, Any] | None:
    """Return report.json; None when there is none (it is whole or absent)."""
    try:
        report = json.loads(path.read_bytes())
    except (FileNotFoundError, ValueError):
        return None
    return report if isinstance(report, dict) else None


def _files(folder: Path) -> tuple[ExportFile, ...]:
    """Return the files of the known formats that are there; other names are never offered."""
    return tuple(
        ExportFile(
            entry.key,
            entry.title,
            entry.description,
            entry.media_type,
            folder / entry.file_name,
            (folder / entry.file_name).stat().st_size,
        )
        for entry in EXPORTERS.values()
        if (folder / entry.file_name).is_file()
    )


def _line(entry: Entry) -> str:
    """Return an entry as one line for the screen; empty for what a curve shows better."""
    text = _text(entry)
    return f"{time.strftime('%H:%M:%S', time.localtime(entry['time']))}  {text}" if text else ""


def _text(entry: Entry) -> str:
    write = _WORDS.get(entry["kind"])
    return write(entry) if write else ""


def _loaded_text(entry: Entry) -> str:
    data = f", data {entry['data']} ({entry['source']})" if entry["data"] else ""
    return f"{entry['model']}: {entry['n_params']:,} parameters{data}"


def _epoch_text(entry: Entry) -> str:
    metric = headline(entry.get("task", CLASSES))
    return (
        f"epoch {entry['epoch']} of {entry['n_epochs']}: loss {entry['loss']:.4f}, "
        f"validation {metric.name} {metric.text(entry['validation_accuracy'])}"
    )


def _evaluation_text(entry: Entry) -> str:
    metric = headline(entry.get("task", CLASSES))
    value = metric.text(entry["accuracy"])
    return f"test {metric.name}, {entry['moment']}: {value} (n {entry['n']:,})"


def _preview_text(entry: Entry) -> str:
    before, after = entry["before"], entry["after"]
    return (
        f"parameters not zero {before['nonzero']:,} -> {after['nonzero']:,}, "
        f"MACs {before['macs']:,} -> {after['macs']:,}"
    )


def _round_text(entry: Entry) -> str:
    return f"round {entry['round']} of {entry['n_rounds']}: {entry['removed']:.2%} removed"


_WORDS: Final[Mapping[str, Callable[[Entry], str]]] = {
    "stage": lambda entry: str(entry["title"]),
    "loaded": _loaded_text,
    "epoch": _epoch_text,
    "evaluation": _evaluation_text,
    "preview": _preview_text,
    "round": _round_text,
    "note": lambda entry: str(entry["text"]),
    "error": lambda entry: str(entry["text"]),
}
