"""What a finished run measured on test data: every metric with its interval, and every class."""

from typing import Any

import streamlit as st

from pages.common import cache, quantising
from pages.common.format import markdown
from pages.common.glossary_links import explained
from pruning_core.exporting.metric_table import (
    CLASS_HEADER,
    STAGE_TITLES,
    class_rows,
    how,
    measured_stages,
    metric_rows,
)


def show(report: dict[str, Any]) -> None:
    """Draw the metrics before and after, each class, and the int8 file where there is one."""
    stages = measured_stages(report)
    if not stages:
        st.info("No accuracy was measured, because neither the recipe nor the model names data.")
        quantising.results(report)
        return
    n_test = report["n"][stages[-1]]
    source = markdown(f"{report['data']['title']}, {report['data']['source']}")
    st.markdown(f"**Measured** on {n_test:,} held-out test examples ({source})")
    header = ("Metric", *(STAGE_TITLES[stage] for stage in stages))
    _table(header, metric_rows(report), alt="Metrics before and after, with 95 % intervals")
    words = ["interval", "MEASURED"]
    if report["details"][stages[-1]]["per_class"]:
        words.insert(1, "calibration error (ECE)")
    st.caption(f"{markdown(how(report))} {explained('', *words)}")
    _classes(report, stages[-1])
    quantising.results(report)


def _classes(report: dict[str, Any], last: str) -> None:
    """Draw precision, recall and F1 of each class, and the confusion matrix, when opened."""
    if not report["details"][last]["per_class"]:
        return
    names = list(cache.class_names(report["data"]["key"]))
    after = STAGE_TITLES[last].lower()
    with st.expander(f"Every class and the confusion matrix, {after}"):
        rows = class_rows(report, last, names)
        _table(CLASS_HEADER, rows, alt="Precision, recall and F1 of each class")
        st.markdown("**Confusion matrix**: rows are true classes, columns are answers.")
        counts = report["details"][last]["confusion"]
        titles = [
            names[place] if place < len(names) else str(place) for place in range(len(counts))
        ]
        columns = {name: [row[place] for row in counts] for place, name in enumerate(titles)}
        st.dataframe({"True class": titles} | columns, hide_index=True, alt="Confusion matrix")


def _table(header: tuple[str, ...], rows: list[tuple[str, ...]], *, alt: str) -> None:
    columns = {name: [row[place] for row in rows] for place, name in enumerate(header)}
    st.dataframe(columns, hide_index=True, alt=alt)
