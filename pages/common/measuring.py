"""What is measured beside the pages: the questions about the current plan, and their answers.

Nothing here waits: a question goes to a process of its own and its answer is looked up later.
"""

import secrets
from collections.abc import Mapping
from typing import Any, Final

import streamlit as st

from pages.common import cache, state
from pages.common.format import markdown
from pruning_core.planning.recipe import Recipe
from pruning_core.runs.bench import Bench, Outcome, Question
from pruning_core.runs.process import default_threads

BATCH_SIZES: Final = (1, 32)
BY_REQUEST_EXAMPLES: Final = 1000
_SECONDS: Final = 3.0
_VISITOR: Final = "_visitor"
_AWAITED: Final = "_awaited_shares"
_REQUESTED: Final = "_requested_accuracy"


@st.cache_resource(show_spinner=False)
def bench() -> Bench:
    """Return the one bench of this server."""
    return Bench()


@st.fragment(run_every=1.0)
def wait(question: Question, doing: str) -> None:
    """Draw how far an answer is, with a way to give it up; the page is drawn anew at the end."""
    known = bench().look(question)
    if known is None or not known.is_pending:
        st.rerun()
    else:
        st.progress(known.fraction, text=f"{doing}: {markdown(known.text or 'waits for its turn')}")
        st.button(
            "Cancel measuring",
            icon=":material/stop:",
            key=f"cancel_{question.kind}",
            on_click=lambda: state.attempt(lambda: bench().cancel(question)),
        )


def again(question: Question) -> None:
    """Ask anew, whatever came of the question before."""
    bench().forget(question)
    bench().ask(question)


def has_data(recipe: Recipe) -> bool:
    """Tell whether there are examples to measure the accuracy of the model on."""
    return (recipe.data or cache.model(recipe.model).data) is not None


def explain_lack_of_data(what: str) -> None:
    """Say that ``what`` needs data, and where they come from."""
    st.info(
        f"{what} measures accuracies, and no data set is known for this model. Start the server "
        "with --data, or choose a model with data."
    )


def accuracy(recipe: Recipe) -> Outcome | None:
    """Ask for the what-if accuracy of ``recipe`` and return how far it is; None without data.

    A model that takes long is measured once :func:`measure_accuracy` was called for this plan;
    until then the answer says only how long it would take.
    """
    if not has_data(recipe):
        return None
    requested = _accuracy(recipe, {"n": BY_REQUEST_EXAMPLES})
    if st.session_state.get(_REQUESTED) == requested.key:
        return bench().ask(requested, _visitor())
    known = bench().look(requested)
    if known is not None and known.state == "done":
        return known
    return bench().ask(_accuracy(recipe, {}), _visitor())


def measure_accuracy(recipe: Recipe) -> None:
    """Measure the accuracy of ``recipe`` however long that takes."""
    question = _accuracy(recipe, {"n": BY_REQUEST_EXAMPLES})
    bench().forget(question)
    st.session_state[_REQUESTED] = question.key


def latency(recipe: Recipe) -> Outcome | None:
    """Return how far the timing of ``recipe`` is; None when nobody asked for it."""
    return bench().look(_latency(recipe))


def measure_latency(recipe: Recipe) -> None:
    """Measure dense and pruned in turns."""
    bench().forget(_latency(recipe))
    bench().ask(_latency(recipe))


def cancel_latency(recipe: Recipe) -> None:
    """Give the timing up."""
    bench().cancel(_latency(recipe))


def files(recipe: Recipe) -> Outcome:
    """Ask how large the plan is on disk in every encoding, and return how far that is."""
    return bench().ask(Question("files", recipe, cache.plan_fingerprint(recipe)))


def shares(recipe: Recipe) -> Outcome | None:
    """Return how far the measuring of each layer's time is; None when nobody asked for it."""
    return bench().look(_shares(recipe))


def measure_shares(recipe: Recipe) -> None:
    """Measure how the time of the dense model is spread over its layers."""
    bench().forget(_shares(recipe))
    bench().ask(_shares(recipe))
    st.session_state[_AWAITED] = recipe


def awaits_shares() -> bool:
    """Tell whether this visitor asked for time shares that no page has shown yet."""
    return _AWAITED in st.session_state


def shares_arrived() -> bool:
    """Tell once that the time shares this visitor asked for are there, so that a table shows them.

    A measurement that failed counts as well.
    """
    recipe = st.session_state.get(_AWAITED)
    found = None if recipe is None else shares(recipe)
    if recipe is None or (found is not None and found.is_pending):
        return False
    del st.session_state[_AWAITED]
    return True


def threads() -> int:
    """Return the threads that are measured with."""
    return default_threads()


def _accuracy(recipe: Recipe, settings: Mapping[str, Any]) -> Question:
    return Question("accuracy", recipe, cache.plan_fingerprint(recipe), settings)


def _latency(recipe: Recipe) -> Question:
    settings = {"batch_sizes": list(BATCH_SIZES), "threads": threads(), "seconds": _SECONDS}
    return Question("latency", recipe, cache.plan_fingerprint(recipe), settings)


def _shares(recipe: Recipe) -> Question:
    dense = Recipe(model=recipe.model, input_shape=recipe.input_shape)
    settings = {"batch_size": 1, "threads": threads(), "seconds": _SECONDS}
    return Question("shares", dense, settings=settings)


def _visitor() -> str:
    """Return a name for the session, so that a newer plan replaces an older one of the same."""
    name = st.session_state.setdefault(_VISITOR, secrets.token_hex(8))
    return str(name)
