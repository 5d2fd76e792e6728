"""The settings of fine-tuning, and the button that starts a run."""

from typing import Final

import streamlit as st

from pages.common import cache, quantising, schedule, state, tuning_groups
from pages.common.format import count, percent, plural
from pages.common.glossary_links import explained
from pruning_core.planning.recipe import Recipe
from pruning_core.runs.dispatcher import submit, submit_group

_OPTIMISERS: Final = {"adam": "Adam", "adamw": "AdamW", "sgd": "SGD"}


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
    _recommended(recipe)
    st.button(
        "Prune",
        type="primary",
        icon=":material/play_arrow:",
        width="stretch",
        on_click=lambda: state.attempt(_submit),
    )
    with st.container(gap="xsmall"):
        tuning_groups.show(recipe)
        with tuning_groups.group("Quantisation", quantising.in_words()):
            quantising.settings()
    st.button(
        "Lottery-ticket bench",
        icon=":material/confirmation_number:",
        width="stretch",
        help="Four runs of this plan, drawn in one figure: trained weights, weights rewound to the "
        "beginning, fresh random weights, and a random mask rewound.",
        on_click=lambda: state.attempt(_submit_tickets),
    )


def _settings(recipe: Recipe) -> None:
    """Draw the settings of fine-tuning that everyone needs."""
    tuning = recipe.tuning
    left, right = st.columns(2)
    left.number_input(
        "Epochs",
        min_value=0,
        max_value=1000,
        value=None,
        help=explained(
            "Passes over the training examples, in each round; 0 prunes without fine-tuning.",
            *("epoch", "fine-tuning"),
        ),
        **tuning_groups.bound("epochs", tuning.epochs),
    )
    right.number_input(
        "Batch size",
        min_value=2,
        max_value=8192,
        value=None,
        help="Examples for each step of the optimiser.",
        **tuning_groups.bound("batch_size", tuning.batch_size),
    )
    left.selectbox(
        "Optimiser",
        list(_OPTIMISERS),
        format_func=_OPTIMISERS.__getitem__,
        **tuning_groups.bound("optimiser", tuning.optimiser),
    )
    right.number_input(
        "Learning rate",
        min_value=0.0,
        max_value=10.0,
        format="%.2g",
        step=tuning.learning_rate / 2,
        value=None,
        help=explained(
            "The highest rate; the group below says what it does over time.", "learning rate"
        ),
        **tuning_groups.bound("learning_rate", tuning.learning_rate),
    )


def _recommended(recipe: Recipe) -> None:
    """Offer the way that lost least in the benchmark; nothing is offered that would not change."""
    from pruning_core.planning.advice import MAX_ROUNDS, recommended

    has_epochs = recipe.n_epochs > 0
    st.button(
        "Recommended way",
        icon=":material/recommend:",
        width="stretch",
        disabled=not has_epochs or recommended(recipe) == recipe,
        help=f"The same number of epochs, spread over up to {MAX_ROUNDS} rounds of pruning, with "
        "the dense network as teacher: what lost least accuracy in the project's benchmark "
        "(docs/benchmarks/accuracy.md). What leaves and all other settings stay.",
        on_click=lambda: state.attempt(lambda: state.set_recipe(recommended(state.recipe()))),
    )


def _submit_tickets() -> None:
    """Queue the four runs of the lottery-ticket bench and show the first."""
    from pruning_core.runs.tickets import ticket_recipes

    recipe = state.recipe()
    recipes = ticket_recipes(recipe, cache.model(recipe.model))
    runs = submit_group(recipes, device=state.device(), tensorboard=state.event_files())
    state.show_run(runs[0])


def _submit() -> None:
    """Queue a run of the current recipe and show it."""
    run = submit(state.recipe(), device=state.device(), tensorboard=state.event_files())
    state.show_run(run)
