"""Open a file of weights: upload, what was found in it, the architecture it goes into."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import streamlit as st

from pages.common import cache, large_files, problems, state, uploads
from pages.common.format import count, markdown, size
from pruning_core.errors import PruningError
from pruning_core.loading.names import MOST_VALUES, split_name

if TYPE_CHECKING:
    from pruning_core.loading.fitting import Fit
    from pruning_core.loading.intake.store import Group, Upload

_ALONE: Final = ""
_NAMED: Final = "?"
_MOST_ROWS: Final = 2_000


def title(identity: str) -> str:
    """Return the name of a model on the screen: its title, or the file it was uploaded as."""
    prefix, _, name = identity.partition(":")
    if prefix == "program" or (prefix == "transformers" and "/" in name):
        return Path(name).name
    if prefix != "weights":
        card = cache.card(identity)
        return card.title if card else identity
    reference, architecture = split_name(name)
    try:
        _, upload = _find(reference)
    except PruningError:  # a file of whoever started the server
        return Path(reference).name + (f" in {architecture}" if architecture else "")
    group = next(group for group in upload.groups if group.reference == reference)
    entry = f" ({group.name})" if group.name else ""
    return f"{upload.title}{entry}" + (f" in {architecture}" if architecture else "")


def caption(identity: str) -> str:
    """Return the line below a model that was opened in this session."""
    _, architecture = split_name(identity.partition(":")[2])
    return "Your file, weights and architecture" if architecture else "Your file, weights alone"


def panel() -> None:
    """Draw the field that takes a file, and what was found in it."""
    with st.expander("Open your own model", icon=":material/upload_file:", key="own_model"):
        left, right = st.columns([2, 3], gap="medium")
        with left:
            found = uploads.field(
                "weights",
                f"Weights: .safetensors (all shards at once), .pt, .pth, .onnx; up to "
                f"{uploads.MEGABYTES} MB",
                _read,
            )
        if found is not None:
            with left:
                group = _found(found)
            with right:
                if group.n_values > MOST_VALUES:
                    large_files.show(_find(group.reference)[0], found.title)
                else:
                    _opening(group.reference)
        else:
            right.caption(
                "Nothing in a file is run: it is screened, and read by a process with little "
                "memory and time. Larger files, your own code or a folder of transformers: start "
                "the server with `python app.py --model package.module:factory`, "
                "`--model weights:FILE` or `--model transformers:./folder`."
            )


def _read(paths: Mapping[str, Path]) -> "Upload":
    from pruning_core.loading.intake.store import MOST_BYTES, take_in

    return take_in(paths, most_bytes=MOST_BYTES)


def _find(reference: str) -> "tuple[Path, Upload]":
    from pruning_core.loading.intake.store import find

    return find(reference)


def _found(upload: "Upload") -> "Group":
    """Draw what is in the file and return the state dict to open."""
    st.markdown(f"**{markdown(upload.title)}**")
    group = _group(upload.groups)
    st.caption(
        f"{upload.kind} · {group.n_tensors:,} tensors · {count(group.n_values)} values · "
        f"{size(group.n_bytes)}"
    )
    for sentence in group.warnings:
        st.warning(markdown(sentence))
    for sentence in upload.notes:
        st.caption(markdown(sentence))
    _graph(upload)
    return group


def _opening(reference: str) -> None:
    """Draw the choice of an architecture, how it fits, and the button that opens both."""
    architecture = _architecture(reference)
    if architecture is None:
        return
    identity = f"weights:{reference}" + (f"@{architecture}" if architecture else "")
    can_open = not architecture or _fit(reference, architecture)
    label = "Open with these names" if architecture else "Open the weights alone"
    st.button(
        label,
        type="primary",
        disabled=not can_open,
        on_click=lambda: state.attempt(lambda: _open(identity)),
        width="stretch",
    )


def _open(identity: str) -> None:
    state.openable(state.fresh(identity))
    cache.network(identity)
    state.choose_model(identity)


def _group(groups: "Sequence[Group]") -> "Group":
    """Return the state dict of the file to open; there may be one with averaged weights."""
    if len(groups) == 1:
        return groups[0]
    return st.selectbox(
        "The file holds several sets of weights",
        groups,
        format_func=lambda group: f"{group.name or '(file)'}, {group.n_tensors:,} tensors",
        key="weights_group",
    )


def _graph(upload: "Upload") -> None:
    """Draw what the graph of an ONNX file consists of."""
    operators = upload.details.get("operators")
    if not operators:
        return
    inputs, outputs = (
        ", ".join(f"{value['name']} {value['shape']}" for value in upload.details[key])
        for key in ("inputs", "outputs")
    )
    st.caption(
        f"ONNX is opened read-only. Inputs: {markdown(inputs)}. Outputs: {markdown(outputs)}. Its "
        "weights can be opened alone, or put into the architecture they came from."
    )
    st.dataframe(
        {"Operator": list(operators), "Times": list(operators.values())},
        hide_index=True,
        height=180,
        alt=f"{len(operators)} kinds of operators of the ONNX graph",
    )


def _architecture(reference: str) -> str | None:
    """Draw the choice of an architecture; None while its name is still missing."""
    fitting = _fitting(reference)
    offered = [card.identity for card in cache.cards()]
    offered = [*dict.fromkeys([*_own_architectures(), *offered])]
    titles = {card.identity: card.title for card in cache.cards()}
    choices = [*fitting, _ALONE, *(name for name in offered if name not in fitting), _NAMED]
    chosen = st.selectbox(
        "Architecture",
        choices,
        format_func=lambda key: {
            _ALONE: "None: the weights alone",
            _NAMED: "Another: torchvision, timm, transformers …",
        }.get(key, str(titles.get(key, key)) + (" (fits)" if key in fitting else "")),
        key=f"architecture_of.{reference}",
    )
    if chosen != _NAMED:
        return str(chosen)
    name = st.text_input(
        "Name of the architecture",
        placeholder="torchvision:resnet18",
        key="architecture_name",
        max_chars=200,
        help="torchvision:NAME, timm:NAME or transformers:NAME, where the package is installed",
    )
    return name.strip() or None


def _own_architectures() -> list[str]:
    """Return the models of whoever started the server that weights can be put into."""
    return [name for name in state.models() if not name.startswith(("bundled:", "weights:"))]


@st.cache_resource(show_spinner="Comparing with the bundled architectures…", max_entries=32)
def _fitting(reference: str) -> list[str]:
    """Return the offered architectures that the weights fit, with the names they have there."""
    found = []
    for name in [*_own_architectures(), *(card.identity for card in cache.cards())]:
        try:
            if _compared(reference, name).is_whole:
                found.append(name)
        except PruningError:
            continue
    return found


@st.cache_resource(show_spinner="Comparing names and shapes…", max_entries=64)
def _compared(reference: str, architecture: str) -> "Fit":
    from pruning_core.loading.fitting import fit
    from pruning_core.loading.providers.weights import read_tensors

    tensors, _ = read_tensors(reference)
    return fit(cache.model(architecture).module, tensors)


def _fit(reference: str, architecture: str) -> bool:
    """Draw how the names of file and architecture go together; True when they do."""
    try:
        state.check_offered(architecture)
        found = _compared(reference, architecture)
    except PruningError as error:
        st.error(markdown(problems.sentence(error)))
        return False
    if found.problem:
        st.error(markdown(f"The weights do not fit: {found.problem}"))
    elif found.rules:
        st.success(markdown("Suggested: " + "; ".join(found.rules) + ". Then every tensor fits."))
    else:
        st.success("Every name and shape agrees.")
    order = ("shape differs", "missing in the file", "not used", "renamed", "same name")
    rows = sorted(found.rows, key=lambda row: order.index(row.verdict))[:_MOST_ROWS]
    st.dataframe(
        {
            "Verdict": [row.verdict for row in rows],
            "In the architecture": [row.name for row in rows],
            "Shape": [_shape(row.shape) for row in rows],
            "In the file": [row.file_name for row in rows],
            "Shape in the file": [_shape(row.file_shape) for row in rows],
        },
        hide_index=True,
        height=240,
        alt=f"{len(found.rows)} tensors of the architecture and the file side by side",
    )
    return found.is_whole


def _shape(shape: tuple[int, ...] | None) -> str:
    return "" if shape is None else " × ".join(map(str, shape)) or "one number"
