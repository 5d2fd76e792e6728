"""The frame around every page: page settings, navigation, errors, guard of the pages folder.

Streamlit runs a file of a folder called ``pages`` on its own when the first visitor of a fresh
server opens a deep link. :func:`enter` notices that and starts over through ``app.py``.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import streamlit as st
from streamlit.navigation.page import Page

from pages.common import access, course, problems, state, toolbar
from pages.common.format import markdown

_HERE: Final = Path(__file__).resolve().parent
_INSIDE: Final = "_inside_shell"

_WITHOUT_PLAN: Final = {"learn", "glossary"}  # pages on which a plan cannot be changed

# Layout only; colours come from .streamlit/config.toml. The strip stays in sight below the header.
_STYLE: Final = """<style>
.st-key-strip { min-height: 65px; position: relative; }
.st-key-strip .stSpinner { position: absolute; right: 0; top: 100%; }
[data-testid="stLayoutWrapper"]:is(
  :has(> .st-key-strip), :has(> [data-testid="stVerticalBlock"] > * > .st-key-strip)
) {
  position: sticky; top: 3.75rem; z-index: 90;
}
.st-key-accuracies { min-height: 106px; }
.stMainBlockContainer { max-width: 1720px; }
[data-testid="stNumberInputClearButton"] { display: none; }
[data-testid="stLayoutWrapper"]:has(> .st-key-toolbar) { position: absolute; }
.st-key-toolbar { position: fixed; top: 0.6rem; right: 3.6rem; z-index: 999991; width: auto; }
.st-key-toolbar > [data-testid="stLayoutWrapper"] { flex: none; width: auto; }
.st-key-toolbar, .st-key-toolbar [data-testid="stHorizontalBlock"] { flex-wrap: nowrap; }
.st-key-toolbar kbd { display: none; }
[data-testid="stElementContainer"]:has(> .stHtml) { position: absolute; }
.st-key-controls [data-testid="stButtonGroup"] button { min-height: 2.5rem; }
.st-key-controls { padding: 0.7rem 1rem; gap: 0.4rem; }
.stMainBlockContainer { padding-top: 4.6rem; }
.st-key-learn [data-testid="stButtonGroup"] [role="radiogroup"] { flex-wrap: wrap; }
.st-key-course_progress { position: absolute; }
.st-key-learn { max-width: 1080px; margin: 0 auto; }
@media (max-width: 1000px) {
  .st-key-toolbar [data-testid="stMarkdownContainer"] { display: none; }
  .st-key-learn [data-testid="stColumn"] { min-width: 100%; }
  [class*="st-key-pair_of"] [data-testid="stColumn"] { min-width: 100%; }
  .st-key-run_page > [data-testid="stLayoutWrapper"] > [data-testid="stHorizontalBlock"]
    > [data-testid="stColumn"] { min-width: 100%; }
}
</style>"""


def run() -> None:
    """Draw the current page inside the shell; called by ``app.py`` alone."""
    st.set_page_config(
        page_title="Pruning Studio", page_icon=str(_HERE / "icon.svg"), layout="wide"
    )
    access.check()
    page = _navigation()
    st.session_state[_INSIDE] = True
    if page.url_path != "learn":
        st.session_state.pop(course.SHOWN, None)
    st.session_state[state.PAGE] = page.url_path
    try:
        with shows_errors():
            page.run()
    finally:
        st.session_state[_INSIDE] = False


def enter() -> None:
    """Start a page: the first call of every page script."""
    if not st.session_state.get(_INSIDE):
        _navigation()
        st.rerun()
    st.html(_STYLE)
    state.open_session()
    state.begin_page()
    if _has_tools():
        toolbar.show()
    message = state.take_message()
    if message:
        st.error(markdown(message))


def parts() -> tuple[str, ...]:
    """Return the parts of the frame around the page that change with the plan."""
    return toolbar.parts() if _has_tools() else ()


def _has_tools() -> bool:
    return not state.is_reduced() and state.page() not in _WITHOUT_PLAN


@contextmanager
def shows_errors() -> Iterator[None]:
    """Turn an error into a sentence on the page, and stop drawing it."""
    try:
        yield
    except Exception as error:  # whatever it is, the visitor gets a sentence and the log the rest
        st.error(markdown(problems.sentence(error)))
        st.stop()


def _navigation() -> Page:
    """Declare the pages; the one place that does."""
    st.logo(str(_HERE / "logo.svg"), size="medium")
    pages = [
        st.Page(_HERE.parent / f"{name}.py", title=title, url_path=name, default=name == "model")
        for name, title in (
            ("model", "Model"),
            ("plan", "Plan"),
            ("run", "Run"),
            ("compare", "Compare"),
            ("export", "Export"),
            ("learn", "Learn"),
            ("glossary", "Glossary"),
        )
    ]
    return st.navigation(pages, position="hidden" if state.is_reduced() else "top")
