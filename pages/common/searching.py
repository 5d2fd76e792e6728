"""Two handles of the global setting that are found by measuring: accuracy drop and time.

The search goes on in a process of its own, also on other pages. The strip, which asks for news
anyway, takes its result over: a ratio, with a note in the recipe how it was found.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

import streamlit as st

from pages.common import cache, edits, measuring, state, why
from pages.common.format import markdown, milliseconds, percent
from pruning_core.planning.recipe import Found, Ratio, Recipe
from pruning_core.runs.bench import Outcome, Question

Handle = Literal["drop", "time"]

HANDLES: Final[Mapping[str, str]] = {
    "drop": "Maximum accuracy drop",
    "time": "Time budget (measured)",
}
_CHOSEN: Final = "_handle"
_RUNNING: Final = "_search"
_ENDED: Final = "_search_ended"
_WISHES: Final = "_search_wishes"
PART: Final = "search"


@dataclass(frozen=True, slots=True)
class Ended:
    """How the last search ended.

    Attributes:
        fingerprint: Of the recipe the page showed then; for another one this is old news.
        found: Whether it led to a plan.
        sentence: What is known of it.
    """

    fingerprint: str
    found: bool
    sentence: str


def kinds(recipe: Recipe) -> list[str]:
    """Return the handles that can work for the recipe."""
    removes = any(
        cache.registry("granularities")[part.granularity].removes for part in recipe.parts.values()
    )
    return [*(["drop"] if measuring.has_data(recipe) else []), *(["time"] if removes else [])]


def chosen(recipe: Recipe) -> str:
    """Return the handle that is shown, or the kind of the target."""
    handle = st.session_state.get(_CHOSEN, "")
    if handle in kinds(recipe):
        return str(handle)
    target = recipe.target
    return target.found.handle if isinstance(target, Ratio) and target.found else target.kind


def choose(kind: str) -> bool:
    """Show the handle ``kind``; False when it is none and any other one is left."""
    st.session_state[_CHOSEN] = kind if kind in HANDLES else ""
    if kind in HANDLES:
        return True
    target = state.recipe().target
    if isinstance(target, Ratio) and target.found:
        state.set_recipe(state.recipe().replace(target=Ratio(value=target.value)))
    return False


def amount(handle: str) -> None:
    """Draw what is wanted, the button that searches, and what was found."""
    wishes = st.session_state.setdefault(
        _WISHES, {"drop": 1.0, "time": 1.0, "batch_size": measuring.BATCH_SIZES[0]}
    )
    if handle == "drop":
        _number(_limit_title(), "drop", wishes, step=0.5)
    else:
        _number("At most (milliseconds)", "time", wishes, step=0.1, known=_known_times())
        st.selectbox(
            "Samples at a time",
            measuring.BATCH_SIZES,
            width=140,
            **state.bound(
                "search_batch_size",
                wishes["batch_size"],
                lambda size: wishes.update(batch_size=size),
            ),
        )
    st.button(
        "Find the largest ratio" if handle == "drop" else "Find the smallest ratio",
        icon=":material/search:",
        key="search_start",
        disabled=is_running(),
        on_click=lambda: start(handle),
    )


@st.fragment(key=PART)
def news() -> None:
    """Draw how far a search is, or how the last one ended."""
    running = outcome()
    if running is not None:
        with st.container(horizontal=True, vertical_alignment="center"):
            st.progress(running.fraction, text=markdown(running.text or "starting to measure"))
            st.button("Cancel", icon=":material/stop:", key="search_cancel", on_click=cancel)
        return
    recipe = state.recipe()
    ended: Ended | None = st.session_state.get(_ENDED)
    current = ended if ended is not None and ended.fingerprint == recipe.fingerprint else None
    if current is not None and not current.found:
        st.warning(markdown(current.sentence))
    elif isinstance(recipe.target, Ratio) and recipe.target.found is not None:
        more = markdown(current.sentence) if current is not None else ""
        st.caption(f"{how_found(recipe.target)} {more}")
    elif chosen(recipe) == "drop":
        st.caption(
            "About 15 plans are measured, each with as many validation examples as the strip. "
            "What is found was measured within the drop; it is right after pruning, and "
            "fine-tuning may win some of it back."
        )
    elif chosen(recipe) == "time":
        st.caption(
            f"About 12 plans are pruned and timed beside the dense model, "
            f"{why.threads(measuring.threads())}; the one that is found is timed twice."
        )


def how_found(target: Ratio) -> str:
    """Say how a ratio was found."""
    found = target.found
    if found is None:
        return ""
    share = f"**{percent(target.value)}** of the units"
    if found.handle == "drop":
        unit = cache.metric(state.recipe()).loss_unit
        return (
            f"{share}: {found.measured:.1f} {unit} lost, measured on {found.n:,} validation "
            f"examples; at most {found.limit:g} were allowed."
        )
    word = "sample" if found.n == 1 else "samples"
    return (
        f"{share}: {milliseconds(found.measured)} for {found.n} {word}, measured on this machine; "
        f"at most {milliseconds(found.limit)} were allowed."
    )


def _limit_title() -> str:
    metric = cache.metric(state.recipe())
    unit = "percentage points" if metric.loss_unit == "points" else metric.loss_unit
    about = "" if metric.loss_unit == "points" else f" of {metric.name}"
    return f"Give up at most ({unit}{about})"


def start(handle: str) -> None:
    """Begin a search from the current recipe."""
    wishes = st.session_state[_WISHES]
    settings: dict[str, Any] = {"limit": float(wishes[handle])}
    if handle == "time":
        settings |= {"batch_size": wishes["batch_size"], "threads": measuring.threads()}
    kind: Handle = "time" if handle == "time" else "drop"
    question = Question(kind, _base(state.recipe()), settings=settings)
    if kind == "time":
        measuring.bench().forget(question)
    st.session_state[_RUNNING] = question
    st.session_state.pop(_ENDED, None)
    measuring.bench().ask(question)
    st.rerun()  # the strip asks for the news


def cancel() -> None:
    """Give the search up."""
    question = st.session_state.pop(_RUNNING, None)
    if question is not None:
        measuring.bench().cancel(question)
    st.rerun()  # the button that starts one is outside of this part


def is_running() -> bool:
    """Tell whether a search goes on, or has a result that :func:`settle` did not take over yet."""
    return _RUNNING in st.session_state


def outcome() -> Outcome | None:
    """Return how far the search is; None when none is going on."""
    question = st.session_state.get(_RUNNING)
    return None if question is None else measuring.bench().ask(question)


def settle() -> bool:
    """Take the result of a search over once it is there; False while there is none."""
    question: Question | None = st.session_state.get(_RUNNING)
    if question is None:
        return False
    found = measuring.bench().look(question)
    if found is not None and found.is_pending:
        return False
    del st.session_state[_RUNNING]
    if found is None or found.state == "cancelled":
        return True
    if found.state == "failed":
        _end(found=False, sentence=found.text)
    elif found.answer["found"] is None:
        _end(found=False, sentence=found.answer["sentence"])
    else:
        _take_over(question, found.answer)
    return True


def _take_over(question: Question, answer: Mapping[str, Any]) -> None:
    """Make the ratio that was found the global target, unless the plan is another one by now."""
    best = answer["found"]
    if _base(state.recipe()) != question.recipe:
        _end(
            found=False,
            sentence=f"The search found a ratio of {percent(best['ratio'])}, but the plan was "
            "changed meanwhile, so it was not taken over. Search again.",
        )
        return
    n = answer["n"] if question.kind == "drop" else question.settings["batch_size"]
    handle: Handle = "drop" if question.kind == "drop" else "time"
    target = Ratio(
        value=best["ratio"],
        found=Found(handle=handle, limit=question.settings["limit"], measured=best["value"], n=n),
    )
    state.set_recipe(edits.with_global(state.recipe(), target))
    _end(found=True, sentence=answer["sentence"])


def _end(*, found: bool, sentence: str) -> None:
    st.session_state[_ENDED] = Ended(state.recipe().fingerprint, found, sentence)


def _base(recipe: Recipe) -> Recipe:
    """Return what a search starts from: the target is what it looks for."""
    return edits.with_global(recipe, Ratio(value=0.0))


def _known_times() -> str:
    """Say how long the dense model takes, where that was measured beside the current plan."""
    timing = measuring.latency(state.recipe())
    if timing is None or timing.state != "done":
        return "Press Measure in the strip to see how long the dense model takes."
    times = [
        f"{milliseconds(one['dense']['median_ms'])} for {one['batch_size']}"
        for one in timing.answer["comparisons"]
    ]
    return f"The dense model takes {' and '.join(times)}, measured on this machine."


def _number(label: str, key: str, wishes: dict[str, Any], *, step: float, known: str = "") -> None:
    st.number_input(
        label,
        min_value=0.0,
        max_value=100_000.0,
        step=step,
        format="%.3g",
        width=250,
        value=None,
        help=known or None,
        **state.bound(f"search_{key}", wishes[key], lambda value: wishes.update({key: value})),
    )
