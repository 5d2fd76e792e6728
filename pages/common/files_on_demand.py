"""Files of a finished run that are made when they are asked for, beside the page."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import streamlit as st

from pages.common import cache, files, measured, measuring, state
from pages.common.format import markdown
from pruning_core.errors import RunError
from pruning_core.planning.recipe import Recipe
from pruning_core.runs.bench import Question
from pruning_core.runs.store import Record, Store, read_spec

_A_ROW: Final = 4
_GROUPS: Final = (
    ("Programs", ("python", "pt2", "onnx", "hugging_face")),
    ("Weights and masks", ("sparse", "dense_shapes", "masks", "index_map")),
    ("To repeat the run", ("script", "notebook")),
    ("To read", ("report", "tables", "figures")),
)


def show(record: Record) -> None:
    """Draw a card for every form that the run did not write by itself."""
    folder = Store().folder(record.id)
    try:
        recipe = read_spec(folder / "spec.json").recipe
    except RunError as error:
        st.warning(markdown(str(error)))
        return
    st.subheader("More forms", anchor=False)
    st.caption("Made when you ask for them, from the files of the run, and checked before.")
    groups = _grouped(record)
    asked = [_question(record, recipe, entry.key) for _, own in groups for entry in own]
    if any((known := measuring.bench().look(one)) and known.is_pending for one in asked):
        st.fragment(_groups, run_every=1.0)(record, recipe, groups, was_busy=True)
    else:
        _groups(record, recipe, groups, was_busy=False)


def _grouped(record: Record) -> list[tuple[str, list[Any]]]:
    """Return the forms by what they are for; new ones come last."""
    folder = Store().folder(record.id) / "export"
    problems = (measured.report(record.id) or {}).get("problems") or {}
    known = cache.registry("exporters")
    offered = {
        key: entry
        for key, entry in known.items()
        if entry.on_demand
        or (key in {"onnx", "report"} and not (folder / entry.file_name).is_file())
    }
    offered = {key: entry for key, entry in offered.items() if key not in problems}
    groups = [
        (title, [offered.pop(key) for key in keys if key in offered]) for title, keys in _GROUPS
    ]
    return [(title, own) for title, own in [*groups, ("Others", list(offered.values()))] if own]


def _groups(
    record: Record, recipe: Recipe, groups: Sequence[tuple[str, list[Any]]], *, was_busy: bool
) -> None:
    is_busy = False
    for title, entries in groups:
        st.markdown(f"**{title}**")
        for start in range(0, len(entries), _A_ROW):
            columns = st.columns(_A_ROW)
            for column, entry in zip(columns, entries[start : start + _A_ROW], strict=False):
                with column.container(border=True, height="stretch"):
                    is_busy |= _card(record, recipe, entry)
    if was_busy and not is_busy:
        st.rerun()


def _card(record: Record, recipe: Recipe, entry: Any) -> bool:
    """Draw one form with the button that makes or downloads it; True while it is being made."""
    st.markdown(f"**{markdown(entry.title)}**")
    st.caption(markdown(entry.description))
    st.space("stretch")
    path: Path = Store().folder(record.id) / "export" / entry.file_name
    question = _question(record, recipe, entry.key)
    known = measuring.bench().look(question)
    if known is not None and known.is_pending:
        st.progress(known.fraction, text=markdown(known.text or "waiting for other work"))
        return True
    if path.is_file():
        files.download(entry, path)
        return False
    if known is not None and known.state == "failed":
        st.caption(f":material/error: {markdown(known.text)}")
    st.button(
        "Make it",
        icon=":material/build:",
        key=f"make_{entry.key}",
        width="stretch",
        on_click=lambda: state.attempt(lambda: measuring.again(question)),
    )
    return False


def _question(record: Record, recipe: Recipe, key: str) -> Question:
    return Question("export", recipe, settings={"run": record.id, "format": key})
