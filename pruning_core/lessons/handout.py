"""A lesson on paper: what to predict, do and answer; with the answers for whoever teaches."""

import html
from collections.abc import Mapping
from typing import Any, Final

from pruning_core.lessons.lesson import Facts, Lesson, options_of
from pruning_core.lessons.texts import FRAME, Words

_STYLE: Final = """
body { font: 12pt/1.5 system-ui, sans-serif; max-width: 46rem; margin: 2rem auto; color: #1c232b; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.1rem; margin-top: 1.4rem; }
.line { border-bottom: 1px solid #6b7682; height: 2rem; }
table { border-collapse: collapse; } td, th { border: 1px solid #6b7682; padding: 0.2rem 0.6rem; }
.answers { break-before: page; }
.formula { font-family: ui-monospace, monospace; }
"""


def rows_of(lesson: Lesson, facts: Facts) -> list[tuple[str, str]]:
    """Return name and value of every number that teachers are told."""
    rows: list[tuple[str, str]] = []
    for name in lesson.expected:
        value = facts[name]
        if isinstance(value, Mapping):
            rows += [(f"{name}.{key}", _told(one)) for key, one in value.items()]
        else:
            rows.append((name, _told(value)))
    return rows


def handout(lesson: Lesson, language: str, record: Mapping[str, Any] | None = None) -> str:
    """Return a page of HTML that needs nothing else; with a record, the answers on a second one.

    Args:
        lesson: What it is about.
        language: A key of ``LANGUAGES``.
        record: Facts with date, as :func:`pruning_core.lessons.expected.expected` returns them.
    """
    words, frame = Words(language, lesson.key), Words(language, FRAME)
    parts = [
        f"<h1>{_safe(words('title'))}</h1>",
        f"<p>{_safe(frame('handout.name'))}: ____________________</p>",
        _section(frame("handout.goal"), words("goal")),
        _section(frame("handout.guess"), words("guess.ask")),
        _options(lesson, words),
        _lines(1),
        _section(frame("handout.do"), words("do.ask")),
        f"<h2>{_safe(frame('handout.notes'))}</h2>",
        _lines(4),
        f"<h2>{_safe(frame('handout.why'))}</h2>",
        _lines(4),
        f"<p><small>{_safe(frame('sources', sources='; '.join(lesson.sources)))}<br>",
        f"{_safe(frame('handout.link', lesson=lesson.key, language=language))}</small></p>",
    ]
    if record is not None:
        parts += _answers(lesson, words, frame, record)
    return (
        f'<!doctype html><html lang="{words.language}"><head><meta charset="utf-8">'
        f"<title>{_safe(words('title'))}</title><style>{_STYLE}</style></head><body>"
        + "\n".join(parts)
        + "</body></html>\n"
    )


def _answers(lesson: Lesson, words: Words, frame: Words, record: Mapping[str, Any]) -> list[str]:
    rows = "".join(
        f"<tr><td>{_safe(name)}</td><td>{_safe(value)}</td></tr>"
        for name, value in rows_of(lesson, record["facts"])
    )
    title = frame("handout.answers", when=record["when"][:10])
    return [
        f'<section class="answers"><h1>{_safe(title)}</h1>',
        f"<p>{_safe(words('teach'))}</p>",
        f"<table><tr><th>{_safe(frame('teach.name'))}</th>"
        f"<th>{_safe(frame('teach.value'))}</th></tr>{rows}</table></section>",
    ]


def _options(lesson: Lesson, words: Words) -> str:
    options = options_of(lesson.guess)
    if not options:
        return ""
    items = "".join(f"<li>&#9744; {_safe(words(f'guess.options.{one}'))}</li>" for one in options)
    return f'<ul style="list-style: none">{items}</ul>'


def _section(title: str, text: str) -> str:
    return f"<h2>{_safe(title)}</h2><p>{_safe(text)}</p>"


def _lines(n: int) -> str:
    return '<div class="line"></div>' * n


def _told(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(_told(one) for one in value)
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _safe(text: str) -> str:
    return html.escape(text, quote=False)
