"""Who may use the server: this machine; others with the token of ``--allow-remote``."""

import hmac
import os
import threading
import time
from typing import Any, Final

import streamlit as st
from streamlit.runtime.runtime import Runtime
from streamlit.runtime.scriptrunner import get_script_run_ctx

from pruning_core.helpers import TOKEN_VARIABLE

MOST_SESSIONS: Final = 50
MOST_HELD: Final = 2**30
"""Bytes of files of one visitor in memory; they are let go as soon as they were read."""
_ALLOWED: Final = "_is_allowed"
_KNOWS: Final = "_knows_token"
_LOCAL: Final = ("127.0.0.1", "localhost", "::1")
_WAIT: Final = 1.0
_admitted: Final[set[str]] = set()
_lock: Final = threading.Lock()


def check() -> None:
    """Stop the page here unless this visitor may use it."""
    guard_uploads()
    if st.session_state.get(_ALLOWED):
        _remember()
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


def is_shared() -> bool:
    """Tell whether others than whoever started the server may be visitors."""
    token = os.environ.get(TOKEN_VARIABLE, "").strip()
    return bool(token) or st.get_option("server.address") not in _LOCAL


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


def _remember() -> None:
    """Keep the place of a visitor whose connection was away for a moment."""
    context = get_script_run_ctx()
    if context is not None:
        with _lock:
            _admitted.add(context.session_id)


def guard_uploads() -> None:
    """Let the server refuse files of whoever may not use it, before their bytes are read.

    Streamlit asks only whether a session is active, which it is before the token was given.
    """
    is_active = Runtime.is_active_session
    if getattr(is_active, "is_guard", False):
        return

    def may_upload(runtime: Runtime, session_id: str) -> bool:
        with _lock:
            is_admitted = session_id in _admitted
        return (
            is_admitted
            and is_active(runtime, session_id)
            and _held(runtime, session_id) < MOST_HELD
        )

    may_upload.is_guard = True  # type: ignore[attr-defined]
    Runtime.is_active_session = may_upload  # type: ignore[method-assign, assignment]


def _held(runtime: Runtime, session_id: str) -> int:
    """Return the bytes of a visitor's files that the server holds in memory."""
    storage: Any = getattr(runtime.uploaded_file_mgr, "file_storage", {})
    return sum(len(file.data) for file in dict(storage.get(session_id, {})).values())


def _connected() -> set[str]:
    """Return who has a page open."""
    if not st.runtime.exists():
        return set()
    manager = getattr(st.runtime.get_instance(), "_session_mgr", None)
    listed = getattr(manager, "list_active_sessions", None)
    return {entry.session.id for entry in listed()} if callable(listed) else set()
