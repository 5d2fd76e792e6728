"""The settings of fine-tuning, and the button that starts a run."""

from typing import Any, Final

import streamlit as st

from pages.common import cache, edits, quantising, schedule, state
from pages.common.format import count, percent, plural
from pruning_core.planning.recipe import Recipe
from pruning_core.runs.dispatcher import submit

_OPTIMISERS: Final = {"adam": "Adam", "adamw": "AdamW", "sgd": "SGD with momentum"}
_SCHEDULES: Final = {"cosine": "Cosine", "constant": "Constant"}
_LAYERS: Final = {"all": "All layers", "pruned": "Layers that lost something"}


def show() -> None:
    """Draw the settings and the button."""
    recipe = state.recipe()
    plan = cache.plan(recipe)
    keep = plan.part(recipe.granularity).values()
    total = sum(mask.size for mask in keep)
    removed = total - sum(int(mask.sum()) for mask in keep)
    kinds = {site.kind for site in cache.sites(recipe).values()}
    word = plural(kinds.pop() if len(kinds) == 1 else "unit")
    st.subheader("Prune and fine-tune", anchor=False)
    if removed:
        st.markdown(
            f"**{count(removed)}** of {count(total)} {word} leave ({percent(removed / total)})."
        )
    else:
        st.markdown(
            "The plan takes nothing away yet: decide what leaves on the Plan page. A run without "
            "pruning is still useful as a control: the dense model with the same extra epochs."
        )
    schedule.show(recipe)
    _settings(recipe)
    with st.expander("More settings"):
        _more(recipe)
    quantising.settings()
    st.button(
        "Prune",
        type="primary",
        icon=":material/play_arrow:",
        width="stretch",
        on_click=lambda: state.attempt(_submit),
    )


def _settings(recipe: Recipe) -> None:
    """Draw the settings of fine-tuning."""
    tuning = recipe.tuning
    left, right = st.columns(2)
    _number(left, "Epochs", "epochs", tuning.epochs, low=0, high=1000)
    _number(right, "Batch size", "batch_size", tuning.batch_size, low=2, high=8192)
    left.selectbox(
        "Optimiser",
        list(_OPTIMISERS),
        format_func=_OPTIMISERS.__getitem__,
        **_tuning("optimiser", tuning.optimiser),
    )
    right.number_input(
        "Learning rate",
        min_value=0.0,
        max_value=10.0,
        format="%.2g",
        step=tuning.learning_rate / 2,
        value=None,
        **_tuning("learning_rate", tuning.learning_rate),
    )
    left.selectbox(
        "Rate over time",
        list(_SCHEDULES),
        format_func=_SCHEDULES.__getitem__,
        **_tuning("learning_rate_schedule", tuning.learning_rate_schedule),
    )
    right.selectbox(
        "Trained layers",
        list(_LAYERS),
        format_func=_LAYERS.__getitem__,
        **_tuning("layers", tuning.layers),
    )
    left.number_input(
        "Training examples",
        min_value=2,
        placeholder="all",
        help="The first ones of the training split; empty means all.",
        value=None,
        **_tuning("train_samples", tuning.train_samples, may_be_empty=True),
    )


def _more(recipe: Recipe) -> None:
    """Draw the settings that are rarely touched."""
    tuning = recipe.tuning
    left, right = st.columns(2)
    left.number_input(
        "Weight decay",
        min_value=0.0,
        max_value=1.0,
        format="%.2g",
        step=1e-4,
        value=None,
        **_tuning("weight_decay", tuning.weight_decay),
    )
    right.number_input(
        "Momentum",
        min_value=0.0,
        max_value=1.0,
        step=0.05,
        disabled=tuning.optimiser != "sgd",
        value=None,
        **_tuning("momentum", tuning.momentum),
    )
    _number(left, "Warm-up steps", "warmup_steps", tuning.warmup_steps, low=0, high=10**6)
    left.checkbox("Mirror images at random", **_tuning("horizontal_flip", tuning.horizontal_flip))


def _number(place: Any, label: str, field: str, value: int, *, low: int, high: int) -> None:
    place.number_input(label, min_value=low, max_value=high, value=None, **_tuning(field, value))


def _tuning(field: str, value: Any, *, may_be_empty: bool = False) -> state.Bound:
    """Tie a widget to one field of the fine-tuning settings."""
    return state.bound(
        f"tuning_{field}",
        value,
        lambda new: state.set_recipe(edits.with_tuning(state.recipe(), **{field: new})),
        may_be_empty=may_be_empty,
    )


def _submit() -> None:
    """Queue a run of the current recipe and show it."""
    state.show_run(submit(state.recipe()))
