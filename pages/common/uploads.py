"""The field that takes files from the browser: screened, read beside the page, found or refused."""

import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar

import streamlit as st

from pages.common import problems
from pages.common.format import markdown

Found = TypeVar("Found")
MEGABYTES: Final = 500


def field(
    name: str,
    label: str,
    read: Callable[[Mapping[str, Path]], Found],
    *,
    help_text: str | None = None,
) -> Found | None:
    """Draw the field; return what ``read`` made of the files that were given last.

    Files of any ending are taken: Streamlit would say only "files are not allowed" of the others,
    ``read`` says why.

    Args:
        name: Names the field; unique on the page.
        label: What is taken.
        read: File names as the browser says them -> where they are, until it returns.
        help_text: Beside the label.
    """
    turn = st.session_state.get(f"_{name}_turn", 0)
    files = st.file_uploader(
        label,
        accept_multiple_files=True,
        max_upload_size=MEGABYTES,
        key=f"{name}_file.{turn}",
        help=help_text,
    )
    if files:
        with st.spinner("Reading the file…"):
            found, problem = None, ""
            try:
                found = _read(files, read)
            except Exception as error:  # the field shows it
                problem = problems.sentence(error)
        st.session_state[f"_{name}_found"], st.session_state[f"_{name}_problem"] = found, problem
        st.session_state[f"_{name}_turn"] = turn + 1  # a new field lets go of the browser's file
        st.rerun()
    problem = st.session_state.get(f"_{name}_problem", "")
    if problem:
        st.error(markdown(problem))
    last: Found | None = st.session_state.get(f"_{name}_found")
    return last


def forget(name: str) -> None:
    """Forget what was found last."""
    st.session_state[f"_{name}_found"] = None


def _read(files: Sequence[Any], read: Callable[[Mapping[str, Path]], Found]) -> Found:
    """Write what the browser sent to files of our own names, and have them read."""
    from pruning_core.loading.intake.contents import RefusedFileError
    from pruning_core.loading.intake.store import folder
    from pruning_core.runs import store as _  # noqa: F401 - it tells which uploads runs need

    names = [file.name for file in files]
    for name in names:
        if names.count(name) > 1:
            raise RefusedFileError(f"Two files are called '{name[:60]}'. Rename one of them.")
    _sandbox()
    with tempfile.TemporaryDirectory(dir=folder(), prefix=".new-") as room:
        paths = {name: Path(room) / str(number) for number, name in enumerate(names)}
        for file in files:
            paths[file.name].write_bytes(file.getbuffer())
        return read(paths)


@st.cache_resource(show_spinner=False)
def _sandbox() -> bool:
    """Start the helper process that reads files."""
    from pruning_core.loading.intake.sandbox import SANDBOX

    SANDBOX.start()
    return True
