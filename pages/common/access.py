"""Who may use the server: this machine; others with the token of ``--allow-remote``."""

import hmac
import os
import threading
import time
from typing import Final

import streamlit as st
from streamlit.runtime.scriptrunner import get_script_run_ctx

from pruning_core.helpers import TOKEN_VARIABLE

MOST_SESSIONS: Final = 50
_ALLOWED: Final = "_is_allowed"
_KNOWS: Final = "_knows_token"
_LOCAL: Final = ("127.0.0.1", "localhost", "::1")
_WAIT: Final = 1.0
_admitted: Final[set[str]] = set()
_lock: Final = threading.Lock()


def check() -> None:
    """Stop the page here unless this visitor may use it."""
    if st.session_state.get(_ALLOWED):
        return
    token = os.environ.get(TOKEN_VARIABLE, "").strip()
    if st.get_option("server.address") not in _LOCAL and not token:  # empty: all addresses
        st.error(
            "This server can be reached from other machines and has no token. Start it with "
            "`python app.py --allow-remote --host ADDRESS`."
        )
        st.stop()
    if token and not st.session_state.get(_KNOWS) and not _knows(token):
        st.stop()
    if not _admit():
        st.error(f"This server has {MOST_SESSIONS} visitors already. Try again later.")
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
        st.session_state[_KNOWS] = True
        st.rerun()
    st.error("This is not the token.")
    return False


def _admit() -> bool:
    """Take one of the places; whoever did not give the token yet has none."""
    context = get_script_run_ctx()
    with _lock:
        _admitted.intersection_update(_connected())
        if len(_admitted) >= MOST_SESSIONS:
            return False
        if context is not None:
            _admitted.add(context.session_id)
    return True


def _connected() -> set[str]:
    """Return who has a page open."""
    if not st.runtime.exists():
        return set()
    manager = getattr(st.runtime.get_instance(), "_session_mgr", None)
    listed = getattr(manager, "list_active_sessions", None)
    return {entry.session.id for entry in listed()} if callable(listed) else set()
