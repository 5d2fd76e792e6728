"""The button that lists a run from another machine."""

from typing import Final

import streamlit as st

from pages.common import state

_KEY: Final = "import_run"
_ROUND: Final = "_import_round"
_MOST_MB: Final = 200


def show() -> None:
    """Draw the button, and the form behind it."""
    form = st.popover("Import a run", icon=":material/upload:", key="import", on_change="rerun")
    if not form.open:
        return
    form.markdown(
        "A zip file of the folder that a run wrote, here or on another machine. Read are "
        "`recipe.json`, `report.json` and `model.safetensors`; nothing in it is run. Its model "
        "must be one that is offered here."
    )
    number = st.session_state.setdefault(_ROUND, 0)
    key = f"{_KEY}_{number}"
    form.file_uploader(
        "Zip file of a run",
        type=["zip"],
        key=key,
        max_upload_size=_MOST_MB,
        on_change=lambda: state.attempt(lambda: _take(key)),
    )


def _take(key: str) -> None:
    """List the uploaded run and make it the second of the two side by side."""
    from pages.common.comparing import key_of, listed
    from pruning_core.comparing.variant import final
    from pruning_core.loading.permitted import is_permitted
    from pruning_core.runs.importing import import_run

    upload = st.session_state.get(key)
    if upload is None:
        return
    st.session_state[_ROUND] += 1  # a new field, so that the same file can be tried again
    record = import_run(upload, upload.name, check=state.openable, allow_python=is_permitted)
    runs = listed()
    own = next(run for run in runs if run.record.id == record.id)
    ticked = state.compared("runs")
    if ticked:
        state.set_compared("runs", [*ticked, record.id])
    state.set_compared("pair", (key_of(own.variants[0]), key_of(final(own.variants))))
