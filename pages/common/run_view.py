"""One run on the page: what it is doing, its curves, and what it measured."""

import time
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import streamlit as st

from pages.common import cache, charts, measured, progress, shell, state
from pages.common.format import count, duration, markdown, percent
from pruning_core.errors import RunError
from pruning_core.planning.recipe import Recipe
from pruning_core.runs import dispatcher
from pruning_core.runs.log import read_log
from pruning_core.runs.store import Record, Store, read_spec

_STATES: Final[Mapping[str, tuple[str, str]]] = {
    "queued": ("waiting", "gray"),
    "running": ("running", "blue"),
    "cancelling": ("stopping", "orange"),
    "cancelled": ("cancelled", "gray"),
    "done": ("done", "green"),
    "failed": ("failed", "red"),
}
_METRICS: Final[Mapping[str, str]] = {
    "accuracy": "Accuracy",
    "precision": "Precision (mean over classes)",
    "recall": "Recall (mean over classes)",
    "f1": "F1 (mean over classes)",
    "loss": "Loss (cross-entropy)",
}
_MOMENTS: Final[Mapping[str, str]] = {
    "dense": "Dense",
    "pruned": "Pruned",
    "tuned": "Fine-tuned",
}


def show(run: str) -> None:
    """Draw a run; while it is active, this part of the page refreshes itself every second."""
    try:
        active = not dispatcher.poll(run).is_finished
    except RunError as error:
        st.error(markdown(str(error)))
        return
    if active:
        st.fragment(_live, run_every=1.0)(run, was_active=True)
    else:
        _live(run, was_active=False)


def _live(run: str, *, was_active: bool) -> None:
    """Draw the present state of a run from its record and its log."""
    with shell.shows_errors():
        record = dispatcher.poll(run)
        if was_active and record.is_finished:
            st.rerun()
        entries = read_log(Store().folder(run) / "log.jsonl")
        now = progress.summarise(entries, record.n_epochs)
        _head(record, now)
        _accuracies(record, now)
        for note in now.notes:
            st.caption(f":material/info: {markdown(note)}")
        if record.error and record.error not in now.notes:
            st.warning(markdown(record.error))
        if now.epochs or (record.n_epochs and not record.is_finished):
            _curves(record, now)
        if record.state == "done":
            _results(run)


def _head(record: Record, now: progress.Progress) -> None:
    """Draw title, state, progress and the button to stop."""
    word, colour = _STATES[record.state]
    with st.container(horizontal=True, vertical_alignment="center"):
        st.subheader(f"Run {markdown(record.id)}", anchor=False, width="content")
        st.badge(word, color=colour)  # type: ignore[arg-type]
        st.space("stretch")
        if record.is_finished:
            _reuse(record)
            st.button(
                "Delete",
                icon=":material/delete:",
                key="delete_run",
                on_click=lambda: state.attempt(lambda: _delete(record.id)),
            )
        else:
            st.button(
                "Cancel",
                icon=":material/stop:",
                key="cancel_run",
                disabled=record.state == "cancelling",
                on_click=lambda: state.attempt(lambda: _cancel(record.id)),
            )
    st.caption(markdown(record.title))
    if not record.is_finished:
        st.progress(now.fraction, text=_doing(record, now))
    elif record.started and record.finished:
        took = duration(record.finished - record.started)
        epochs = f", {record.epoch} of {record.n_epochs} epochs" if record.n_epochs else ""
        st.caption(f"Took {took}{epochs}.")


def _reuse(record: Record) -> None:
    """Draw the button that makes the recipe of a run the current one, unless it is already."""
    if record.fingerprint == state.recipe().fingerprint:
        return
    st.button(
        "Use its recipe",
        icon=":material/settings_backup_restore:",
        key="use_recipe",
        help="The strip above shows another plan. This makes the recipe of this run the plan.",
        on_click=lambda: state.attempt(lambda: state.set_recipe(_recipe_of(record))),
    )


def _recipe_of(record: Record) -> Recipe:
    """Return the recipe a run was started with."""
    return read_spec(Store().folder(record.id) / "spec.json").recipe


def _doing(record: Record, now: progress.Progress) -> str:
    """Say in one line what is going on."""
    stage = (now.stage or "waiting for its turn") if record.state != "queued" else "waiting"
    parts = [stage[:1].upper() + stage[1:]]
    if now.epochs or now.batch_loss is not None:
        parts.append(f"epoch {min(len(now.epochs) + 1, record.n_epochs)} of {record.n_epochs}")
    if now.batch_loss is not None:
        parts.append(f"batch loss {now.batch_loss:.3f}")
    if now.examples_per_second is not None:
        parts.append(f"{count(now.examples_per_second)} examples/s")
    if now.seconds_left is not None:
        parts.append(f"about {duration(now.seconds_left)} left")
    elif record.started:
        parts.append(f"{duration(max(0.0, time.time() - record.started))} so far")
    return " · ".join(parts)


def _accuracies(record: Record, now: progress.Progress) -> None:
    """Draw the test accuracies that are known; places of the others stay reserved."""
    with st.container(key="accuracies"):
        columns = st.columns(3)
    dense = now.accuracy.get("dense")
    unknown = "not measured" if record.is_finished else "not yet"
    for column, (moment, title) in zip(columns, _MOMENTS.items(), strict=True):
        value = now.accuracy.get(moment)
        change = None
        if value is not None and dense is not None:
            points = f"{100 * (value - dense):+.2f} points"
            change = f"n = {now.n_test:,}" if moment == "dense" else points
        column.metric(
            f"{title}, test accuracy",
            unknown if value is None else percent(value, 2),
            change,
            delta_color="off" if moment == "dense" else "normal",
            delta_arrow="off" if moment == "dense" else "auto",
            help=f"MEASURED on {now.n_test:,} held-out test examples" if value else None,
        )


def _curves(record: Record, now: progress.Progress) -> None:
    """Draw loss and accuracy of the finished epochs."""
    from pruning_core.figures.curves import accuracy_curves, loss_curves

    palette = charts.colours()
    numbers = range(1, len(now.epochs) + 1)
    names = ("loss", "validation_loss", "accuracy", "validation_accuracy")
    loss, validation_loss, accuracy, validation_accuracy = (now.series(name) for name in names)
    levels = {name: value for name, value in now.accuracy.items() if name != "tuned"}
    left, right = st.columns(2)
    with left:
        charts.show(
            loss_curves(loss, validation_loss, record.n_epochs, palette),
            key="loss_curves",
            table={"epoch": numbers, "training": loss, "validation": validation_loss},
        )
    with right:
        charts.show(
            accuracy_curves(accuracy, validation_accuracy, record.n_epochs, palette, levels=levels),
            key="accuracy_curves",
            table={"epoch": numbers, "training": accuracy, "validation": validation_accuracy},
        )


def _results(run: str) -> None:
    """Draw what a finished run measured."""
    report = measured.report(run)
    if report is None:
        st.warning("The report of this run is missing. Start the run again to get its numbers.")
        return
    moments = [name for name in _MOMENTS if (report["details"] or {}).get(name)]
    if not moments:
        st.info("No accuracy was measured, because neither the recipe nor the model names data.")
        return
    n_test = report["n"][moments[-1]]
    source = markdown(f"{report['data']['title']}, {report['data']['source']}")
    st.markdown(f"**Measured** on {n_test:,} held-out test examples ({source})")
    st.dataframe(_metric_table(report, moments), hide_index=True, alt="Metrics before and after")
    last = moments[-1]
    if last != "dense":
        _classes(report, last)


def _metric_table(report: dict[str, Any], moments: list[str]) -> dict[str, list[str]]:
    """Return one row a metric, one column a moment, and the interval of the accuracy."""
    table = {"Metric": [*_METRICS.values(), "Accuracy, 95 % interval"]}
    for moment in moments:
        values = [report[metric][moment] for metric in _METRICS]
        low, high = report["details"][moment]["accuracy_interval"]
        table[_MOMENTS[moment]] = [
            "not finite"
            if value is None
            else f"{value:.4f}"
            if name == "loss"
            else percent(value, 2)
            for name, value in zip(_METRICS, values, strict=True)
        ] + [f"{percent(low, 2)} to {percent(high, 2)}"]
    return table


def _classes(report: dict[str, Any], last: str) -> None:
    """Draw how the recall of each class moved, and which confusions changed."""
    from pruning_core.figures.changes import confusion_change, recall_change

    names = cache.class_names(report["data"]["key"])
    recalls = {
        moment: np.array([item["recall"] for item in report["details"][moment]["per_class"]])
        for moment in ("dense", last)
    }
    confusions = {
        moment: np.array(report["details"][moment]["confusion"]) for moment in ("dense", last)
    }
    left, right = st.columns(2)
    after = _MOMENTS[last].lower()
    with left:
        charts.show(
            recall_change(
                names, recalls["dense"], recalls[last], charts.colours(), after_name=after
            ),
            key="recall_change",
            table={"class": names, "dense": recalls["dense"], after: recalls[last]},
        )
    with right:
        charts.show(
            confusion_change(
                names, confusions["dense"], confusions[last], charts.colours(), after_name=after
            ),
            key="confusion_change",
            table={"true class": names}
            | {
                f"called {name}": (confusions[last] - confusions["dense"])[:, column]
                for column, name in enumerate(names)
            },
        )


def _cancel(run: str) -> None:
    dispatcher.cancel(run)


def _delete(run: str) -> None:
    dispatcher.delete(run)
    state.show_run("")
