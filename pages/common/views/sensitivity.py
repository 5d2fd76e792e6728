"""Which layers can lose most: the accuracy with one layer pruned alone, measured layer by layer."""

from typing import TYPE_CHECKING, Final

import streamlit as st

from pages.common import cache, charts, edits, measuring, scanning, state
from pages.common.format import judged, markdown, percent, plural
from pages.common.glossary_links import explained

if TYPE_CHECKING:
    from pruning_core.planning.plan import Plan
    from pruning_core.planning.recipe import Recipe
    from pruning_core.preview import Preview
    from pruning_core.runs.scans import Scan
    from pruning_core.tasks import Metric

TITLE: Final = "Sensitivity"
_ROWS: Final = 48
_DROP: Final = "_tolerated_drop"


def show(plan: "Plan", counted: "Preview", selected: str) -> None:  # noqa: ARG001
    """Draw the scan as far as it is, and the buttons that begin, stop and use it."""
    recipe = plan.recipe
    if not measuring.has_data(recipe):
        measuring.explain_lack_of_data("A scan")
        return
    scan = scanning.found(recipe)
    _progress(recipe, scan)
    if scan is None or not scan.points:
        return
    curves = scan.curves
    _use(scan)
    from pruning_core.figures.sensitivity import sensitivity_curves, sensitivity_table
    from pruning_core.tasks.registry import headline

    metric = headline(scan.task)
    left, right = st.columns(2, gap="medium")
    rows = [(n, r, a) for n, curve in curves.items() for r, a in zip(*curve, strict=True)]
    table = {
        "layer": [name for name, _, _ in rows],
        "share pruned": [ratio for _, ratio, _ in rows],
        metric.name: [accuracy for _, _, accuracy in rows],
    }
    with left:
        charts.show(
            sensitivity_curves(curves, selected, charts.colours(), metric=metric),
            key="sensitivity_curves",
            table=table,
        )
    names = _window([name for name in cache.sites(recipe) if name in curves], selected)
    with right:
        charts.show(
            sensitivity_table(curves, names, selected, charts.colours(), metric=metric),
            key="sensitivity_table",
            table=table,
            on_click=lambda row: state.select_layer(names[row]),
        )
    st.caption(
        f":gray-badge[MEASURED] on the first {scan.n:,} validation examples "
        f"({markdown(scan.source)}), right after pruning; the dense model has "
        f"{_dense(scan, metric)}. What layers lose alone does not add up: use it to rank them, and "
        f"read the {metric.name} of a whole plan in the strip."
    )


def _progress(recipe: "Recipe", scan: "Scan | None") -> None:
    """Draw how far the scan is, and the button that begins, stops or goes on with it."""
    if scanning.RUNNING.progress(scanning.outcome(recipe)):
        return
    if scan is not None and scan.finished:
        return
    units = plural(next(iter(cache.sites(recipe).values())).kind)
    name = cache.metric(recipe).name
    st.markdown(
        f"**How much can each layer lose?** Each layer is pruned alone, from 10 to 95 % of its "
        f"{units} in the order of the present criterion, and the {name} is measured. It goes on "
        "beside your work and is kept."
        if scan is None
        else f"The scan was stopped after {len(scan.points)} measurements."
    )
    st.button(
        "Scan the layers" if scan is None else "Go on with the scan",
        type="primary" if scan is None else "secondary",
        icon=":material/play_arrow:",
        key="scan_start",
        on_click=lambda: state.attempt(
            lambda: scanning.RUNNING.start(scanning.question_of(recipe))
        ),
    )


def _use(scan: "Scan") -> None:
    """Draw the control that turns the scan into ratios of the layers."""
    from pruning_core.evaluation.sensitivity import tolerated
    from pruning_core.tasks.registry import headline

    metric = headline(scan.task)
    drop = float(st.session_state.setdefault(_DROP, 1.0))
    with st.container(horizontal=True, vertical_alignment="bottom"):
        st.number_input(
            f"Each layer alone may lose ({metric.loss_unit})",
            min_value=0.0,
            max_value=100.0,
            step=0.5,
            format="%.3g",
            width=250,
            value=None,
            **state.bound(
                "tolerated_drop", drop, lambda value: st.session_state.update({_DROP: value})
            ),
        )
        ratios = tolerated(scan.curves, drop / 100, metric)
        n = sum(ratio > 0 for ratio in ratios.values())
        st.button(
            "Set the ratios",
            icon=":material/tune:",
            key="scan_use",
            help=explained(
                "Every measured layer gets the largest measured ratio up to which it alone stays "
                "within that. Together they lose more; fine-tuning wins some of it back.",
                "sensitivity",
            ),
            on_click=lambda: state.attempt(
                lambda: state.set_recipe(edits.with_ratios(state.recipe(), ratios))
            ),
        )
        st.caption(f"{n} of {len(ratios)} {plural('layer', len(ratios))} would lose something.")


def _window(names: list[str], selected: str) -> list[str]:
    """Return the rows that are drawn: all of few, else those around the selected layer."""
    first = names.index(selected) // _ROWS * _ROWS if selected in names else 0
    return names[first : first + _ROWS]


def _dense(scan: "Scan", metric: "Metric") -> str:
    """Write what the dense model has; with Wilson's interval where answers are right or wrong."""
    from pruning_core.evaluation.evaluate import wilson_interval
    from pruning_core.tasks.registry import TASKS

    text = judged(metric, scan.dense)
    if not TASKS[scan.task].counts_classes:
        return f"{metric.name} {text}"
    low, high = wilson_interval(scan.dense, scan.n)
    return f"{text} (95 %: {percent(low)} to {percent(high)})"
