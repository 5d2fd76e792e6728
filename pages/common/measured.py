"""What finished runs measured, read from their reports."""

import json
from dataclasses import dataclass
from typing import Any

import streamlit as st

from pruning_core.errors import RunError
from pruning_core.planning.recipe import Recipe
from pruning_core.runs.store import Record, Store


@dataclass(frozen=True, slots=True)
class Accuracy:
    """The test accuracies of one run.

    Attributes:
        run: Its id.
        n: Test examples.
        dense: Before, share of one, or the headline metric of another task.
        after: After pruning, and after fine-tuning when there was any.
        moment: ``pruned`` or ``tuned``: which of them ``after`` is.
        task: Key of what was measured.
    """

    run: str
    n: int
    dense: float
    after: float
    moment: str
    task: str


@st.cache_data(show_spinner=False, max_entries=64)
def report(run: str) -> dict[str, Any] | None:
    """Return the report of a finished run, which never changes; None when it has none."""
    try:
        text = (Store().folder(run) / "export" / "report.json").read_bytes()
    except OSError:
        return None
    found: dict[str, Any] = json.loads(text)
    return found


def of_recipe(recipe: Recipe) -> Accuracy | None:
    """Return what the newest finished run of exactly this recipe measured, if there is one.

    A run that ended before its last round handed out less than the plan takes away, so its
    accuracy is not that of the plan. Adaptive rounds may end anywhere.
    Runs that cannot be read just now are no reason not to show a plan; the Run page says why.
    """
    try:
        records = Store().done(recipe.fingerprint)
    except RunError:
        return None
    if not records or recipe.schedule.first_step is not None:
        return None
    rounds = (report(records[0].id) or {}).get("rounds_kept", recipe.schedule.rounds)
    return _accuracy(records[0]) if rounds == recipe.schedule.rounds else None


def _accuracy(record: Record) -> Accuracy | None:
    found = report(record.id)
    if found is None:
        return None
    from pruning_core.exporting.metric_table import headlines, task_of

    accuracy = headlines(found)
    dense = accuracy.get("dense")
    moment = next((name for name in ("tuned", "pruned") if accuracy.get(name) is not None), None)
    after = None if moment is None else accuracy[moment]
    if dense is None or moment is None or after is None:
        return None
    n, task = int(found["n"][moment]), task_of(found).key
    return Accuracy(record.id, n, dense, after, moment, task)
