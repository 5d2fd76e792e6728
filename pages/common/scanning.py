"""The sensitivity scan of the pages: begun by a button, carried on beside them, kept on disk."""

from pathlib import Path
from typing import TYPE_CHECKING, Final

import streamlit as st

from pages.common import cache, measuring
from pages.common.lasting import Lasting
from pruning_core.planning.recipe import Recipe
from pruning_core.runs.bench import Outcome, Question

if TYPE_CHECKING:
    from pruning_core.runs.scans import Scan


def _size(question: Question) -> int:
    known = found(question.recipe)
    return 0 if known is None else len(known.points)


RUNNING: Final = Lasting("_scan", _size)


def outcome(recipe: Recipe) -> Outcome | None:
    """Return how far the scan of ``recipe`` is; None when nobody began it since the server did."""
    return measuring.bench().look(question_of(recipe))


def found(recipe: Recipe) -> "Scan | None":
    """Return what is known of the scan of ``recipe``; None when nothing is."""
    from pruning_core.runs.scans import path_of

    model = cache.model(recipe.model)
    data = recipe.data or model.data
    if data is None:
        return None
    path = path_of(recipe, model.weights_sha256, data)
    return _read(str(path), path.stat().st_size) if path.is_file() else None


@st.cache_resource(show_spinner=False, max_entries=16)
def _read(path: str, n_bytes: int) -> "Scan | None":  # noqa: ARG001
    """Read a scan; its file only grows, so one of the same size holds the same."""
    from pruning_core.runs.scans import read

    return read(Path(path))


def question_of(recipe: Recipe) -> Question:
    """Return the question; recipes that differ only in what they remove ask the same."""
    from pruning_core.evaluation.sensitivity import alone

    plain = Recipe(model=recipe.model)
    same = alone(recipe, "", 0.0).replace(tuning=plain.tuning, schedule=plain.schedule)
    return Question("scan", same.replace(scope=plain.scope))
