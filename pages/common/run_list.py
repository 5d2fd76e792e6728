"""The list of runs, the newest first; a click shows one."""

import time

import streamlit as st

from pages.common import state
from pages.common.format import judged, markdown
from pruning_core.runs import dispatcher
from pruning_core.runs.events import Moment
from pruning_core.runs.store import Record, Store
from pruning_core.tasks import CLASSES


def show() -> None:
    """Draw the list of runs."""
    st.subheader("Runs", anchor=False)
    for notice in Store().notices():
        st.caption(f":material/info: {markdown(notice)}")
    records = dispatcher.list_runs()
    if not records:
        st.caption("There are none yet.")
        return

    def select() -> None:
        rows = st.session_state[key]["selection"]["rows"]
        if rows:
            state.show_run(records[rows[0]].id)

    key = f"run_list_{state.run_id()}_{len(records)}"
    shown = [index for index, record in enumerate(records) if record.id == state.run_id()]
    st.dataframe(
        table(records),
        hide_index=True,
        placeholder="",
        key=key,
        on_select=select,
        selection_mode="single-row",
        selection_default={"selection": {"rows": shown, "columns": [], "cells": []}},
        column_config={
            name: st.column_config.NumberColumn(format="percent")
            for name in ("Dense", "Pruned", "Fine-tuned")
            if all(record.task == CLASSES for record in records)
        },
        alt=f"List of {len(records)} runs",
    )


def table(records: tuple[Record, ...]) -> dict[str, list[object]]:
    """Return the columns of the list."""
    started = [time.strftime("%Y-%m-%d %H:%M", time.localtime(r.created)) for r in records]
    return {
        "Started": list(started),
        "State": [record.state for record in records],
        "What": [
            f"{record.label}: {record.title}" if record.label else record.title
            for record in records
        ],
        "Epochs": [
            f"{record.epoch} of {record.n_epochs}"
            if record.is_finished
            else f"{record.n_epochs} planned"
            for record in records
        ],
        "Dense": _measured(records, "dense"),
        "Pruned": _measured(records, "pruned"),
        "Fine-tuned": _measured(records, "tuned"),
        "Run": [record.id for record in records],
    }


def _measured(records: tuple[Record, ...], moment: Moment) -> list[object]:
    """Return a column of test results: accuracies, or text where another task is among them."""
    values = [getattr(record, moment) for record in records]
    if all(record.task == CLASSES for record in records):
        return values
    from pruning_core.tasks.registry import headline

    metrics = [headline(record.task) for record in records]
    return [
        None if value is None else f"{judged(metric, value, 2)} {metric.name}"
        for metric, value in zip(metrics, values, strict=True)
    ]
