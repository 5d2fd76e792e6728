"""Two networks side by side: numbers, masks, answers, and the examples that changed sides."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import streamlit as st

from pages.common import charts, compare_samples, comparing, measured, measuring, state
from pages.common.comparing import Listed
from pages.common.format import count, markdown, percent
from pages.common.glossary_links import linked
from pages.common.pictures import enlarged
from pruning_core.exporting.metric_table import METRIC_TITLES, how, metric_cell, stage_cell
from pruning_core.tasks import CLASSES

if TYPE_CHECKING:
    from pruning_core.comparing.variant import Variant

_PICTURE: Final = 92
_SIZES: Final = ("params", "nonzero", "macs", "bytes", "latency", "latency_onnx")


def show(runs: Sequence[Listed]) -> None:
    """Draw the choice of two networks and everything in which they differ."""
    st.subheader("Two networks side by side", anchor=False)
    known = comparing.comparable(runs)
    names = comparing.pair(runs)
    _chooser(runs, names)
    sides = tuple(known[name] for name in names)
    _numbers(sides)
    _settings(sides)
    if names[0] == names[1]:
        st.info("A and B are the same network. Choose another one for either side.")
        return
    _compared(names, sides)


def _chooser(runs: Sequence[Listed], names: tuple[str, str]) -> None:
    known = comparing.comparable(runs)
    titles = {name: comparing.title_of(run, variant) for name, (run, variant) in known.items()}
    left, middle, right = st.columns([9, 2, 9], vertical_alignment="bottom")
    for column, label, place in ((left, "A", 0), (right, "B", 1)):
        column.selectbox(
            label,
            list(titles),
            format_func=lambda name: titles[name],
            **state.bound(
                f"compare_side_{place}",
                names[place],
                partial(comparing.choose, place=place, runs=runs),
            ),
        )
    middle.button(
        "Swap",
        icon=":material/swap_horiz:",
        key="compare_swap",
        help="Exchange A and B",
        width="stretch",
        on_click=lambda: state.set_compared("pair", names[::-1]),
    )


def _numbers(sides: "Sequence[tuple[Listed, Variant]]") -> None:
    """Draw what both runs say of these networks, with intervals, and the difference."""
    from pruning_core.comparing.variant import AXES

    rows: list[tuple[str, ...]] = []
    reports = [_metrics(run, variant) for run, variant in sides]
    if len({variant.task for _, variant in sides}) == 1 and sides[0][1].task != CLASSES:
        rows += _of_task(sides[0][1].task, reports)
    for metric, title in METRIC_TITLES.items():
        values = [report.get(metric) for report in reports]
        if all(value is None for value in values):
            continue
        cells = [
            stage_cell(metric, value, (report.get("intervals") or {}).get(metric))
            for value, report in zip(values, reports, strict=True)
        ]
        if metric == "loss" and sides[0][1].task != CLASSES:
            title = "Loss"
        rows.append((title, *cells, _points(metric, values)))
    for name in _SIZES:
        values = [variant.numbers[name] for _, variant in sides]
        if any(value is not None for value in values):
            cells = [_exact(name, value) for value in values]
            rows.append((AXES[name].title, *cells, _factor(values)))
    header = ("", "A", "B", "B against A")
    st.dataframe(
        {name: [row[place] for row in rows] for place, name in enumerate(header)},
        hide_index=True,
        height=38 + 35 * len(rows),
        column_config={"": st.column_config.TextColumn("Number")},
        alt="Numbers of the two networks side by side",
    )
    st.caption(
        "As the runs measured them (on test samples) and counted them (sizes). "
        + markdown(how(measured.report(sides[0][0].record.id) or {}))
    )


def _of_task(key: str, reports: Sequence[Mapping[str, Any]]) -> list[tuple[str, ...]]:
    """Return the rows of a task without right and wrong answers."""
    from pruning_core.tasks.registry import TASKS

    rows: list[tuple[str, ...]] = []
    for metric in TASKS[key].metrics:
        first, second = ((report.get("values") or {}).get(metric.key) for report in reports)
        cells = [
            metric_cell(metric, value, (report.get("intervals") or {}).get(metric.key))
            for value, report in zip((first, second), reports, strict=True)
        ]
        if first is None or second is None:
            rows.append((metric.title, *cells, ""))
        else:
            rows.append((metric.title, *cells, metric.change(first, second, 2)))
    return rows


def _metrics(run: Listed, variant: "Variant") -> Mapping[str, Any]:
    """Return the metrics of one network with their intervals; empty without data."""
    report = measured.report(run.record.id) or {}
    if variant.stage == "int8":
        found: Mapping[str, Any] = (report.get("quantised") or {}).get("after") or {}
        return found
    details = (report.get("details") or {}).get(variant.stage)
    if details is None:
        return {}
    from pruning_core.exporting.document import METRICS

    values = {name: (report.get(name) or {}).get(variant.stage) for name in METRICS}
    own = details.get("intervals") or {"accuracy": details["accuracy_interval"]}
    return values | {"intervals": own, "values": details.get("values")}


def _exact(name: str, value: float | None) -> str:
    if value is None:
        return "not measured"
    return comparing.written(name, value) if name.startswith("latency") else f"{int(value):,}"


def _points(metric: str, values: Sequence[float | None]) -> str:
    first, second = values
    if first is None or second is None or metric == "n":
        return ""
    if metric == "loss":
        return f"{second - first:+.4f}"
    return f"{100 * (second - first):+.2f} points"


def _factor(values: Sequence[float | None]) -> str:
    first, second = values
    if not first or second is None:
        return ""
    return "the same" if first == second else f"{100 * (second / first - 1):+.1f} %"


def _settings(sides: "Sequence[tuple[Listed, Variant]]") -> None:
    """Draw the settings of these two runs that differ, once they are opened."""
    from pruning_core.planning.difference import settings

    (first, _), (second, _) = sides
    found = settings([first.recipe, second.recipe])
    if first.record.id == second.record.id or not found:
        return
    box = st.expander(
        f"{len(found)} settings of A and B differ", key="compare_settings", on_change="rerun"
    )
    if box.open:
        box.dataframe(
            {
                "Setting": [one.setting for one in found],
                "A": [one.values[0] for one in found],
                "B": [one.values[1] for one in found],
            },
            hide_index=True,
            alt="Settings of the two runs that differ",
        )


def _compared(names: tuple[str, str], sides: "Sequence[tuple[Listed, Variant]]") -> None:
    """Draw the comparison that is kept; until there is one, it is made beside the page."""
    from pruning_core.runs.comparisons import read

    found = read(comparing.pair_of(names))
    if found is None:
        question = comparing.question(names, sides[0][0].recipe)
        outcome = comparing.ask(question)
        if outcome.is_pending:
            measuring.wait(question, "Comparing masks and answers")
            return
        found = read(comparing.pair_of(names))
        if found is None:
            st.warning(markdown(outcome.text or "The comparison was given up."))
            st.button(
                "Try again",
                key="compare_again",
                on_click=lambda: measuring.bench().forget(question),
            )
            return
    reasons = found["reasons"]
    if found["behaviour"] is None:
        st.info(markdown(reasons.get("behaviour", "")))
    else:
        _answers(found["behaviour"])
    if found["overlap"] is None:
        st.info(markdown(reasons.get("overlap", "")))
    else:
        _overlap(found["overlap"])


def _answers(found: Mapping[str, Any]) -> None:
    """Draw how often the two agree, and what changed by class and by example."""
    if "values" in found:
        _alike(found)
        return
    low, high = (100 * end for end in found["change"])
    first, second = found["accuracy"]
    st.markdown(
        f"**The same {found['n']:,} test samples** ({markdown(found['title'])}, "
        f"{markdown(found['source'])}), :gray-badge[MEASURED] A is right on {percent(first, 2)}, "
        f"B on {percent(second, 2)}: {100 * (second - first):+.2f} points, 95 % interval "
        f"{low:+.2f} to {high:+.2f}. They give the same answer to {percent(found['same'], 2)}."
    )
    columns = st.columns(4)
    for column, (label, value) in zip(
        columns,
        (
            ("Both right", found["both_right"]),
            ("Right in A, wrong in B", found["n_lost"]),
            ("Wrong in A, right in B", found["n_won"]),
            ("Both wrong", found["both_wrong"]),
        ),
        strict=True,
    ):
        column.metric(label, f"{value:,}")
    _classes(found)
    _flipped("Right in A, wrong in B", "lost", found)
    _flipped("Wrong in A, right in B", "won", found)


def _alike(found: Mapping[str, Any]) -> None:
    """Say what a task without right and wrong answers is judged by, of both networks."""
    from pruning_core.tasks.registry import headline

    metric = headline(found["task"])
    first, second = found["values"]
    low, high = (f"{metric.scaled(end):+.4g}" for end in found["change"])
    st.markdown(
        f"**The same {found['n']:,} test samples** ({markdown(found['title'])}, "
        f"{markdown(found['source'])}), :gray-badge[MEASURED] {metric.name} {metric.text(first)} "
        f"of A and {metric.text(second)} of B: {metric.change(first, second, 2)}, 95 % interval of "
        f"the difference {low} to {high} ({metric.axis})."
    )
    compare_samples.show(found)


def _classes(found: Mapping[str, Any]) -> None:
    from pruning_core.figures.changes import confusion_change, recall_change

    confusions = [np.array(counts) for counts in found["confusion"]]
    names = _class_names(found, len(confusions[0]))
    recalls = [np.array(values) for values in found["recall"]]
    left, right = st.columns(2)
    with left:
        charts.show(
            recall_change(
                names, recalls[0], recalls[1], charts.colours(), before_name="A", after_name="B"
            ),
            key="compare_recall",
            table={"class": names, "A": recalls[0], "B": recalls[1]},
        )
    with right:
        change = confusions[1] - confusions[0]
        charts.show(
            confusion_change(
                names,
                confusions[0],
                confusions[1],
                charts.colours(),
                before_name="A",
                after_name="B",
            ),
            key="compare_confusion",
            table={"true class": names}
            | {f"called {name}": change[:, place] for place, name in enumerate(names)},
        )


def _class_names(found: Mapping[str, Any], n: int) -> list[str]:
    names = list(found["classes"])
    return [names[place] if place < len(names) else str(place) for place in range(n)]


def _flipped(title: str, key: str, found: Mapping[str, Any]) -> None:
    """Draw the examples that changed sides, as pictures where they are images, and as a table."""
    examples = found[key]
    flipped = linked("flipped example", "flipped")
    st.markdown(f"**{title}** ({flipped}): {found[f'n_{key}']:,} of {found['n']:,} test samples")
    if not examples:
        st.caption("There are none.")
        return
    names, right = _class_names(found, len(found["confusion"][0])), "A" if key == "lost" else "B"
    seen = [one for one in examples if one["picture"] is not None]
    if seen:
        st.image(
            [enlarged(one["picture"], _PICTURE) for one in seen],
            caption=[
                markdown(
                    f"{names[one['label']]}: {names[one['named'][0]]} → {names[one['named'][1]]}"
                )
                for one in seen
            ],
            width=_PICTURE,
        )
        st.caption(
            f"Answer of A → answer of B; {right} is right. The ones B is surest of come first."
            + (f" The first {len(seen)} are shown." if len(seen) < found[f"n_{key}"] else "")
        )
    box = st.expander(
        f"Table: {title[:1].lower()}{title[1:]}", key=f"compare_{key}", on_change="rerun"
    )
    if box.open or not seen:
        box.dataframe(
            {
                "Test sample": [one["sample"] for one in examples],
                "True class": [names[one["label"]] for one in examples],
                "A says": [names[one["named"][0]] for one in examples],
                "A, confidence": [one["confidence"][0] for one in examples],
                "B says": [names[one["named"][1]] for one in examples],
                "B, confidence": [one["confidence"][1] for one in examples],
            },
            hide_index=True,
            column_config={
                f"{side}, confidence": st.column_config.NumberColumn(format="percent")
                for side in "AB"
            },
            alt=f"{title}: {len(examples)} test samples",
        )


def _overlap(found: Sequence[Mapping[str, Any]]) -> None:
    """Draw which parameters both, one, or none of the plans take away."""
    from pruning_core.figures.overlap import PARTS, overlap_bars

    keys = ("both", "only_first", "only_second", "neither")
    layers = [one["layer"] for one in found]
    counts = np.array([[one[key] for key in keys] for one in found], np.int64)
    st.markdown(f"**Masks of A and B**: {linked('mask overlap')}")
    charts.show(
        overlap_bars(layers, counts, charts.colours()),
        key="mask_overlap",
        table={"layer": layers} | {part: counts[:, place] for place, part in enumerate(PARTS)},
    )
    totals = counts.sum(axis=0)
    said = ", ".join(f"{count(n)} {part}" for n, part in zip(totals, PARTS, strict=True))
    st.caption(
        f":gray-badge[EXACT] {said}. Counted on the dense network: parameters of removed units "
        "stand where they were, by the indices that were kept."
    )
