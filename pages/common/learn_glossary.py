"""The glossary: the words of the project, and every criterion, granularity and penalty there is."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Final

import streamlit as st

from pages.common import cache, course, learn_contents, state
from pages.common.format import prose

_FOLDER: Final = Path(__file__).resolve().parents[2] / "docs"
_FILES: Final[Mapping[str, str]] = {"en": "glossary.md", "zh": "glossary.zh.md"}
_WORDS: Final = "words"
_REGISTRIES: Final = ("criteria", "granularities", "penalties")
# Where a word is met in the course.
LESSONS: Final[Mapping[str, str]] = {
    "parameters": "cost",
    "MAC": "cost",
    "magnitude": "weights",
    "threshold": "threshold",
    "sparsity": "threshold",
    "mask": "mask_or_cut",
    "pruned by masking": "mask_or_cut",
    "pruned by removal": "mask_or_cut",
    "bytes": "mask_or_cut",
    "granularity": "granularity",
    "coupled": "coupling",
    "group": "coupling",
    "neuron": "neurons",
    "theoretical speed-up": "square",
    "reversed": "baselines",
    "criterion": "criteria",
    "rank correlation": "criteria",
    "local, global": "scope",
    "sensitivity": "sensitivity",
    "ERK": "budget",
    "what-if accuracy": "joint",
    "fine-tuning": "recovery",
    "learning rate": "recovery",
    "penalty": "l1",
    "proximal step": "l1",
    "gradual pruning": "schedule",
    "schedule": "schedule",
    "lottery ticket": "ticket",
    "rewound": "ticket",
    "head": "heads",
    "hidden unit": "heads",
    "time share": "speed",
    "flipped example": "classes",
    "distillation": "combining",
    "int8 file": "combining",
    "Pareto front": "automating",
}


@dataclass(frozen=True, slots=True)
class Entry:
    """One term.

    Attributes:
        term: What it is called on the screen.
        meaning: One or two sentences.
        formula: LaTeX; empty without one.
        source: Paper; empty without one.
        key: Name in recipes; empty for plain words.
        local: What it is called in the language of the course; empty in English.
    """

    term: str
    meaning: str
    formula: str = ""
    source: str = ""
    key: str = ""
    local: str = ""

    def nearness(self, text: str) -> int:
        """Return 3 for this very term, 2 when it contains ``text``, 1 when its meaning does."""
        wanted, names = text.casefold(), (self.term.casefold(), self.local.casefold())
        if wanted in (*names, self.key.casefold()):
            return 3
        if any(wanted in name for name in names):
            return 2
        return int(wanted in self.meaning.casefold())


@lru_cache(maxsize=4)
def _tables(language: str) -> Mapping[str, Mapping[str, tuple[str, ...]]]:
    """Return the rows of a file of words by section and first cell."""
    found: dict[str, dict[str, tuple[str, ...]]] = {}
    section = _WORDS
    for line in (_FOLDER / _FILES[language]).read_text(encoding="utf-8").splitlines():
        if line.startswith("## "):
            section = line.removeprefix("## ").strip()
        cells = [cell.strip() for cell in line.strip().strip("|").split(" | ")]
        if line.startswith("| ") and cells[0] not in {"Word", "Key"}:
            found.setdefault(section, {})[cells[0]] = tuple(cells[1:])
    return found


def translated(section: str, language: str) -> Mapping[str, tuple[str, ...]]:
    """Return name and meaning of the terms of a section in another language, by English name."""
    return {} if language == "en" else _tables(language).get(section, {})


def words(language: str = "en") -> tuple[Entry, ...]:
    """Return the entries of ``docs/glossary.md`` in alphabetical order."""
    local = translated(_WORDS, language)
    rows = []
    for term, (meaning, *rest) in _tables("en")[_WORDS].items():
        formula, source = (*rest, "", "")[:2]
        name, told = local.get(term, ("", meaning))
        rows.append(Entry(term, told, formula.strip("$`"), source, local=name))
    return tuple(sorted(rows, key=lambda entry: entry.term.casefold()))


def registered(name: str, language: str = "en") -> tuple[Entry, ...]:
    """Return the entries of one registry of the core."""
    local = translated(name, language)
    return tuple(
        Entry(
            term=one.title,
            meaning=local.get(key, ("", one.description))[1],
            formula=getattr(one, "formula", ""),
            source=getattr(one, "source", ""),
            key=key,
            local=local.get(key, ("",))[0],
        )
        for key, one in cache.registry(name).items()
    )


def show() -> None:
    """Draw the search and all entries that fit, the nearest first."""
    frame, language = course.frame(), course.language()
    with st.container(key="learn"):
        with st.container(horizontal=True, vertical_alignment="center"):
            st.header(frame("glossary.title"), anchor=False)
            st.space("stretch")
            learn_contents.choose_language()
        st.markdown(frame("glossary.intro"))
        text = st.text_input(
            frame("glossary.search"),
            key="glossary_search",
            value=st.query_params.get("term", "")[:80],
            max_chars=80,
            icon=":material/search:",
        ).strip()
        parts = {_WORDS: words(language)}
        parts |= {name: registered(name, language) for name in _REGISTRIES}
        found = {name: _fitting(entries, text) for name, entries in parts.items()}
        if not any(found.values()):
            st.info(prose(frame("glossary.none", text=text)))
        for name in sorted(found, key=lambda name: -_nearest(found[name], text)):
            if found[name]:
                st.subheader(frame(f"glossary.{name}"), anchor=False)
                for entry in found[name]:
                    _show(entry, is_shape=name == "granularities")


def _fitting(entries: tuple[Entry, ...], text: str) -> list[Entry]:
    if not text:
        return list(entries)
    near = [entry for entry in entries if entry.nearness(text)]
    return sorted(near, key=lambda entry: -entry.nearness(text))


def _nearest(entries: list[Entry], text: str) -> int:
    return max((entry.nearness(text) for entry in entries), default=0) if text else 0


def _show(entry: Entry, *, is_shape: bool) -> None:
    frame = course.frame()
    name = f"**{prose(entry.local or entry.term)}**"
    name += f" · {prose(entry.term)}" if entry.local and entry.local != entry.term else ""
    name += f" (`{entry.key}`)" if entry.key else ""
    lesson = "" if state.is_reduced() or entry.key else LESSONS.get(entry.term, "")
    meaning = prose(entry.meaning)
    if lesson:
        title = prose(frame("glossary.lesson", title=course.title_of(lesson)))
        meaning += f" · [{title}](learn?lesson={lesson}&lang={course.language()})"
    with st.container(gap="xxsmall"):
        st.markdown(f"{name}: {meaning}")
        if entry.formula:
            st.markdown(f"$\\displaystyle {entry.formula}$")
        if is_shape:
            _draw_shape(entry)
        if entry.source:
            st.caption(prose(frame("glossary.source", source=entry.source)))


def _draw_shape(entry: Entry) -> None:
    shape = _shape(entry.key, entry.local or entry.term, st.context.theme.type)
    if shape is not None:
        picture, gone = shape
        st.image(picture, width=420)
        st.caption(prose(course.frame()("glossary.shape", gone=100 * gone)))


@st.cache_data(show_spinner="…", max_entries=64)
def _shape(key: str, title: str, theme: str | None) -> tuple[str, float] | None:
    from pruning_core.lessons.shapes import shape_of

    return shape_of(key, title, dark=theme == "dark")
