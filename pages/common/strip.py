"""The savings strip: what the plan does to the whole model, on every page."""

from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, Final

import streamlit as st

from pages.common import cache, measured, state
from pages.common.components import mount_strip
from pages.common.format import percent
from pruning_core.errors import PruningError

if TYPE_CHECKING:
    from streamlit.delta_generator import DeltaGenerator

    from pruning_core.preview import Preview

    Place = tuple[DeltaGenerator, DeltaGenerator]

_EXACT: Final = "Counted from the shapes and masks of this plan"
_QUANTITIES: Final = (
    ("params", "Parameters", "count"),
    ("nonzero", "Non-zeros", "count"),
    ("macs", "MACs per sample", "count"),
    ("n_bytes", "Weights file", "bytes"),
)


def reserve() -> "Place":
    """Return the place of the strip; until :func:`show` fills it, it keeps its height.

    The numbers of the run before stay in sight meanwhile, so that nothing flickers.
    """
    with st.container(key="strip", gap=None):
        status, numbers = st.empty(), st.container()
    if not cache.is_ready():
        status.caption(":material/hourglass_top: Starting PyTorch; the exact numbers follow.")
    return status, numbers


def show(place: "Place | None" = None) -> None:
    """Draw the strip for the current recipe.

    Args:
        place: From :func:`reserve`, for pages that draw something before; None draws it here.
    """
    status, numbers = place or reserve()
    counted = _counted(status)
    status.empty()
    if state.shown_run_differs():
        status.caption("Current plan; the run below had another recipe.")
    with numbers:
        mount_strip(
            key="strip_numbers",
            data={"items": items(counted), "address": state.address(), "page": state.page()},
        )


def _counted(status: "DeltaGenerator") -> "Preview":
    """Count the current recipe; one that cannot be carried out is taken back."""
    recipe = state.recipe()
    try:
        cache.engine(recipe.model)
        with status, st.spinner("Rating on data…") if cache.reads_data(recipe) else nullcontext():
            counted = cache.preview(recipe)
    except PruningError as error:
        if state.go_back(str(error)):
            st.rerun()
        raise
    state.keep_recipe()
    return counted


def items(counted: "Preview") -> list[dict[str, Any]]:
    """Return what the strip shows, as plain data."""
    quantities: list[dict[str, Any]] = [
        {
            "key": key,
            "label": label,
            "unit": unit,
            "before": int(getattr(counted.before, key)),
            "after": int(getattr(counted.after, key)),
            "badge": "EXACT",
            "badge_help": _EXACT,
        }
        for key, label, unit in _QUANTITIES
    ]
    accuracy = _accuracy()
    return [*quantities, accuracy] if accuracy else quantities


def _accuracy() -> dict[str, Any] | None:
    """Return the item for the accuracy: of a run of this recipe, else of the dense model."""
    recipe = state.recipe()
    found = measured.of_recipe(recipe)
    item: dict[str, Any] = {"key": "", "label": "Test accuracy", "badge": "MEASURED"}
    if found is not None:
        help_text = f"Measured by run {found.run} on {found.n:,} test examples"
        text = {
            "before": percent(found.dense),
            "after": percent(found.after),
            "note": f"{found.moment}, n = {found.n:,}",
        }
        return item | {"badge_help": help_text, "text": text}
    card = cache.model(recipe.model).card
    if card is None:
        return None
    help_text = f"Measured when the model was trained, on {card.n_test:,} test examples"
    text = {"before": "", "after": percent(card.accuracy), "note": f"dense, n = {card.n_test:,}"}
    return item | {"badge_help": help_text, "text": text}
