"""What a person asks of the server through a component: each wish once, in order, and none lost.

Streamlit keeps only the last message of a component that the server has not read yet. So a message
carries every wish that was not answered (``Outbox`` in ``components/shared.js``), and the data of
the component says how far the server came (:func:`done`).
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

import streamlit as st

NOTHING_DONE: Final[Mapping[str, Any]] = {"client": "", "n": 0}
_DONE: Final = "_answered_wishes"


def done(key: str) -> Mapping[str, Any]:
    """Return how far the wishes of the component ``key`` were carried out, for its data."""
    found: Mapping[str, Any] = st.session_state.get(_DONE, {}).get(key, NOTHING_DONE)
    return found


def carry_out(key: str, act: Callable[[Mapping[str, Any]], None]) -> None:
    """Do ``act`` with every wish of the component ``key`` that was not carried out before.

    Streamlit may end a run at any use of its state, when another wish of the person came meanwhile.
    So a wish counts as answered only after ``act``; it is sent again otherwise, and doing it twice
    must be the same as doing it once.

    Raises:
        Exception: The first one that ``act`` raised; the other wishes are carried out.
    """
    sent = st.session_state[key]["wishes"]
    problem: Exception | None = None
    for wish in unanswered(sent, done(key)):
        try:
            act(wish)
        except Exception as error:  # the end of a run is none
            problem = problem or error
        place = {"client": sent["client"], "n": wish["n"]}
        st.session_state[_DONE] = {**st.session_state.get(_DONE, {}), key: place}
    if problem is not None:
        raise problem


def unanswered(sent: Mapping[str, Any], answered: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the wishes that come after what is ``answered``; each browser has its own count."""
    last = answered["n"] if answered["client"] == sent["client"] else 0
    return [wish for wish in sent["wishes"] if wish["n"] > last]
