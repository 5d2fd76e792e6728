"""The list of runs, the newest first; a click shows one."""

import time

import streamlit as st

from pages.common import state
from pages.common.format import markdown
from pruning_core.runs import dispatcher
from pruning_core.runs.store import Record, Store


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
        "Dense": [record.dense for record in records],
        "Pruned": [record.pruned for record in records],
        "Fine-tuned": [record.tuned for record in records],
        "Run": [record.id for record in records],
    }
