"""Int8: the setting of a run, and what a finished run measured of its int8 file."""

from typing import Any, Final

import streamlit as st

from pages.common import cache, state
from pages.common.format import markdown
from pruning_core.exporting.int8_table import HEADER, int8_rows, int8_sentences
from pruning_core.planning.recipe import Quantisation

_NONE: Final = ""


def in_words() -> str:
    """Say which int8 file is written."""
    wanted, kinds = state.recipe().quantisation, cache.registry("quantisers")
    return markdown(kinds[wanted.kind].title) if wanted and wanted.kind in kinds else "none"


def settings() -> None:
    """Draw the choice of an int8 file, and the settings of the chosen kind."""
    wanted = state.recipe().quantisation
    kinds = cache.registry("quantisers")
    chosen = wanted.kind if wanted else _NONE
    st.selectbox(
        "Int8 file",
        [_NONE, *kinds],
        format_func=lambda key: kinds[key].title if key else "None",
        help="Besides the float32 files the run writes an ONNX file of int8 numbers and measures "
        "its size, accuracy and time in onnxruntime. It works on pruned, masked and dense models.",
        **state.bound("quantisation", chosen, _choose),
    )
    if wanted is None or chosen not in kinds:
        return
    st.caption(markdown(kinds[chosen].description))
    if kinds[chosen].needs_data:
        st.number_input(
            "Calibration examples for int8",
            min_value=1,
            max_value=2000,
            value=None,
            help="The first ones of the training split; their activations set the int8 ranges.",
            **state.bound("quantisation_samples", wanted.samples, _watch),
        )


def _choose(kind: str) -> None:
    state.set_recipe(state.recipe().replace(quantisation=Quantisation(kind=kind) if kind else None))


def _watch(samples: int) -> None:
    wanted = state.recipe().quantisation
    if wanted is not None:
        changed = Quantisation.read(kind=wanted.kind, samples=samples)
        state.set_recipe(state.recipe().replace(quantisation=changed))


def results(report: dict[str, Any]) -> None:
    """Draw what was measured of the int8 file of a run; nothing when it has none."""
    found = report.get("quantised")
    if found is None:
        return
    kinds = cache.registry("quantisers")
    title = kinds[found["kind"]].title if found["kind"] in kinds else found["kind"]
    st.markdown(f"**Int8, {markdown(title.lower())}** · MEASURED, both files in onnxruntime")
    rows = int8_rows(found)
    st.dataframe(
        {name: [row[place] for row in rows] for place, name in enumerate(HEADER)},
        hide_index=True,
        alt="Size, accuracy and time in float32 and int8",
    )
    for text in int8_sentences(found):
        st.caption(markdown(text))
