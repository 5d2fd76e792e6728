"""The speed of a finished run: the button that measures it, and the table."""

from typing import Any, Final

import streamlit as st

from pages.common import measuring, state
from pages.common.format import markdown
from pruning_core.exporting.speed_table import (
    BACKENDS,
    HEADER,
    HOW,
    MEMORY_HEADER,
    memory_rows,
    speed_rows,
    speed_sentences,
)
from pruning_core.planning.recipe import Recipe
from pruning_core.runs.bench import Question
from pruning_core.runs.store import Store

_SECONDS: Final = 2.0
_COMPILED: Final = "_speed_compiled"


def show(run: str, recipe: Recipe) -> None:
    """Draw what was measured of the speed of ``run``, and the button that measures it (anew)."""
    st.markdown("**Speed on this machine**")
    for compiled in (False, True):
        asked = _question(run, recipe, compiled=compiled)
        known = measuring.bench().look(asked)
        if known is not None and known.is_pending:
            measuring.wait(asked, "Measuring")
            return
    question = _question(run, recipe, compiled=bool(st.session_state.get(_COMPILED)))
    known = measuring.bench().look(question)
    found = _stored(run)
    if known is not None and known.state == "failed":
        st.warning(markdown(known.text))
    if found is not None:
        _tables(found)
    with st.container(horizontal=True, vertical_alignment="center"):
        st.button(
            "Measure speed" if found is None else "Measure speed again",
            icon=":material/speed:",
            key="measure_speed",
            help="Times dense and pruned in turns in PyTorch and onnxruntime, batches of 1 and 32, "
            "on one thread, and the memory of a forward pass. Takes about half a minute.",
            on_click=lambda: state.attempt(lambda: measuring.again(question)),
        )
        st.checkbox(
            "Also compiled (torch.compile, some minutes)",
            key=_COMPILED,
        )


def _question(run: str, recipe: Recipe, *, compiled: bool) -> Question:
    backends = [key for key in BACKENDS if key != "compiled" or compiled]
    settings = {
        "run": run,
        "backends": backends,
        "batch_sizes": list(measuring.BATCH_SIZES),
        "by_threads": [1],
        "seconds": _SECONDS,
    }
    return Question("speed", recipe, settings=settings)


def _stored(run: str) -> dict[str, Any] | None:
    """Return what was measured the last time; None when nothing was."""
    from pruning_core.runs.speed import read_speed

    return read_speed(Store().folder(run) / "export")


def _tables(found: dict[str, Any]) -> None:
    _table(HEADER, speed_rows(found), alt="Times of the dense and the pruned network")
    st.caption(markdown(HOW))
    for text in speed_sentences(found):
        st.caption(markdown(text))
    _table(MEMORY_HEADER, memory_rows(found), alt="Memory of the dense and the pruned network")


def _table(header: tuple[str, ...], rows: list[tuple[str, ...]], *, alt: str) -> None:
    columns = {name: [row[place] for row in rows] for place, name in enumerate(header)}
    st.dataframe(columns, hide_index=True, alt=alt)
