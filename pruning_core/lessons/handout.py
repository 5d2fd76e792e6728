"""A lesson on paper: what to predict, do and answer; with the answers for whoever teaches."""

import html
from collections.abc import Mapping
from typing import Any, Final

from pruning_core.lessons.lesson import (
    Check,
    Choice,
    Facts,
    HandIn,
    Lesson,
    Numbers,
    Order,
    Scene,
    all_facts,
    done_at,
    in_words,
    option_text,
    positions,
)
from pruning_core.lessons.texts import FRAME, Words

_STYLE: Final = """
body { font: 12pt/1.5 system-ui, sans-serif; max-width: 46rem; margin: 2rem auto; padding: 0 1rem;
  color: #1c232b; background: #fff; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.1rem; margin: 1.4rem 0 0.3rem; break-after: avoid; }
p { margin: 0.3rem 0; }
.line { border-bottom: 1px solid #6b7682; height: 2rem; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
td, th { border: 1px solid #6b7682; padding: 0.2rem 0.6rem; text-align: left; }
.answers { break-before: page; }
.formula { font-family: ui-monospace, monospace; }
figure { margin: 0.8rem 0; break-inside: avoid; }
figcaption { font-size: 0.9rem; font-weight: 600; }
svg { max-width: 100%; height: auto; }
.box { display: inline-block; width: 0.8rem; height: 0.8rem; border: 1px solid;
  margin-right: 0.5rem; }
ul { list-style: none; padding: 0; }
@media print { body { margin: 0; max-width: none; padding: 0; font-size: 11pt; } }
"""


def rows_of(lesson: Lesson, facts: Facts, words: Words) -> list[tuple[str, str]]:
    """Return what is told to teachers, in words, and its value: every number that is expected."""
    rows: list[tuple[str, str]] = []
    for name in lesson.expected:
        value, title = facts[name], words(f"facts.{name}")
        if isinstance(value, Mapping):
            rows += [
                (f"{title}: {option_text(words, key)}", _told(one, words))
                for key, one in value.items()
            ]
        else:
            rows.append((title, _told(value, words)))
    return rows


def handout(
    lesson: Lesson, language: str, record: Mapping[str, Any] | None = None, *, answers: bool = False
) -> str:
    """Return a page of HTML that needs nothing else.

    Args:
        lesson: What it is about.
        language: A key of ``LANGUAGES``.
        record: Facts with date, as :func:`pruning_core.lessons.expected.expected` returns them, for
            the pictures and the answers; None leaves both out.
        answers: Add what was measured, with the pictures after the reveal, on a second page.
    """
    words, frame = Words(language, lesson.key), Words(language, FRAME)
    facts = record["facts"] if record is not None else None
    parts = [
        f"<h1>{_safe(words('title'))}</h1>",
        f"<p>{_safe(frame('handout.name'))}: ____________________</p>",
        _section(frame("handout.goal"), words("goal")),
        _section(frame("handout.guess"), words("guess.ask")),
        _options(lesson, words),
        _lines(1),
        _section(frame("handout.do"), words("do.ask")),
        "" if facts is None else _pictures(lesson, words, facts, revealed=False),
        f"<h2>{_safe(frame('handout.notes'))}</h2>",
        _lines(4),
        f"<h2>{_safe(frame('handout.why'))}</h2>",
        _lines(4),
        *(_questions(lesson, words, frame) if lesson.further else ()),
        f"<p><small>{_safe(frame('sources', sources='; '.join(lesson.sources)))}<br>",
        f"{_safe(frame('handout.link', lesson=lesson.key, language=language))}</small></p>",
    ]
    if record is not None and answers:
        parts += _answers(lesson, words, frame, record)
    return (
        f'<!doctype html><html lang="{words.language}"><head><meta charset="utf-8">'
        f"<title>{_safe(words('title'))}</title><style>{_STYLE}</style></head><body>"
        + "\n".join(parts)
        + "</body></html>\n"
    )


def _answers(lesson: Lesson, words: Words, frame: Words, record: Mapping[str, Any]) -> list[str]:
    facts = record["facts"]
    rows = "".join(
        f"<tr><td>{_safe(name)}</td><td>{_safe(value)}</td></tr>"
        for name, value in rows_of(lesson, facts, words)
    )
    title = frame("handout.answers", when=record["when"][:10])
    found = in_words(all_facts(lesson, facts, done_at(lesson, facts)), words)
    return [
        f'<section class="answers"><h1>{_safe(title)}</h1>',
        f"<p>{_safe(words('teach'))}</p>",
        _pictures(lesson, words, facts, revealed=True),
        f'<p class="formula">{_safe(words("formula", **found))}</p>',
        f"<p>{_safe(words('why', **found))}</p>",
        *(_solved(check, words, frame, found) for check in lesson.checks),
        f"<h2>{_safe(frame('teach.expected'))}</h2>",
        f"<table><tr><th>{_safe(frame('teach.name'))}</th>"
        f"<th>{_safe(frame('teach.value'))}</th></tr>{rows}</table></section>",
    ]


def _solved(check: Check, words: Words, frame: Words, found: Facts) -> str:
    """Return a question with its answer; of a plan that is handed in, a recipe that does it."""
    asked = _section(frame("handout.check"), words(f"{check.key}.ask", **found))
    if not isinstance(check.control, HandIn):
        return asked + f"<p>{_safe(words(f'{check.key}.right', **found))}</p>"
    recipe = check.answer(found).model_dump_json(exclude_defaults=True)
    return asked + f'<p class="formula">{_safe(recipe)}</p>'


def _pictures(lesson: Lesson, words: Words, facts: Facts, *, revealed: bool) -> str:
    """Draw what the page shows at first, or where what was to be done is done."""
    from pruning_core.figures.drawing import svg
    from pruning_core.figures.palette import LIGHT

    value = done_at(lesson, facts) if revealed else positions(lesson.do)[0]
    found = all_facts(lesson, facts, value, None if revealed else ())
    scene = Scene(found, value, None, revealed, words, LIGHT)
    parts = []
    for picture in lesson.pictures(scene):
        drawn = svg(picture.figure, name=f"{picture.name}-{int(revealed)}")
        title = _safe(str(picture.figure.layout.title.text))
        parts.append(
            f"<figure><figcaption>{title}</figcaption>{drawn or _table(picture.table)}</figure>"
        )
    return "".join(parts)


def _table(columns: Mapping[str, Any]) -> str:
    head = "".join(f"<th>{_safe(str(name))}</th>" for name in columns)
    rows = "".join(
        "<tr>" + "".join(f"<td>{_safe(str(one))}</td>" for one in row) + "</tr>"
        for row in zip(*columns.values(), strict=True)
    )
    return f"<table><tr>{head}</tr>{rows}</table>"


def _questions(lesson: Lesson, words: Words, frame: Words) -> list[str]:
    """Return the questions of a test; what depends on the learner's choice is a gap."""
    asked = [words.with_gaps(f"{check.key}.ask") for check in lesson.checks]
    items = "".join(f"<li>{_safe(text)}{_lines(1)}</li>" for text in asked)
    return [f"<h2>{_safe(frame('test.title', count=len(asked)))}</h2><ol>{items}</ol>"]


def _options(lesson: Lesson, words: Words) -> str:
    """Return what can be ticked, or a line for each number."""
    match lesson.guess:
        case Choice(options) | Order(options):
            items = [
                f'<span class="box"></span>{_safe(option_text(words, one))}' for one in options
            ]
        case Numbers(names=asked):
            each = [words("guess.each", name=option_text(words, one)) for one in asked]
            items = [f"{_safe(one)}: __________ {_safe(words('guess.unit'))}" for one in each]
        case _:
            return ""
    return f"<ul>{''.join(f'<li>{item}</li>' for item in items)}</ul>"


def _section(title: str, text: str) -> str:
    return f"<h2>{_safe(title)}</h2><p>{_safe(text)}</p>"


def _lines(n: int) -> str:
    return '<div class="line"></div>' * n


def _told(value: Any, words: Words) -> str:
    if isinstance(value, list):
        return ", ".join(_told(one, words) for one in value)
    if isinstance(value, str):
        return option_text(words, value)
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}"


def _safe(text: str) -> str:
    return html.escape(text, quote=False)
