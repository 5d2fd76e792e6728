"""One run on the page: what it is doing, its curves, and what it measured."""

import time
from collections.abc import Mapping
from shlex import quote
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
import streamlit as st

from pages.common import (
    cache,
    charts,
    measured,
    run_group,
    run_numbers,
    run_sparse,
    run_speed,
    shell,
    state,
)
from pages.common.format import count, duration, judged, markdown
from pruning_core.errors import RunError
from pruning_core.runs import dispatcher

if TYPE_CHECKING:
    from pruning_core.runs.store import Record
    from pruning_core.runs.view import RunView, TestMetrics
    from pruning_core.tasks import Metric
    from pruning_core.tasks.registry import Task

_STATES: Final[Mapping[str, tuple[str, str]]] = {
    "queued": ("waiting", "gray"),
    "running": ("running", "blue"),
    "pausing": ("pausing", "orange"),
    "paused": ("paused", "orange"),
    "cancelling": ("stopping", "orange"),
    "cancelled": ("cancelled", "gray"),
    "done": ("done", "green"),
    "failed": ("failed", "red"),
}
_MOMENTS: Final[Mapping[str, str]] = {
    "dense": "Dense",
    "pruned": "Pruned",
    "tuned": "Fine-tuned",
}


def show(run: str) -> None:
    """Draw a run; while it is active, this part of the page refreshes itself every second."""
    try:
        active = _is_active(dispatcher.poll(run))
    except RunError as error:
        st.error(markdown(str(error)))
        return
    if active:
        st.fragment(_live, run_every=1.0)(run, was_active=True)
    else:
        _live(run, was_active=False)


def _is_active(record: "Record") -> bool:
    """Tell whether anything will still change: the run, or one that was started with it."""
    return any(
        not one.is_finished and one.state != "paused" for one in run_group.records_of(record)
    )


def _live(run: str, *, was_active: bool) -> None:
    """Draw the present state of a run."""
    from pruning_core.runs.view import read_run

    with shell.shows_errors():
        record = dispatcher.poll(run)
        if was_active and not _is_active(record):
            st.rerun()
        try:
            view = read_run(run)
        except RunError as error:
            st.error(markdown(str(error)))
            _stop_or_delete(record)
            return
        if record.group_id:
            run_group.show(run_group.records_of(record), run)
        _head(view)
        _accuracies(view)
        for note in view.notes:
            st.caption(f":material/info: {markdown(note)}")
        if record.error and record.error not in view.notes:
            st.warning(markdown(record.error))
        if view.epochs or (record.n_epochs and not record.is_finished):
            _curves(view)
        run_sparse.show(view)
        if len(view.rounds) > 1:
            _rounds(view)
        if record.state == "done":
            _results(run)
            run_speed.show(run, view.recipe)
        _details(view)


def _head(view: "RunView") -> None:
    """Draw title, state, progress and the button to stop."""
    record = view.record
    word, colour = _STATES[record.state]
    with st.container(horizontal=True, vertical_alignment="center"):
        st.subheader(f"Run {markdown(record.id)}", anchor=False, width="content")
        st.badge(word, color=colour)  # type: ignore[arg-type]
        st.space("stretch")
        if record.is_finished:
            _reuse(view)
        if record.epoch and record.state not in {"cancelling", "pausing"}:
            _fork(view)
        _stop_or_delete(record)
    st.caption(markdown(record.title))
    if record.state == "paused":
        st.progress(view.fraction or 0.0, text=f"Paused after epoch {record.epoch}")
    elif not record.is_finished:
        st.progress(view.fraction or 0.0, text=_doing(view))
    elif record.started and record.finished:
        took = duration(record.finished - record.started)
        epochs = f", {record.epoch} of {record.n_epochs} epochs" if record.n_epochs else ""
        st.caption(f"Took {took}{epochs}.")


def _stop_or_delete(record: "Record") -> None:
    """Draw the button that ends an active run or deletes a finished one."""
    if record.is_finished:
        st.button(
            "Delete",
            icon=":material/delete:",
            key="delete_run",
            on_click=lambda: state.attempt(lambda: _delete(record.id)),
        )
        return
    if record.state == "paused":
        st.button(
            "Resume",
            icon=":material/play_arrow:",
            key="resume_run",
            help=f"Goes on after epoch {record.epoch}, when it is its turn.",
            on_click=lambda: state.attempt(lambda: _resume(record.id)),
        )
    else:
        st.button(
            "Pause",
            icon=":material/pause:",
            key="pause_run",
            disabled=record.state not in {"queued", "running"},
            help="Frees the processor for another run. What is finished is kept; the epoch that "
            "has begun is done again.",
            on_click=lambda: state.attempt(lambda: _pause(record.id)),
        )
    st.button(
        "Cancel",
        icon=":material/stop:",
        key="cancel_run",
        disabled=record.state == "cancelling",
        on_click=lambda: state.attempt(lambda: _cancel(record.id)),
    )


def _reuse(view: "RunView") -> None:
    """Draw the button that makes the recipe of a run the current one, unless it is already."""
    if view.record.fingerprint == state.recipe().fingerprint:
        return
    st.button(
        "Use its recipe",
        icon=":material/settings_backup_restore:",
        key="use_recipe",
        help="The strip above shows another plan. This makes the recipe of this run the plan.",
        on_click=lambda: state.attempt(lambda: state.set_recipe(view.recipe)),
    )


def _fork(view: "RunView") -> None:
    """Draw the form that starts a new run from an epoch of this one, once it is opened."""
    run = view.record.id
    form = st.popover("Fork", icon=":material/fork_right:", key="fork", on_change="rerun")
    if not form.open:
        return
    epochs = dispatcher.forkable(run)
    if not epochs:
        form.caption("No checkpoint of this run is kept.")
        return
    form.markdown(
        "A new run goes on from here with the settings of fine-tuning on this page. Kept are the "
        "newest two epochs of a run that is not done, and the ends of its rounds."
    )
    epoch = form.selectbox("After epoch", epochs, index=len(epochs) - 1, key="fork_epoch")
    form.button(
        "Start the fork",
        key="start_fork",
        on_click=lambda: state.attempt(lambda: _start_fork(view, int(epoch))),
    )


def _start_fork(view: "RunView", epoch: int) -> None:
    """Queue the fork and show it; its recipe becomes the plan."""
    wanted = state.recipe()
    last = {"last_epochs": wanted.schedule.last_epochs}
    schedule = view.recipe.schedule.model_copy(update=last)
    recipe = view.recipe.replace(tuning=wanted.tuning, schedule=schedule)
    run = dispatcher.fork(view.record.id, epoch, recipe, device=state.device())
    state.set_recipe(recipe)
    state.show_run(run)


def _doing(view: "RunView") -> str:
    """Say in one line what is going on."""
    record = view.record
    stage = view.stage_title or "waiting for its turn"
    parts = [stage[:1].upper() + stage[1:]]
    if record.attempt > 1:
        parts.append(f"start {record.attempt} after the worker ended")
    if view.epochs or view.progress is not None:
        parts.append(f"epoch {min(len(view.epochs) + 1, record.n_epochs)} of {record.n_epochs}")
    if view.progress is not None:
        parts.append(f"batch loss {view.progress.loss:.3f}")
    if view.epochs:
        parts.append(f"learning rate {view.epochs[-1].learning_rate:.2g}")
    if view.examples_per_second is not None:
        parts.append(f"{count(view.examples_per_second)} examples/s")
    if view.seconds_left is not None and record.stage == "tune":
        parts.append(f"about {duration(view.seconds_left)} left")
    elif record.started:
        parts.append(f"{duration(max(0.0, time.time() - record.started))} so far")
    return " · ".join(parts)


def _accuracies(view: "RunView") -> None:
    """Draw the test accuracies that are known; places of the others stay reserved."""
    known: Mapping[str, TestMetrics] = {str(name): found for name, found in view.metrics.items()}
    with st.container(key="accuracies"):
        columns = st.columns(3)
    dense = known.get("dense")
    metric = _task(view).metrics[0]
    unknown = "not measured" if view.record.is_finished else "not yet"
    for column, (moment, title) in zip(columns, _MOMENTS.items(), strict=True):
        found = known.get(moment)
        change, is_plain = None, True
        if found is not None and dense is not None:
            points = metric.change(dense.accuracy, found.accuracy, 2)
            change = f"n = {found.n:,}" if moment == "dense" else points
            is_plain = found.accuracy == dense.accuracy
        column.metric(
            f"{title}, test {metric.name}",
            unknown if found is None else judged(metric, found.accuracy, 2),
            change,
            delta_color="off" if is_plain else _good_is_up(metric),
            delta_arrow="off" if is_plain else "auto",
            help=f"MEASURED on {found.n:,} held-out test examples" if found else None,
        )


def _task(view: "RunView") -> "Task":
    """Return what a run was measured on; before that, what its data ask for."""
    from pruning_core.tasks.registry import TASKS

    names = [found.task for found in view.metrics.values()] + [one.task for one in view.epochs]
    return TASKS[names[0]] if names else cache.task(view.recipe)


def _good_is_up(metric: "Metric") -> Literal["normal", "inverse"]:
    return "normal" if metric.higher_is_better else "inverse"


def _curves(view: "RunView") -> None:
    """Draw loss and accuracy of the finished epochs."""
    from pruning_core.figures.curves import accuracy_curves, loss_curves

    palette, task = charts.colours(), _task(view)
    n_epochs = view.record.n_epochs
    numbers = range(1, len(view.epochs) + 1)
    names = ("loss", "validation_loss", "accuracy", "validation_accuracy")
    loss, validation_loss, accuracy, validation_accuracy = (
        np.array([getattr(epoch, name) for epoch in view.epochs], np.float64) for name in names
    )
    levels = {str(name): found.accuracy for name, found in view.metrics.items() if name != "tuned"}
    left, right = st.columns(2)
    with left:
        charts.show(
            loss_curves(loss, validation_loss, n_epochs, palette, name=task.loss_name),
            key="loss_curves",
            table={"epoch": numbers, "training": loss, "validation": validation_loss},
        )
    with right:
        charts.show(
            accuracy_curves(
                accuracy,
                validation_accuracy,
                n_epochs,
                palette,
                levels=levels,
                metric=task.metrics[0],
            ),
            key="accuracy_curves",
            table={"epoch": numbers, "training": accuracy, "validation": validation_accuracy},
        )


def _details(view: "RunView") -> None:
    """Draw what is left of each layer, and the last lines of the log, once they are opened."""
    layers = st.expander("Sparsity by layer", key="run_layers", on_change="rerun")
    if layers.open and view.layers:
        counts = np.array(list(view.layers.values()))
        layers.dataframe(
            {
                "Layer": list(view.layers),
                "Not zero before": counts[:, 0],
                "Not zero now": counts[:, 1],
                "Sparsity": 1 - counts[:, 1] / np.maximum(counts[:, 0], 1),
            },
            hide_index=True,
            column_config={"Sparsity": st.column_config.NumberColumn(format="percent")},
            alt="Parameters that are not zero, by layer, before and in the latest round",
        )
    log = st.expander("Log", key="run_log", on_change="rerun")
    if log.open:
        log.code("\n".join(view.log) or "Nothing yet.", language=None, height=300)
        if view.event_files:
            log.caption("TensorBoard shows the event files of this run with:")
            log.code(f"tensorboard --logdir {quote(str(view.event_files))}", language=None)


def _rounds(view: "RunView") -> None:
    """Draw what each round removed and what accuracy it left."""
    from pruning_core.figures.rounds import round_curve

    rounds = [found for found in view.rounds if found.validation_accuracy is not None]
    if not rounds:
        return
    removed = np.array([found.removed for found in rounds])
    accuracy = np.array([found.validation_accuracy for found in rounds])
    held = [found.held for found in rounds]
    metric = _task(view).metrics[0]
    charts.show(
        round_curve(removed, accuracy, held, rounds[0].n_rounds, charts.colours(), metric=metric),
        key="round_curve",
        table={
            "round": [found.round for found in rounds],
            "removed": removed,
            f"validation {metric.name}": accuracy,
            "held": held,
        },
    )


def _results(run: str) -> None:
    """Draw what a finished run measured."""
    report = measured.report(run)
    if report is None:
        st.warning("The report of this run is missing. Start the run again to get its numbers.")
        return
    run_numbers.show(report)
    moments = [name for name in _MOMENTS if (report["details"] or {}).get(name)]
    if moments and moments[-1] != "dense" and report["details"]["dense"]["per_class"]:
        _classes(report, moments[-1])


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


def _pause(run: str) -> None:
    dispatcher.pause(run)


def _resume(run: str) -> None:
    dispatcher.resume(run)


def _delete(run: str) -> None:
    dispatcher.delete(run)
    state.show_run("")
