"""The two kinds of pictures most lessons need, with their words and their table."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pruning_core.lessons.lesson import Picture, Scene, in_words

if TYPE_CHECKING:
    from pruning_core.figures.canvas import Caption
    from pruning_core.figures.teaching import Series


def numbers_of(scene: Scene) -> Mapping[str, Any]:
    """Return the facts that a title can name: numbers and texts."""
    named = in_words(scene.facts, scene.words)
    return {k: v for k, v in named.items() if isinstance(v, int | float | str)}


def curves(
    scene: Scene,
    name: str,
    series: "Sequence[Series]",
    axes: tuple[tuple[float, float] | None, tuple[float, float] | None] = (None, None),
    *,
    guess: tuple[Sequence[float], Sequence[float]] | None = None,
    marked: float | None = None,
    log_x: bool = False,
) -> Picture:
    """Return lines; the words are ``pictures.NAME.finding``, ``subject``, ``x`` and ``y``.

    Args:
        scene: What is drawn.
        name: Of the picture.
        series: Lines over the same places.
        axes: Ranges of x and y where they are fixed.
        guess: Values and places of the prediction.
        marked: A place on the x axis.
        log_x: Whether the x axis counts powers of ten.
    """
    from pruning_core.figures import teaching

    words = scene.words
    figure = teaching.lines(
        series,
        teaching.Axes(words(f"pictures.{name}.x"), words(f"pictures.{name}.y"), *axes, log_x),
        _caption(scene, name),
        scene.colours,
        guess=teaching.Guess(words("pictures.guess"), *guess) if guess else None,
        marked=None if marked is None else (marked, words("pictures.here")),
    )
    table: dict[str, Any] = {}
    for one in series:
        x, y = words(f"pictures.{name}.x"), words(f"pictures.{name}.y")
        table.setdefault("", []).extend([one.name] * len(one.y))
        table.setdefault(x, []).extend(one.x)
        table.setdefault(y, []).extend(one.y)
    return Picture(name, figure, table)


def bars(
    scene: Scene,
    name: str,
    labels: Sequence[str],
    series: "Sequence[Series]",
    *,
    form: str = ".1f",
    x_range: tuple[float, float] | None = None,
    guess: Sequence[float] | None = None,
) -> Picture:
    """Return bars; the words are ``pictures.NAME.finding``, ``subject`` and ``x``.

    Args:
        scene: What is drawn.
        name: Of the picture.
        labels: One for each group of bars.
        series: Values, one for each label.
        form: How numbers are written at the bars.
        x_range: Of the values; None fits them.
        guess: The prediction for the first labels.
    """
    from pruning_core.figures import teaching

    words = scene.words
    figure = teaching.bars(
        labels,
        series,
        teaching.Axes(words(f"pictures.{name}.x"), x_range=x_range),
        _caption(scene, name),
        scene.colours,
        guess=teaching.Guess(words("pictures.guess"), guess) if guess else None,
        form=form,
    )
    table: dict[str, Any] = {"": list(labels)}
    table |= {one.name: list(one.y) for one in series}
    return Picture(name, figure, table)


def _caption(scene: Scene, name: str) -> "Caption":
    from pruning_core.figures.canvas import Caption

    return Caption(
        scene.words(f"pictures.{name}.finding", **numbers_of(scene)),
        scene.words(f"pictures.{name}.subject"),
    )
