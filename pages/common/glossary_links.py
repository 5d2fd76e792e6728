"""Links from the words on a page to their entries in the glossary, which opens beside the page."""

from typing import Final
from urllib.parse import quote

from pages.common import course
from pages.common.format import prose

PAGE: Final = "glossary"


def address(word: str) -> str:
    """Return where the entry of a word of ``docs/glossary.md`` is, seen from any page."""
    return f"{PAGE}?term={quote(word)}&lang={course.language()}"


def linked(word: str, text: str = "") -> str:
    """Return ``text``, else the word itself, as a link in Markdown."""
    return f"[{prose(text or word)}]({address(word)})"


def explained(text: str, *words: str) -> str:
    """Return a help text with links to the words that a control is about."""
    links = ", ".join(linked(word) for word in words)
    return f"{text}\n\nGlossary: {links}" if text else f"Glossary: {links}"
