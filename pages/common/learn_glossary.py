"""The glossary: the words of the project, and every criterion, granularity and penalty there is."""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Final

import streamlit as st

from pages.common import cache, course, learn_contents
from pages.common.format import prose

_FILE: Final = Path(__file__).resolve().parents[2] / "docs" / "glossary.md"
_REGISTRIES: Final = ("criteria", "granularities", "penalties")


@dataclass(frozen=True, slots=True)
class Entry:
    """One term.

    Attributes:
        term: What it is called on the screen.
        meaning: One or two sentences.
        formula: LaTeX; empty without one.
        source: Paper; empty without one.
        key: Name in recipes; empty for plain words.
    """

    term: str
    meaning: str
    formula: str = ""
    source: str = ""
    key: str = ""

    def has(self, text: str) -> bool:
        """Tell whether a search for ``text`` finds it."""
        wanted = text.casefold()
        return (
            wanted in self.term.casefold()
            or wanted in self.meaning.casefold()
            or (wanted == self.key)
        )


@lru_cache(maxsize=1)
def words() -> tuple[Entry, ...]:
    """Return the entries of ``docs/glossary.md`` in alphabetical order."""
    rows = []
    for line in _FILE.read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if line.startswith("|") and len(cells) == 2 and cells[0] != "Word" and "---" not in line:
            rows.append(Entry(*cells))
    return tuple(sorted(rows, key=lambda entry: entry.term.casefold()))


def registered(name: str) -> tuple[Entry, ...]:
    """Return the entries of one registry of the core."""
    return tuple(
        Entry(
            term=one.title,
            meaning=one.description,
            formula=getattr(one, "formula", ""),
            source=getattr(one, "source", ""),
            key=key,
        )
        for key, one in cache.registry(name).items()
    )


def show() -> None:
    """Draw the search and all entries that fit."""
    frame = course.frame()
    with st.container(key="learn"):
        with st.container(horizontal=True, vertical_alignment="center"):
            st.header(frame("glossary.title"), anchor=False)
            st.space("stretch")
            learn_contents.choose_language()
        st.markdown(frame("glossary.intro"))
        if course.language() != "en":
            st.caption(frame("glossary.english"))
        text = st.text_input(
            frame("glossary.search"),
            key="glossary_search",
            value=st.query_params.get("term", "")[:80],
            max_chars=80,
            icon=":material/search:",
        ).strip()
        parts = {"words": words(), **{name: registered(name) for name in _REGISTRIES}}
        found = {
            name: [one for one in entries if not text or one.has(text)]
            for name, entries in parts.items()
        }
        if not any(found.values()):
            st.info(prose(frame("glossary.none", text=text)))
        for name, entries in found.items():
            if entries:
                st.subheader(frame(f"glossary.{name}"), anchor=False)
                for entry in entries:
                    _show(entry)


def _show(entry: Entry) -> None:
    frame = course.frame()
    key = f" (`{entry.key}`)" if entry.key else ""
    st.markdown(f"**{prose(entry.term)}**{key}: {prose(entry.meaning)}")
    if entry.formula:
        st.latex(entry.formula)
    if entry.source:
        st.caption(prose(frame("glossary.source", source=entry.source)))
