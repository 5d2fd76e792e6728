"""How the target is reached: in one shot, in rounds or gradually, and what each round trains."""

from collections.abc import Callable
from typing import Any, Final

import streamlit as st

from pages.common import cache, edits, state
from pages.common.glossary_links import explained
from pruning_core.planning.recipe import Recipe, Schedule

_WAYS: Final = {
    "shot": "In one shot",
    "rounds": "In rounds",
    "gradual": "Gradually",
    "adaptive": "Adaptively",
}
_HELP: Final = (
    "In rounds: a part leaves, the rest is fine-tuned for all the epochs, and again. Gradually: "
    "the same within one training, with one learning-rate curve and the optimiser going on. "
    "Adaptively: in rounds whose steps grow while the validation accuracy holds; a round that "
    "loses more than the largest drop is undone, and the next one goes half as far."
)
_SHAPES: Final = {
    "cubic": "Cubic",
    "linear": "Linear",
    "exponential": "Exponential",
}
_SHAPES_HELP: Final = (
    "Cubic: most leaves at first. Linear: the same share of the dense network each time. "
    "Exponential: the same share of what is left each time."
)
_WEIGHTS: Final = {
    "keep": "What is left",
    "rewind": "The beginning",
    "reinitialise": "Random weights",
}
_WEIGHTS_HELP: Final = (
    "What is left: the trained weights that stay. The beginning: the same weights as they were "
    "before training, a lottery ticket. Random weights: fresh ones, the control."
)
_ROUNDS: Final = {"shot": 1, "rounds": 3, "gradual": 10, "adaptive": 10}
_FIRST_STEP: Final = 0.25
_MAX_DROP: Final = 1.0


def show(recipe: Recipe) -> None:
    """Draw the settings of the schedule."""
    schedule, metric = recipe.schedule, cache.metric(recipe)
    way = way_of(schedule)
    left, right = st.columns(2)
    left.selectbox(
        "Pruning",
        list(_WAYS),
        format_func=_WAYS.__getitem__,
        help=explained(_HELP, "schedule", "round", "gradual pruning", "adaptive rounds"),
        **state.bound("schedule_way", way, _choose_way),
    )
    if way == "shot":
        right.selectbox("Trained from", list(_WEIGHTS), **_weights(recipe))
        _rewind_epoch(left, schedule)
        return
    adaptive = way == "adaptive"
    right.number_input(
        "Rounds, at most" if adaptive else "Rounds",
        min_value=2,
        max_value=50,
        help="The epochs of fine-tuning count for each round.",
        value=None,
        **_bound("rounds", schedule.rounds),
    )
    left.selectbox(
        "Pruned per round",
        list(_SHAPES),
        format_func=_SHAPES.__getitem__,
        help=_SHAPES_HELP,
        **_bound("shape", schedule.shape),
    )
    if adaptive:
        right.number_input(
            "First step",
            min_value=0.01,
            max_value=1.0,
            step=0.05,
            value=None,
            help="Share of the way to the target that the first round goes, 0.01 to 1.",
            **_bound("first_step", schedule.first_step),
        )
    else:
        right.number_input(
            "Epochs, last round",
            min_value=1,
            max_value=1000,
            value=None,
            placeholder="as each",
            help="Epochs of fine-tuning after the last round; empty means as many as after each.",
            **_bound("last_epochs", schedule.last_epochs, may_be_empty=True),
        )
    if way != "gradual":
        left.selectbox("Trained from", list(_WEIGHTS), **_weights(recipe))
    right.number_input(
        f"Largest drop, {metric.loss_unit}",
        min_value=0.0,
        max_value=100.0,
        step=0.5,
        value=None,
        placeholder="no limit",
        help=f"When the validation {metric.name} after a round is more than so many "
        f"{metric.loss_unit} {'below' if metric.higher_is_better else 'above'} the dense model's, "
        "the rounds end, or go back where they are adaptive. The last "
        "round that held it is handed out.",
        **_bound("max_drop", schedule.max_drop, may_be_empty=not adaptive),
    )
    _rewind_epoch(left, schedule)


def way_of(schedule: Schedule) -> str:
    """Return how the target is reached: a key of the first choice on the page."""
    if schedule.rounds == 1:
        return "shot"
    if schedule.first_step is not None:
        return "adaptive"
    return "gradual" if schedule.gradual else "rounds"


def _choose_way(way: str) -> None:
    """Change the way; what would contradict it goes back to its default."""
    plain = Schedule()
    changes: dict[str, Any] = {
        "rounds": _ROUNDS[way],
        "gradual": way == "gradual",
        "first_step": _FIRST_STEP if way == "adaptive" else None,
    }
    if way == "gradual":
        changes["weights"] = plain.weights
    if way == "shot":
        changes |= {"last_epochs": plain.last_epochs, "max_drop": plain.max_drop}
    if way == "adaptive":
        drop = state.recipe().schedule.max_drop
        changes |= {"last_epochs": None, "max_drop": _MAX_DROP if drop is None else drop}
    state.set_recipe(edits.with_schedule(state.recipe(), **changes))


def _rewind_epoch(place: Any, schedule: Schedule) -> None:
    if schedule.weights == "rewind":
        place.number_input(
            "Rewound to epoch",
            min_value=0,
            max_value=100,
            value=None,
            help="0 is before training. A later one is found by training the dense network again "
            "as its card says, on the data at hand.",
            **_bound("rewind_epoch", schedule.rewind_epoch),
        )


def _weights(recipe: Recipe) -> dict[str, Any]:
    shown: Any = {
        "format_func": _WEIGHTS.__getitem__,
        "help": explained(_WEIGHTS_HELP, "lottery ticket", "re-initialised"),
    }
    return {**shown, **_bound("weights", recipe.schedule.weights)}


def _bound(field: str, value: Any, *, may_be_empty: bool = False) -> state.Bound:
    """Tie a widget to one field of the schedule."""
    return state.bound(f"schedule_{field}", value, _write(field), may_be_empty=may_be_empty)


def _write(field: str) -> Callable[[Any], None]:
    return lambda new: state.set_recipe(edits.with_schedule(state.recipe(), **{field: new}))
