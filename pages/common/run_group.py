"""Runs that were started together: their curves in one figure, and what each has reached."""

from typing import TYPE_CHECKING

import numpy as np
import streamlit as st

from pages.common import charts, state
from pages.common.format import judged
from pruning_core.errors import RunError
from pruning_core.runs.store import Record, Store

if TYPE_CHECKING:
    from pruning_core.runs.view import RunView
    from pruning_core.tasks import Metric


def records_of(record: Record) -> tuple[Record, ...]:
    """Return the runs of the group of ``record``; the record alone where it has none."""
    return Store().group(record.group_id) if record.group_id else (record,)


def show(records: tuple[Record, ...], shown: str) -> None:
    """Draw the runs of one group; ``shown`` is the one the page shows in full."""
    from pruning_core.figures.group import group_curves

    views = [view for record in records if (view := _view(record.id)) is not None]
    curves = {
        view.record.label: np.array([epoch.validation_accuracy for epoch in view.epochs])
        for view in views
    }
    longest = max((record.n_epochs for record in records), default=1)
    numbers = {
        "epoch": range(1, longest + 1),
        **{
            label: [*map(float, values), *[None] * (longest - values.size)]
            for label, values in curves.items()
        },
    }
    charts.show(
        group_curves(curves, longest, charts.colours(), metric=_metric(views)),
        key="group_curves",
        table=numbers,
    )
    _table(records, shown, _metric(views))


def _metric(views: "list[RunView]") -> "Metric":
    """Return what the runs are judged by; they have the same data."""
    from pruning_core.tasks import CLASSES
    from pruning_core.tasks.registry import headline

    epochs = next((view.epochs for view in views if view.epochs), ())
    return headline(epochs[0].task if epochs else CLASSES)


def _table(records: tuple[Record, ...], shown: str, metric: "Metric") -> None:
    """Draw state and test accuracy of each run, with a button that shows it."""
    columns = st.columns(len(records))
    for column, record in zip(columns, records, strict=True):
        accuracy = record.tuned
        with column:
            st.metric(
                record.label,
                record.state if accuracy is None else judged(metric, accuracy, 2),
                help=f"Test {metric.name} after fine-tuning, MEASURED, once the run is done",
            )
            st.button(
                "Shown below" if record.id == shown else "Show",
                key=f"show_{record.id}",
                disabled=record.id == shown,
                on_click=lambda run=record.id: state.show_run(run),
            )


def _view(run: str) -> "RunView | None":
    """Return one run; None when its files cannot be read, which its own view explains."""
    from pruning_core.runs.view import read_run

    try:
        return read_run(run)
    except RunError:
        return None
