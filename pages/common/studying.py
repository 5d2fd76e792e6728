"""The search of the pages for plans between accuracy and cost, carried on beside them."""

from pathlib import Path
from typing import TYPE_CHECKING, Final

import streamlit as st

from pages.common import cache, measuring
from pages.common.lasting import Lasting
from pruning_core.planning.recipe import Ratio, Recipe
from pruning_core.runs.bench import Outcome, Question

if TYPE_CHECKING:
    from pruning_core.evaluation.tradeoff import Cost
    from pruning_core.runs.studies import Study


def _size(question: Question) -> int:
    known = found(question.recipe, question.settings["cost"])
    return 0 if known is None else len(known.trials)


RUNNING: Final = Lasting("_study", _size)


def outcome(recipe: Recipe, cost: "Cost", n_trials: int) -> Outcome | None:
    """Return how far the search is; None when nobody began it since the server did."""
    return measuring.bench().look(question_of(recipe, cost, n_trials))


def found(recipe: Recipe, cost: "Cost") -> "Study | None":
    """Return what is known of the search; None when nothing is."""
    from pruning_core.runs.studies import name_of, path_of

    model = cache.model(recipe.model)
    data = recipe.data or model.data
    if data is None:
        return None
    path = path_of(name_of(recipe, model.weights_sha256, data, cost))
    return _read(str(path), path.stat().st_mtime_ns) if path.is_file() else None


@st.cache_resource(show_spinner=False, max_entries=16)
def _read(path: str, changed: int) -> "Study | None":  # noqa: ARG001
    from pruning_core.runs.studies import read

    return read(Path(path))


def question_of(recipe: Recipe, cost: "Cost", n_trials: int) -> Question:
    """Return the question; only what is pinned keeps its target."""
    plain = Recipe(model=recipe.model)
    pinned = {name: own for name, own in recipe.layers.items() if name in recipe.pins}
    same = recipe.parts[""].replace(
        target=Ratio(value=0.0),
        layers=pinned,
        scope=plain.scope,
        tuning=plain.tuning,
        schedule=plain.schedule,
    )
    return Question("study", same, settings={"cost": cost, "n_trials": n_trials})
