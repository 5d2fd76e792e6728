"""The runs of the Compare page: table, tree, trade-off, and the settings that differ."""

import time
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import streamlit as st

from pages.common import charts, comparing, state
from pages.common.comparing import Listed
from pages.common.glossary_links import linked
from pruning_core.tasks import CLASSES

if TYPE_CHECKING:
    from pruning_core.comparing.variant import Variant

_LOG: Final = "_compare_log"
_MOST_DIFFERENT: Final = 12


def table(runs: Sequence[Listed]) -> None:
    """Draw the table of runs; ticked rows narrow everything below to them."""
    from pruning_core.comparing.variant import final

    names = [run.record.id for run in runs]
    ticked = state.compared("runs")
    rows = [row for row, name in enumerate(names) if name in ticked]
    key = f"compare_table_{len(runs)}_{'-'.join(map(str, rows))}"

    def select() -> None:
        marked = st.session_state[key]["selection"]["rows"]
        state.set_compared("runs", [names[row] for row in sorted(marked)])

    finals = [final(run.variants) for run in runs]
    st.dataframe(
        {
            "Started": [
                time.strftime("%Y-%m-%d %H:%M", time.localtime(run.record.created)) for run in runs
            ],
            "Model": [run.model for run in runs],
            "What": [run.what for run in runs],
            **_judged(finals),
            "Test n": [one.n for one in finals],
            "Parameters": [one.numbers["params"] for one in finals],
            "Non-zeros": [one.numbers["nonzero"] for one in finals],
            "MACs": [one.numbers["macs"] for one in finals],
            "Bytes": [one.numbers["bytes"] for one in finals],
            "ms, PyTorch": [one.numbers["latency"] for one in finals],
            "Forked from": [run.record.parent for run in runs],
            "Run": names,
        },
        hide_index=True,
        placeholder="",
        key=key,
        height=38 + 35 * min(max(len(runs), 2), 8),
        on_select=select,
        selection_mode="multi-row",
        selection_default={"selection": {"rows": rows, "columns": [], "cells": []}},
        column_config={
            "Accuracy": st.column_config.NumberColumn(format="percent"),
            "F1": st.column_config.NumberColumn(format="percent"),
            "ms, PyTorch": st.column_config.NumberColumn(format="%.3f"),
            **{
                name: st.column_config.NumberColumn(format="localized")
                for name in ("Test n", "Parameters", "Non-zeros", "MACs", "Bytes")
            },
        },
        alt=f"Table of {len(runs)} finished runs",
    )
    st.caption(
        f"What each run hands out: its quality {linked('MEASURED')} on test samples, sizes "
        f"{linked('EXACT')}. Tick rows "
        "to narrow everything below to them; the address of the page holds the choice."
        + (f" The newest {comparing.MOST} runs are listed." if len(runs) == comparing.MOST else "")
    )


def _judged(finals: "Sequence[Variant]") -> "dict[str, list[Any]]":
    """Return the columns that say how good networks are; of other tasks as text."""
    columns: dict[str, list[Any]] = {}
    if any(one.task == CLASSES for one in finals):
        columns["Accuracy"] = [one.numbers["accuracy"] for one in finals]
        columns["F1"] = [one.numbers["f1"] for one in finals]
    if any(one.task != CLASSES for one in finals):
        columns["Measured"] = [_measured(one) for one in finals]
    return columns


def _measured(variant: "Variant") -> str:
    """Write what a network of another task than classification is judged by."""
    value = variant.numbers[variant.metric.key]
    if variant.task == CLASSES or value is None:
        return ""
    return f"{variant.metric.name} {variant.metric.text(value)}"


def pictures(runs: Sequence[Listed]) -> None:
    """Draw the tree of the runs, and their networks by any two of their numbers."""
    with st.container(key="pair_of_run_pictures"):
        left, right = st.columns(2, gap="medium")
    with left:
        _tree(runs)
    with right:
        _scatter(runs)


def _tree(runs: Sequence[Listed]) -> None:
    from pruning_core.comparing.tree import Entry, tree
    from pruning_core.comparing.variant import AXES
    from pruning_core.figures.run_tree import TreeNode, run_tree

    metric = _axes(_judged_by(runs))[1]
    by_name = {run.record.id: run for run in runs}
    nodes = tree([Entry(run.record.id, run.root, run.record.parent, run.variants) for run in runs])
    marked = comparing.pair(runs)
    labels = [""] * (max(node.row for node in nodes) + 1)
    several = len({run.root for run in runs}) > 1
    first_rows = {node.row for node in nodes if node.parent is None}
    for node in nodes:
        run = by_name[node.variant.run]
        if node.column:
            names_model = several and node.row in first_rows
            labels[node.row] = f"{run.model}: {run.what}" if names_model else run.what
    drawn = [
        TreeNode(
            node.row,
            node.column,
            node.parent,
            node.variant.numbers[metric],
            _text(node.variant, metric),
            _hover(by_name[node.variant.run], node.variant),
            comparing.key_of(node.variant) in marked,
        )
        for node in nodes
    ]
    charts.show(
        run_tree(drawn, labels, charts.colours(), metric=AXES[metric].title),
        key="run_tree",
        table={
            "run": [node.variant.run for node in nodes],
            "network": [node.variant.stage for node in nodes],
            "made from": [
                "" if node.parent is None else comparing.key_of(nodes[node.parent].variant)
                for node in nodes
            ],
            AXES[metric].title: [node.variant.numbers[metric] for node in nodes],
        },
        on_click=lambda place: comparing.push(comparing.key_of(nodes[place].variant), runs),
    )


def _scatter(runs: Sequence[Listed]) -> None:
    from pruning_core.comparing.tree import COLUMNS
    from pruning_core.comparing.variant import AXES, front
    from pruning_core.figures.run_scatter import Point, run_scatter

    x, y = _axes(_judged_by(runs))
    with st.container(horizontal=True, vertical_alignment="bottom"):
        for label, chosen, place in (("Across", x, 0), ("Up", y, 1)):
            st.selectbox(
                label,
                list(AXES),
                format_func=lambda name: AXES[name].title,
                width=230,
                **state.bound(
                    f"compare_axis_{place}",
                    chosen,
                    partial(_choose_axis, place=place, judged_by=_judged_by(runs)),
                ),
            )
        logarithmic = st.checkbox("Logarithmic", key=_LOG, persist_state="session")
    everything = _distinct(runs)
    shown = [
        (run, one)
        for run, one in everything
        if one.numbers[x] is not None and one.numbers[y] is not None
    ]
    if not shown:
        st.info(
            f"None of these networks has both {AXES[x].title} and {AXES[y].title}. Times are "
            "measured by **Measure speed** on the Run page."
        )
        return
    best = front([one for _, one in shown], x, y)
    marked = comparing.pair(runs)
    points = [
        Point(
            _scaled(x, one),
            _scaled(y, one),
            COLUMNS.index(one.stage),
            _hover(run, one),
            _interval(y, one),
            comparing.key_of(one) in marked,
        )
        for run, one in shown
    ]
    charts.show(
        run_scatter(
            points,
            best,
            charts.colours(),
            x_title=_with_unit(x),
            y_title=_with_unit(y),
            logarithmic=logarithmic and all(point.x > 0 for point in points),
        ),
        key="run_scatter",
        table={
            "run": [one.run for _, one in shown],
            "network": [one.stage for _, one in shown],
            AXES[x].title: [one.numbers[x] for _, one in shown],
            AXES[y].title: [one.numbers[y] for _, one in shown],
            "not beaten": [place in best for place in range(len(shown))],
        },
        on_click=lambda place: comparing.push(comparing.key_of(shown[place][1]), runs),
    )
    left_out = len(everything) - len(shown)
    lack = "network lacks" if left_out == 1 else "networks lack"
    note = f" {left_out} {lack} one of the two numbers." if left_out else ""
    st.caption(
        f":gray-badge[{AXES[x].known}] {AXES[x].title}; :gray-badge[{AXES[y].known}] "
        f"{AXES[y].title}. A click makes a network B below; the one that was B becomes A.{note}"
    )


def _distinct(runs: Sequence[Listed]) -> "list[tuple[Listed, Variant]]":
    """Return the networks of all runs; the dense one of several runs once."""
    seen: set[str] = set()
    found = []
    for run in runs:
        for variant in run.variants:
            if variant.stage == "dense" and run.root in seen:
                continue
            seen.add(run.root)
            found.append((run, variant))
    return found


def _judged_by(runs: Sequence[Listed]) -> str:
    """Return what the newest run is judged by."""
    return runs[0].variants[0].metric.key


def _axes(judged_by: str) -> tuple[str, str]:
    from pruning_core.comparing.variant import AXES

    wanted = state.compared("axes")
    known = len(wanted) == 2 and all(name in AXES for name in wanted)
    return (wanted[0], wanted[1]) if known else ("nonzero", judged_by)


def _choose_axis(name: str, place: int, judged_by: str) -> None:
    axes = list(_axes(judged_by))
    axes[place] = name
    state.set_compared("axes", axes)


def _with_unit(name: str) -> str:
    from pruning_core.comparing.variant import AXES

    return f"{AXES[name].title} (%)" if AXES[name].is_share else AXES[name].title


def _scaled(name: str, variant: "Variant") -> float:
    from pruning_core.comparing.variant import AXES

    return (100 if AXES[name].is_share else 1) * (variant.numbers[name] or 0.0)


def _interval(name: str, variant: "Variant") -> tuple[float, float] | None:
    if name != variant.metric.key or variant.interval is None:
        return None
    low, high = variant.interval
    return variant.metric.scaled(low), variant.metric.scaled(high)


def _text(variant: "Variant", metric: str) -> str:
    value = variant.numbers[metric]
    return "–" if value is None else comparing.written(metric, value)


def _hover(run: Listed, variant: "Variant") -> str:
    from pruning_core.comparing.variant import AXES
    from pruning_core.figures.numbers import plotly_text

    lines = [plotly_text(comparing.title_of(run, variant), 120)]
    lines += [
        f"{AXES[name].title}: {comparing.written(name, value)}"
        for name, value in variant.numbers.items()
        if value is not None
    ]
    return "<br>".join(lines)


def settings(runs: Sequence[Listed]) -> None:
    """Draw the settings in which the recipes of the runs differ."""
    from pruning_core.planning import difference

    st.markdown("**Settings that differ**")
    shown = runs[:_MOST_DIFFERENT]
    found = difference.settings([run.recipe for run in shown])
    if len(shown) < 2:
        st.caption("One run is chosen; tick at least two to see in what they differ.")
    elif not found:
        st.caption(f"The recipes of these {len(shown)} runs are the same.")
    else:
        columns = {
            f"{run.record.label or run.model} {run.record.id[-6:]}": [
                one.values[place] for one in found
            ]
            for place, run in enumerate(shown)
        }
        st.dataframe(
            {"Setting": [one.setting for one in found]} | columns,
            hide_index=True,
            height=38 + 35 * min(max(len(found), 1), 10),
            alt=f"{len(found)} settings in which {len(shown)} recipes differ",
        )
        rest = len(runs) - len(shown)
        st.caption(
            "Everything else is the same in all of them; none means that there is no such entry."
            + (f" The newest {len(shown)} runs; {rest} more are not compared here." if rest else "")
        )
