"""Plans between accuracy and cost, found by a search that measures them."""

from typing import TYPE_CHECKING, Final, get_args

import streamlit as st

from pages.common import cache, charts, measuring, state, studying
from pages.common.format import judged, markdown, percent
from pages.common.glossary_links import explained

if TYPE_CHECKING:
    from pruning_core.evaluation.tradeoff import Cost, Trial
    from pruning_core.planning.plan import Plan
    from pruning_core.planning.recipe import Recipe
    from pruning_core.preview import Preview
    from pruning_core.runs.studies import Study

TITLE: Final = "Search"
_COST: Final = "_study_cost"
_TRIALS: Final = "_study_trials"
_CHOSEN: Final = "_study_chosen"


def show(plan: "Plan", counted: "Preview", selected: str) -> None:  # noqa: ARG001
    """Draw the settings of the search, what it found, and the plan that is looked at."""
    recipe = plan.recipe
    if not measuring.has_data(recipe):
        measuring.explain_lack_of_data("A search")
        return
    cost, n_trials = _settings(recipe)
    study = studying.found(recipe, cost)
    if not studying.RUNNING.progress(studying.outcome(recipe, cost, n_trials)):
        known = 0 if study is None else len(study.trials)
        st.button(
            "Search" if not known else f"Measure up to {n_trials} plans",
            type="primary" if not known else "secondary",
            icon=":material/play_arrow:",
            key="study_start",
            disabled=known >= n_trials,
            help="It goes on beside your work and is kept.",
            on_click=lambda: state.attempt(
                lambda: studying.RUNNING.start(studying.question_of(recipe, cost, n_trials))
            ),
        )
    if study is not None and study.trials:
        _found(study, cost)


def _settings(recipe: "Recipe") -> "tuple[Cost, int]":
    """Draw what is weighed against the accuracy, and how many plans are measured."""
    from pruning_core.evaluation.tradeoff import COSTS, Cost

    removes = cache.registry("granularities")[recipe.granularity].removes
    costs: tuple[Cost, ...] = get_args(Cost) if removes else ("nonzero",)
    usual: Cost = "macs" if removes else "nonzero"
    wanted = st.session_state.get(_COST, usual)
    cost = next((name for name in costs if name == wanted), usual)
    n_trials = int(st.session_state.setdefault(_TRIALS, 60))
    metric = cache.metric(recipe)
    st.markdown(
        f"**What is the best {metric.name} for each cost?** Optuna chooses a share to remove for "
        "every layer that is not pinned; each plan is counted exactly, and measured on validation "
        "data."
    )
    with st.container(horizontal=True, vertical_alignment="bottom"):
        st.selectbox(
            f"{metric.capital} against",
            costs,
            format_func=lambda name: COSTS[name],
            width=220,
            **state.bound("study_cost", cost, lambda name: st.session_state.update({_COST: name})),
        )
        st.number_input(
            "Plans",
            min_value=6,
            max_value=2000,
            step=20,
            width=150,
            value=None,
            help="Measured in all. The first six are those of the global ranking.",
            **state.bound(
                "study_trials", n_trials, lambda n: st.session_state.update({_TRIALS: n})
            ),
        )
    return cost, n_trials


def _found(study: "Study", cost: "Cost") -> None:
    """Draw the plans, and the one that is looked at."""
    from pruning_core.evaluation.tradeoff import COSTS, front
    from pruning_core.figures.tradeoff import tradeoff
    from pruning_core.tasks.registry import headline

    metric = headline(study.task)
    best = front(study.trials, cost, metric)
    numbers = [trial.number for trial in study.trials]
    wanted = st.session_state.get(_CHOSEN)
    near = [trial for trial in best if metric.lost(study.dense.accuracy, trial.accuracy) <= 1]
    chosen = wanted if wanted in numbers else (near or best)[0].number
    trial = study.trials[numbers.index(chosen)]
    left, right = st.columns([3, 2], gap="medium")
    with left:
        charts.show(
            tradeoff(
                [(one.cost(cost), one.accuracy) for one in study.trials],
                [numbers.index(one.number) for one in best],
                (study.dense.cost(cost), study.dense.accuracy),
                charts.colours(),
                cost=COSTS[cost],
                chosen=numbers.index(chosen),
                metric=metric,
            ),
            key="study",
            table={
                "plan": [one.number + 1 for one in study.trials],
                metric.name: [one.accuracy for one in study.trials],
                COSTS[cost]: [one.cost(cost) for one in study.trials],
                "not beaten": [one in best for one in study.trials],
            },
            on_click=lambda place: st.session_state.update({_CHOSEN: numbers[place]}),
        )
    with right:
        _looked_at(trial, [one.number for one in best], study, cost)
    st.caption(
        f":gray-badge[MEASURED] on the first {study.n:,} validation examples "
        f"({markdown(study.source)}), right after pruning; :gray-badge[EXACT] costs. The plans "
        "were chosen on these examples, so the best look a little better than they are; a run "
        "measures on the test split."
    )


def _looked_at(trial: "Trial", best: list[int], study: "Study", cost: "Cost") -> None:
    """Draw one plan and the button that takes it over."""
    from pruning_core.evaluation.tradeoff import COSTS, varied
    from pruning_core.tasks.registry import headline

    st.selectbox(
        "Plan to look at",
        best if trial.number in best else [trial.number, *best],
        format_func=lambda number: _title(study, number, cost),
        help=explained(
            "Those that no other plan beats, the cheapest first. A click on a point chooses any.",
            "Pareto front",
        ),
        **state.bound(
            "study_chosen", trial.number, lambda number: st.session_state.update({_CHOSEN: number})
        ),
    )
    before, after = study.dense.cost(cost), trial.cost(cost)
    metric = headline(study.task)
    st.markdown(
        f"**{judged(metric, trial.accuracy)}** {metric.name} "
        f"({metric.change(study.dense.accuracy, trial.accuracy)}), "
        f"**{percent(after / before)}** of the {COSTS[cost]} left."
    )
    st.button(
        "Take this plan",
        type="primary",
        icon=":material/check:",
        key="study_take",
        help="Its ratios become those of the layers; Ctrl+Z returns to the present plan.",
        on_click=lambda: state.attempt(
            lambda: state.set_recipe(varied(state.recipe(), trial.ratios))
        ),
    )
    st.dataframe(
        {
            "Layer": list(trial.ratios),
            "asked to lose": [percent(share, 0) for share in trial.ratios.values()],
        },
        hide_index=True,
        height=min(260, 38 + 35 * len(trial.ratios)),
        alt="Share that each layer is asked to lose",
    )


def _title(study: "Study", number: int, cost: "Cost") -> str:
    from pruning_core.tasks.registry import headline

    trial = next(one for one in study.trials if one.number == number)
    share = trial.cost(cost) / study.dense.cost(cost)
    value = judged(headline(study.task), trial.accuracy)
    return f"{value} with {percent(share)} left (plan {number + 1})"
