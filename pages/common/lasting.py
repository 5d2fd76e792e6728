"""Long measurements beside the pages whose results are kept on disk as they come."""

from collections.abc import Callable
from dataclasses import dataclass

import streamlit as st

from pages.common import measuring, state
from pages.common.format import markdown
from pruning_core.runs.bench import Outcome, Question


@dataclass(frozen=True, slots=True)
class Lasting:
    """One kind of long measurement, of which a visitor has one at a time.

    Attributes:
        key: Where the session keeps what is going on.
        size: Question -> how much is known on disk, so that pages notice when it grows.
    """

    key: str
    size: Callable[[Question], int]

    def start(self, question: Question) -> None:
        """Begin to measure what is missing, or go on."""
        measuring.again(question)
        st.session_state[self.key] = question

    def cancel(self) -> None:
        """Stop; what was measured is kept."""
        question = st.session_state.pop(self.key, None)
        if question is not None:
            measuring.bench().cancel(question)

    def is_running(self) -> bool:
        """Tell whether one goes on, or has news that :meth:`news` did not tell yet."""
        return self.key in st.session_state

    def news(self) -> bool:
        """Tell whether there is more to show than when asked last; once after the end, too."""
        question: Question | None = st.session_state.get(self.key)
        if question is None:
            return False
        outcome = measuring.bench().look(question)
        shown = (self.size(question), outcome)
        if outcome is None or not outcome.is_pending:
            del st.session_state[self.key]
        changed = bool(shown != st.session_state.get(f"{self.key}_shown"))
        st.session_state[f"{self.key}_shown"] = shown
        return changed

    def progress(self, outcome: Outcome | None) -> bool:
        """Draw how far it is, with a button that stops it; True while it goes on."""
        if outcome is not None and outcome.is_pending:
            with st.container(horizontal=True, vertical_alignment="center"):
                st.progress(
                    outcome.fraction, text=markdown(outcome.text or "waiting for other work")
                )
                st.button(
                    "Stop",
                    icon=":material/stop:",
                    key=f"{self.key}_stop",
                    help="What was measured is kept.",
                    on_click=lambda: state.attempt(self.cancel),
                )
            return True
        if outcome is not None and outcome.state == "failed":
            st.warning(markdown(outcome.text))
        return False
