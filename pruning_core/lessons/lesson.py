"""What a lesson is: predict, do, see both, understand, be asked.

Everything here is data and functions of plain data, so that the same lesson runs on a page, in a
test, and from the command line.
"""

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Any, Final, Literal

from pruning_core.lessons.texts import Words
from pruning_core.planning.recipe import Recipe
from pruning_core.registry import Registry
from pruning_core.steps import run_to_end

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from pruning_core.figures.palette import Palette

CHAPTERS: Final = ("why", "granularity", "criteria", "recovery", "practice")

Facts = Mapping[str, Any]
"""Plain data (numbers, texts, lists) by name: what was counted or measured."""
Verdict = Literal["right", "near", "far"]
Measuring = Generator[tuple[float, str], None, Facts]
"""Yields the share that is done and what is going on; returns the facts."""


@dataclass(frozen=True, slots=True)
class Choice:
    """One of a few options; ``literal`` ones (names of layers) are the same in every language."""

    options: tuple[str, ...]
    literal: bool = False


@dataclass(frozen=True, slots=True)
class Number:
    """A number between two limits; a guess within ``near`` of the truth is right."""

    low: float
    high: float
    step: float
    start: float
    near: float


@dataclass(frozen=True, slots=True)
class Order:
    """All options, first things first."""

    options: tuple[str, ...]
    literal: bool = False


@dataclass(frozen=True, slots=True)
class Numbers:
    """A number for each name; right when they are within ``near`` on average.

    ``solution`` is a position at which what was to be done is done, for whoever teaches.
    """

    names: tuple[str, ...]
    low: float
    high: float
    step: float
    start: float
    near: float
    literal: bool = True
    solution: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Members:
    """Some of ``n`` units, by their numbers from 0."""

    n: int


Control = Choice | Number | Order | Numbers | Members


def options_of(control: Control) -> tuple[str, ...]:
    """Return the options or names whose words a language has to know; none for literal ones."""
    match control:
        case Choice(options, literal) | Order(options, literal):
            return () if literal else options
        case Numbers(names=names, literal=literal):
            return () if literal else names
    return ()


def accepted(control: Control, value: Any) -> Any:
    """Return ``value`` as the control can show it, or None: links may say anything."""
    try:
        match control:
            case Choice(options):
                return value if value in options else None
            case Number(low, high):
                return min(high, max(low, float(value)))
            case Order(options):
                given = list(value)
                return given if sorted(given) == sorted(options) else None
            case Numbers(names=names, low=low, high=high):
                given = [min(high, max(low, float(one))) for one in value]
                return given if len(given) == len(names) else None
            case Members(n):
                return sorted({int(one) for one in value if 0 <= int(one) < n})
    except (TypeError, ValueError):
        return None


def first_value(control: Control) -> Any:
    """Return what the control shows before anybody touched it; None where nothing is chosen."""
    match control:
        case Choice():
            return None
        case Number(start=start):
            return start
        case Order() | Members():
            return []
        case Numbers(names=names, start=start):
            return [start] * len(names)


def positions(control: Control) -> list[Any]:
    """Return where a control can stand, from its first position on; of many numbers only two."""
    match control:
        case Choice(options):
            return list(options)
        case Number(low=low, high=high, step=step):
            return [round(low + step * k, 9) for k in range(round((high - low) / step) + 1)]
        case Order(options):
            return [list(options)]
        case Members(n):
            return [list(range(k)) for k in range(n + 1)]
    return [one for one in (first_value(control), list(control.solution)) if one]


def verdict(control: Control, guess: Any, truth: Any) -> Verdict:
    """Say how good a guess is.

    ``near`` is a number within three times its margin, or an order with most pairs right.
    """
    match control:
        case Choice() | Members():
            return "right" if guess == truth else "far"
        case Number(near=near):
            gap = abs(guess - truth)
        case Numbers(near=near):
            gap = sum(abs(a - b) for a, b in zip(guess, truth, strict=True)) / len(truth)
        case Order(options):
            wrong = _swapped(guess, truth)
            pairs = len(options) * (len(options) - 1) // 2
            return "right" if not wrong else "near" if 2 * wrong < pairs else "far"
    return "right" if gap <= near + 1e-9 else "near" if gap <= 3 * near + 1e-9 else "far"


def _swapped(guess: Sequence[str], truth: Sequence[str]) -> int:
    """Return how many pairs stand the other way round."""
    return sum(guess.index(a) > guess.index(b) for a, b in combinations(truth, 2))


@dataclass(frozen=True, slots=True)
class HandIn:
    """A plan that is made in the workbench and handed in from there.

    Attributes:
        model: Identity of the network it has to be for.
        judge: The recipe of the workbench and all facts -> facts of that plan; ``right`` tells
            whether it does what was asked, the others are numbers for the words.
    """

    model: str
    judge: Callable[[Recipe, Facts], Facts]


@dataclass(frozen=True, slots=True)
class Check:
    """A question at the end; its answer comes from what the learner did.

    Attributes:
        control: What is asked for.
        answer: All facts -> the right answer; of a plan a recipe that does what is asked.
        key: Where its texts are.
        begin: All facts -> the state of the workbench in which it is answered; None: on the page.
        place: View of the Plan page, and layer, that are shown there.
        again: The lesson to read again after a wrong answer.
    """

    control: Choice | Number | HandIn
    answer: Callable[[Facts], Any]
    key: str = "check"
    begin: Callable[[Facts], Recipe] | None = None
    place: tuple[str, str] = ("", "")
    again: str = ""


def score(checks: Sequence[Check], answers: Sequence[Mapping[str, Any]]) -> dict[str, bool]:
    """Return for each question that was answered whether the first answer was right."""
    first: dict[str, bool] = {}
    for answer in answers:
        first.setdefault(str(answer.get("check", "check")), bool(answer["right"]))
    return {check.key: first[check.key] for check in checks if check.key in first}


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """A figure with the same numbers as a table."""

    name: str
    figure: "go.Figure"
    table: Mapping[str, Any]


@dataclass(frozen=True, slots=True, eq=False)
class Scene:
    """What the pictures of a lesson are drawn from.

    Attributes:
        facts: Everything that was measured, and what is so at the position of the control.
        value: The position of the control.
        guess: What was predicted.
        revealed: False while the learner has not asked for the answer: it must not be seen.
        words: The texts of the lesson.
        colours: Palette of the page.
    """

    facts: Facts
    value: Any
    guess: Any
    revealed: bool
    words: Words
    colours: "Palette"


@dataclass(frozen=True, slots=True)
class Lesson:
    """One lesson.

    Attributes:
        key: Its name in links, and of its texts.
        chapter: One of ``CHAPTERS``.
        place: Lessons are taken in this order.
        sources: Papers with arXiv ids.
        guess: What is predicted.
        do: The one control.
        measure: Computes all that does not depend on the control.
        act: Facts and the position of the control -> the facts that depend on it.
        truth: All facts -> what should have been predicted.
        pictures: What is drawn beside the control and after the reveal.
        check: The question at the end.
        recipe: All facts -> the workbench in this state.
        expected: Names of the numbers that teachers are told.
        reached: All facts -> whether what was to be done is done; None: any position will do.
        attempt: Measures, beside the page, a position that the learner hands in; what comes of it
            is in the facts as ``tries``, the first first, and ``example`` is one that solves it.
            None where there is nothing to hand in.
        tried: Names of the numbers that come of an attempt.
        is_long: Measured beside the page and kept on disk.
        is_timed: Measures times, so nothing else is measured meanwhile.
        is_exact: Its numbers are counted from weights and shapes; nothing depends on samples.
        further: More questions after the first: then all of them are a test with a score.
    """

    key: str
    chapter: str
    place: int
    sources: tuple[str, ...]
    guess: Control
    do: Control
    measure: Callable[[], Measuring]
    act: Callable[[Facts, Any], Facts]
    truth: Callable[[Facts], Any]
    pictures: Callable[[Scene], Sequence[Picture]]
    check: Check
    recipe: Callable[[Facts], Recipe]
    expected: tuple[str, ...]
    reached: Callable[[Facts], bool] | None = None
    attempt: Callable[[Any], Measuring] | None = None
    tried: tuple[str, ...] = ()
    is_long: bool = False
    is_timed: bool = False
    is_exact: bool = False
    further: tuple[Check, ...] = ()

    @property
    def checks(self) -> tuple[Check, ...]:
        """All questions."""
        return (self.check, *self.further)


LESSONS: Final[Registry[Lesson]] = Registry("lesson")


def in_order() -> list[Lesson]:
    """Return the lessons in the order in which they are taken."""
    return sorted(LESSONS.values(), key=lambda lesson: lesson.place)


def option_text(words: Words, option: str) -> str:
    """Return what an option is called; names of layers are what they are."""
    names = (f"{part}.options.{option}" for part in ("guess", "do", "check"))
    return next((words(name) for name in names if name in words), option)


def in_words(facts: Facts, words: Words) -> Facts:
    """Return the facts for use in sentences: options by what they are called."""
    return {
        name: option_text(words, value) if isinstance(value, str) else value
        for name, value in facts.items()
    }


def measured(lesson: Lesson) -> Facts:
    """Carry the measuring of a lesson out, and return its facts."""
    return run_to_end(lesson.measure())


def done_at(lesson: Lesson, facts: Facts) -> Any:
    """Return the first position of the control at which what was to be done is done.

    Where positions are handed in and measured, that is the example.
    """
    if lesson.attempt is not None and isinstance(lesson.do, Numbers) and lesson.do.solution:
        return list(lesson.do.solution)
    first = [lesson.do.start] if isinstance(lesson.do, Number) else []
    return next(
        value
        for value in (*first, *positions(lesson.do))
        if lesson.reached is None or lesson.reached(all_facts(lesson, facts, value))
    )


def all_facts(
    lesson: Lesson, facts: Facts, value: Any, tries: Sequence[Facts] | None = None
) -> Facts:
    """Return the facts together with those at the position ``value`` of the control.

    Args:
        lesson: What they are of.
        facts: What does not depend on the control.
        value: Position of the control.
        tries: What came of the positions that were handed in, where a lesson takes them; None means
            that of the example, which solves it.
    """
    known = facts
    if lesson.attempt is not None:
        known = {**facts, "tries": [facts["example"]] if tries is None else list(tries)}
    return {**known, **lesson.act(known, value)}
