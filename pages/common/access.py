"""Who may use the server: this machine; others with the token of ``--allow-remote``."""

import hmac
import os
import time
from typing import Final

import streamlit as st

from pruning_core.helpers import TOKEN_VARIABLE

MOST_SESSIONS: Final = 50
_ALLOWED: Final = "_is_allowed"
_LOCAL: Final = ("127.0.0.1", "localhost", "::1")
_WAIT: Final = 1.0


def check() -> None:
    """Stop the page here unless this visitor may use it."""
    if st.session_state.get(_ALLOWED):
        return
    token = os.environ.get(TOKEN_VARIABLE, "")
    address = st.get_option("server.address")
    if address and address not in _LOCAL and not token:
        st.error(
            "This server can be reached from other machines and has no token. Start it with "
            "`python app.py --allow-remote --host ADDRESS`."
        )
        st.stop()
    if _n_sessions() > MOST_SESSIONS:
        st.error(f"This server has {MOST_SESSIONS} visitors already. Try again later.")
        st.stop()
    if token and not _knows(token):
        st.stop()
    st.session_state[_ALLOWED] = True


def _knows(token: str) -> bool:
    """Ask for the token; True when it was given."""
    with st.form("token"):
        st.markdown("**Pruning Studio**: whoever started this server has a token for you.")
        given = st.text_input("Token", type="password", max_chars=200)
        sent = st.form_submit_button("Enter", type="primary")
    if not sent:
        return False
    time.sleep(_WAIT)  # so that nobody tries many
    if hmac.compare_digest(given.strip().encode(), token.encode()):
        st.session_state[_ALLOWED] = True
        st.rerun()
    st.error("This is not the token.")
    return False


def _n_sessions() -> int:
    """Return how many visitors are connected."""
    if not st.runtime.exists():
        return 0
    manager = getattr(st.runtime.get_instance(), "_session_mgr", None)
    count = getattr(manager, "num_active_sessions", None)
    return int(count()) if callable(count) else 0
