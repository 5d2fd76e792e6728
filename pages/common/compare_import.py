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
    form.file_uploader(
        "Zip file of a run",
        type=["zip"],
        key=f"{_KEY}_{number}",
        max_upload_size=_MOST_MB,
        on_change=lambda: state.attempt(lambda: _take(number)),
    )


def _take(number: int) -> None:
    """List the uploaded run and make it the second of the two side by side.

    A browser that has not drawn the new field yet sends the value of the old one again.
    """
    from pages.common.comparing import key_of, listed
    from pruning_core.comparing.variant import final
    from pruning_core.loading.permitted import is_permitted
    from pruning_core.runs.importing import import_run

    upload = st.session_state.get(f"{_KEY}_{number}")
    if upload is None or number != st.session_state[_ROUND]:
        return
    st.session_state[_ROUND] += 1  # a new field, so that the same file can be tried again
    record = import_run(upload, upload.name, check=state.openable, allow_python=is_permitted)
    runs = listed()
    own = next(run for run in runs if run.record.id == record.id)
    ticked = state.compared("runs")
    if ticked:
        state.set_compared("runs", [*ticked, record.id])
    state.set_compared("pair", (key_of(own.variants[0]), key_of(final(own.variants))))
