"""The savings strip: what the plan does to the whole model, on every page."""

from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, Final

import streamlit as st

from pages.common import cache, measured, measuring, scanning, searching, state, studying, why
from pages.common.components import mount_strip
from pages.common.format import duration, judged, milliseconds, percent
from pages.common.glossary_links import address
from pruning_core.errors import PruningError

if TYPE_CHECKING:
    from streamlit.delta_generator import DeltaGenerator

    from pruning_core.loading.card import ModelCard
    from pruning_core.planning.recipe import Recipe
    from pruning_core.preview import Preview
    from pruning_core.runs.bench import Outcome
    from pruning_core.tasks import Metric

    Place = tuple[DeltaGenerator, DeltaGenerator]

_KEY: Final = "strip_numbers"
_DASH: Final = "\u2013"
_EXACT: Final = "Counted from the shapes and masks of this plan"
_QUANTITIES: Final = (
    ("params", "Parameters", "count", "parameters"),
    ("nonzero", "Non-zeros", "count", "non-zero parameters"),
    ("macs", "MACs per sample", "count", "MAC"),
    ("n_bytes", "Weights file", "bytes", "bytes"),
)
_WORDS: Final = {
    "Test accuracy": "accuracy",
    "Accuracy": "accuracy",
    "Accuracy what-if": "what-if accuracy",
    "Time, 1 sample": "time",
}
"""What the glossary calls the items that are measured."""


def reserve() -> "Place":
    """Return the place of the strip; until :func:`show` fills it, it keeps its height.

    The numbers of the run before stay in sight meanwhile, so that nothing flickers.
    """
    with st.container(key="strip", gap=None):
        status, numbers = st.empty(), st.container()
    if not cache.is_ready():
        status.caption(":material/hourglass_top: Starting PyTorch; the exact numbers follow.")
    return status, numbers


def show(place: "Place | None" = None) -> None:
    """Draw the strip for the current recipe.

    Args:
        place: From :func:`reserve`, for pages that draw something before; None draws it here.
    """
    status, numbers = place or reserve()
    _counted(status)
    status.empty()
    if state.shown_run_differs():
        status.caption("Current plan; the run below had another recipe.")
    with numbers:
        _numbers()


@st.fragment
def _numbers() -> None:
    """Draw the numbers; while something is being measured the browser asks for them anew."""
    recipe = state.recipe()
    counted = cache.preview(recipe)
    accuracy, timing = _what_if(counted), measuring.latency(recipe)
    shown = [*items(counted), accuracy_item(recipe, accuracy)]
    if cache.network(recipe.model).has_forward:
        shown.append(time_item(timing))
    with st.container(horizontal=True, gap="xsmall", key="strip_row"):
        place = st.container(width="stretch", gap=None, key="strip_place")
        waits = why.button(counted, accuracy)
    waits = waits or searching.is_running() or measuring.awaits_shares()
    waits = waits or scanning.RUNNING.is_running() or studying.RUNNING.is_running()
    waits = waits or any(each is not None and each.is_pending for each in (accuracy, timing))
    with place:
        mount_strip(
            key=_KEY,
            data={
                "items": shown,
                "address": state.address(),
                "page": state.page(),
                "waits": waits,
            },
            on_poll_change=_follow,
            on_ask_change=_ask,
        )


def _follow() -> None:
    """Draw what was found out since the strip asked last, where other parts show it as well."""
    if searching.settle() or measuring.shares_arrived():
        st.rerun()
    news = [each.news() for each in (scanning.RUNNING, studying.RUNNING)]
    if any(news) and state.page() == "plan":
        state.redraw("strip", "layers", "view")
    if searching.is_running() and state.page() == "plan":
        state.redraw("strip", searching.PART)


def _ask() -> None:
    """Measure what was asked for with a button in the strip."""
    match st.session_state[_KEY].ask:
        case "accuracy":
            measuring.measure_accuracy(state.recipe())
        case "time":
            measuring.measure_latency(state.recipe())


def _counted(status: "DeltaGenerator") -> "Preview":
    """Count the current recipe; one that cannot be carried out is taken back."""
    recipe = state.recipe()
    try:
        cache.engine(recipe.model)
        with status, st.spinner("Rating on data…") if cache.reads_data(recipe) else nullcontext():
            counted = cache.preview(recipe)
    except PruningError as error:
        if state.go_back(str(error)):
            st.rerun()
        raise
    state.keep_recipe()
    return counted


def _what_if(counted: "Preview") -> "Outcome | None":
    """Return the what-if accuracy of the current plan; None where it is not looked for.

    A plan that removes nothing is as good as the dense model, whose test accuracy its card knows.
    On the Plan page it is asked for all the same: then the process is there for the first real one.
    """
    recipe = state.recipe()
    known = counted.before == counted.after and _card(recipe) is not None
    if not known:
        return measuring.accuracy(recipe)
    if state.page() == "plan":
        measuring.accuracy(recipe)
    return None


def _card(recipe: "Recipe") -> "ModelCard | None":
    """Return the card of the model, unless the recipe's data are others than it was measured on."""
    card = cache.model(recipe.model).card
    return card if card is not None and recipe.data in {None, card.data} else None


def items(counted: "Preview") -> list[dict[str, Any]]:
    """Return the exact items of the strip, as plain data."""
    return [
        {
            "key": key,
            "label": label,
            "entry": address(word),
            "unit": unit,
            "before": int(getattr(counted.before, key)),
            "after": int(getattr(counted.after, key)),
            "badge": "EXACT",
            "badge_help": _EXACT,
        }
        for key, label, unit, word in _QUANTITIES
        if key != "macs" or counted.before.macs  # weights alone have none that could be known
    ]


def accuracy_item(recipe: "Recipe", outcome: "Outcome | None") -> dict[str, Any]:
    """Return the item for the accuracy: of a run of this recipe, else the what-if, else dense."""
    from pruning_core.tasks.registry import headline

    found = measured.of_recipe(recipe)
    if found is not None:
        metric = headline(found.task)
        return _item(
            f"Test {metric.name}",
            f"Measured by run {found.run} on {found.n:,} test examples",
            before=judged(metric, found.dense),
            after=judged(metric, found.after),
            note=_change(metric, found.dense, found.after),
            detail=f"{found.moment}, n {found.n:,}",
        )
    if outcome is not None:
        return _what_if_item(outcome, cache.metric(recipe))
    card = _card(recipe)
    if card is not None:
        metric = headline(card.task)
        return _item(
            f"Test {metric.name}",
            f"Measured when the model was trained, on {card.n_test:,} test examples",
            after=judged(metric, card.accuracy),
            note="dense",
            detail=f"n {card.n_test:,}",
        )
    return _item("Accuracy", why.NO_DATA, after="no data", badge="", detail="nothing to measure on")


def _what_if_item(outcome: "Outcome", metric: "Metric") -> dict[str, Any]:
    """Return the item for the accuracy right after pruning."""
    label, answer = f"{metric.capital} what-if", outcome.answer
    if outcome.state == "failed":
        return _item(label, outcome.text, after="none", badge="", detail=outcome.text)
    if outcome.is_pending or not answer:
        return _item(label, "It is being measured", pending="measuring")
    if "too_long" in answer:
        expected = duration(answer["too_long"])
        return _item(
            label,
            f"Measuring {measuring.BY_REQUEST_EXAMPLES:,} validation examples will take about "
            f"{expected} (estimated from a few examples)",
            badge="",
            action=("accuracy", f"Measure, about {expected}"),
            detail="takes too long to follow each change",
        )
    found = why.what_if(answer)
    low, high = found.interval
    return _item(
        label,
        why.accuracy_sentence(found),
        before=judged(metric, found.dense),
        after=judged(metric, found.accuracy),
        note=_change(metric, found.dense, found.accuracy),
        detail=f"{metric.between(low, high, 1).replace(' to ', _DASH)}, n {found.n:,}",
    )


def time_item(outcome: "Outcome | None") -> dict[str, Any]:
    """Return the item for the measured time of one sample."""
    label = "Time, 1 sample"
    if outcome is None or outcome.state == "cancelled":
        return _item(
            label,
            "Dense and pruned are measured in turns on this machine: seconds for a small network, "
            "minutes for a large one",
            badge="",
            action=("time", "Measure"),
            detail="not measured for this plan",
        )
    if outcome.state == "failed":
        return _item(label, outcome.text, after="none", badge="", detail=outcome.text)
    if outcome.is_pending:
        return _item(label, "It is being measured", pending=f"{percent(outcome.fraction, 0)}")
    one = outcome.answer["comparisons"][0]
    dense, pruned = one["dense"], one["pruned"]
    ratio = f"{one['ratio']:.2f}x {one['verdict']}"
    return _item(
        label,
        f"Median of {one['n']} pairs, dense and pruned in turns, {one['threads']} "
        f"{'thread' if one['threads'] == 1 else 'threads'}, on {outcome.answer['device']}. Middle "
        f"half: {milliseconds(dense['low_ms'])} to {milliseconds(dense['high_ms'])} before, "
        f"{milliseconds(pruned['low_ms'])} to {milliseconds(pruned['high_ms'])} after. 95 % "
        f"interval of the ratio: {one['ratio_low']:.2f} to {one['ratio_high']:.2f}.",
        before=milliseconds(dense["median_ms"]),
        after=milliseconds(pruned["median_ms"]),
        note="no gain" if one["verdict"].startswith("no") else ratio,
        detail=f"{one['ratio_low']:.2f}\u2013{one['ratio_high']:.2f}, n {one['n']}",
    )


def _item(
    label: str,
    badge_help: str,
    *,
    badge: str = "MEASURED",
    pending: str = "",
    action: tuple[str, str] | None = None,
    **text: str,
) -> dict[str, Any]:
    """Return an item of texts: ``before``, ``after``, ``note`` and ``detail``.

    Args:
        label: Its name.
        badge_help: What is known about it, for the pointer.
        badge: How it is known.
        pending: How far the measuring is; empty when nothing is measured.
        action: What a button asks for, and its label.
        **text: The texts; empty when left out.
    """
    if pending:
        badge = ""
        text |= {"after": "…", "note": pending, "detail": ""}
    return {
        "key": "",
        "label": label,
        "entry": address(_WORDS.get(label, "headline metric")),
        "badge": badge,
        "badge_help": badge_help,
        "text": dict.fromkeys(("before", "after", "note", "detail"), "") | text,
        "action": list(action) if action else None,
    }


def _change(metric: "Metric", before: float, after: float) -> str:
    """Write what changed with its sign; a difference of shares in percentage points."""
    return metric.change(before, after).replace("points", "pts").replace("-", "\u2212")
