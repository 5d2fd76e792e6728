"""The global settings of the plan: what is pruned, how it is rated, and how much of it leaves."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import streamlit as st

from pages.common import cache, edits, recipe_file, searching, state
from pages.common.format import markdown
from pages.common.glossary_links import explained
from pruning_core.planning.recipe import Budget, Count, Ratio, Recipe, Target, Threshold

if TYPE_CHECKING:
    from pruning_core.planning.plan import Plan

PARTS: Final = ("amount", searching.PART)
"""The parts that show the global amount."""
_KINDS: Final[Mapping[str, str]] = {
    "ratio": "Ratio",
    "count": "Count",
    "threshold": "Threshold",
    "params": "Parameter budget",
    "macs": "MACs budget",
    "bytes": "File budget",
}
_SCOPES: Final[Mapping[str, str]] = {
    "global": "All layers together",
    "local": "Each layer",
    "erk": "By layer size (ERK)",
}
_NORMALISE: Final[Mapping[str, str]] = {
    "none": "As they are",
    "max": "Divided by the layer's largest",
    "mean": "Divided by the layer's mean",
    "sum": "Divided by the layer's sum",
    "standard": "Standard score in the layer",
}
_REDUCTIONS: Final[Mapping[str, str]] = {
    "sum": "All slices as one",
    "mean": "Mean of the slices' scores",
    "max": "Largest of the slices' scores",
    "first": "Only the slice that makes the unit",
}
_COMPARED: Final[Mapping[str, str]] = {
    "none": "Scores of different layers are compared as they are.",
    "max": "Scores are divided by the largest of their layer before layers are compared.",
    "mean": "Scores are divided by the mean of their layer before layers are compared.",
    "sum": "Scores are divided by the sum of their layer before layers are compared.",
    "standard": "Scores are standardised within their layer before layers are compared.",
}
_BUDGETS: Final[Mapping[str, str]] = {
    "params": "parameters",
    "macs": "multiply-accumulates",
    "bytes": "bytes of the file",
}


def show() -> None:
    """Draw the settings that hold for the whole model.

    Single layers and the amount may change while these controls are not drawn anew, so what a
    control writes is made from the plan of that moment.
    """
    recipe = state.recipe()
    with st.container(border=True, key="controls"):
        with st.container(horizontal=True, vertical_alignment="bottom"):
            _granularity(recipe)
            _criterion(recipe)
            _scope(recipe)
            _more(recipe)
            _recipe_file()
        with st.container(horizontal=True, vertical_alignment="bottom"):
            _how_much()
            st.page_link(
                "pages/run.py", label="Prune and fine-tune", icon=":material/arrow_forward:"
            )
        searching.news()
        _about(recipe)


@st.fragment(key=PARTS[0])
def _how_much() -> None:
    """Draw the global amount."""
    recipe = state.recipe()
    with st.container(horizontal=True, vertical_alignment="bottom"):
        _kind(recipe)
        _amount(recipe)


def others(plan: "Plan") -> None:
    """Say what else a mixed recipe prunes; its settings are in the recipe file."""
    entries = cache.registry("granularities")
    for part in plan.recipe.also:
        keep = plan.part(part.granularity).values()
        total = sum(mask.size for mask in keep)
        removed = total - sum(int(mask.sum()) for mask in keep)
        st.info(
            f"The recipe also prunes by {markdown(entries[part.granularity].title.lower())}: "
            f"{removed:,} of {total:,} go. The totals count both."
        )


def _granularity(recipe: Recipe) -> None:
    entries = cache.registry("granularities")
    keys = sorted(entries, key=lambda key: entries[key].coarseness)
    st.selectbox(
        "What is pruned",
        keys,
        format_func=lambda key: entries[key].title,
        width=190,
        help=explained(
            "  \n".join(
                f"**{markdown(entries[key].title)}**: {markdown(entries[key].description)}"
                for key in keys
            ),
            *("granularity", "unit"),
        ),
        **state.bound(
            "granularity",
            recipe.granularity,
            _change_granularity,
        ),
    )


def _change_granularity(key: str) -> None:
    """Prune something else, by the same criterion when it can rate that."""
    recipe = edits.with_granularity(state.recipe(), key)
    if not cache.registry("criteria")[recipe.criterion].supports(
        cache.registry("granularities")[key]
    ):
        recipe = edits.with_plain_criterion(recipe)
    state.set_recipe(recipe)


def _criterion(recipe: Recipe) -> None:
    granularity = cache.registry("granularities")[recipe.granularity]
    entries = {
        key: entry
        for key, entry in cache.registry("criteria").items()
        if entry.supports(granularity)
    }
    st.selectbox(
        "Rated by",
        sorted(entries, key=lambda key: entries[key].needs_data),
        format_func=lambda key: entries[key].title + (" · data" if entries[key].needs_data else ""),
        width=252,
        help=explained(
            "The criterion: how the importance of a weight or unit is computed.",
            *("criterion", "importance, score"),
        ),
        **state.bound("criterion", recipe.criterion, _change_criterion),
    )


def _change_criterion(key: str) -> None:
    """Rate by something else; the reduction stays where the new criterion has one."""
    reduces = cache.registry("criteria")[key].reduces
    reduction = state.recipe().reduction if reduces else "sum"
    plan = cache.plan(state.recipe())
    state.set_recipe(edits.with_scores(state.recipe(), plan, criterion=key, reduction=reduction))


def _scope(recipe: Recipe) -> None:
    st.segmented_control(
        "Ranked across",
        list(_SCOPES),
        format_func=lambda key: _SCOPES[key],
        required=True,
        help=explained(
            "All layers together: the lowest scores of the whole model leave. "
            "Each layer: every layer loses the same share. "
            "By layer size: Erdos-Renyi-Kernel densities, which leave more of small layers.",
            *("local, global", "ERK"),
        ),
        **state.bound(
            "scope",
            recipe.scope,
            lambda key: state.set_recipe(
                edits.with_global(state.recipe().replace(scope=key), state.recipe().target)
            ),
        ),
    )


def _more(recipe: Recipe) -> None:
    with st.popover("More", icon=":material/tune:"):
        st.selectbox(
            "Scores of different layers are compared",
            list(_NORMALISE),
            format_func=_NORMALISE.__getitem__,
            **state.bound("normalise", recipe.normalise, _rescore("normalise")),
        )
        _order(recipe)
        _limits(recipe)
        st.number_input(
            "Calibration examples",
            min_value=1,
            max_value=2000,
            help=explained(
                "The first ones of the training split, for criteria that read data.",
                "calibration data",
            ),
            value=None,
            **state.bound(
                "calibration_samples",
                recipe.calibration.samples,
                lambda n: _rescore("calibration")(
                    state.recipe().calibration.model_copy(update={"samples": n})
                ),
            ),
        )
        st.number_input(
            "Seed",
            min_value=0,
            max_value=2**31 - 1,
            help="Decides everything that is drawn at random.",
            value=None,
            **state.bound("seed", recipe.seed, _rescore("seed")),
        )


def _order(recipe: Recipe) -> None:
    """Draw how a unit's slices become one score, and the control that turns the order round."""
    coupled = cache.registry("granularities")[recipe.granularity].coupled
    st.selectbox(
        "The slices of a unit are rated as",
        list(_REDUCTIONS),
        format_func=_REDUCTIONS.__getitem__,
        disabled=not (coupled and cache.registry("criteria")[recipe.criterion].reduces),
        help=explained(
            "A unit has a slice in every layer it is coupled to.", "reduction", "coupled"
        ),
        **state.bound("reduction", recipe.reduction, _rescore("reduction")),
    )
    st.toggle(
        "Reversed: the highest scores leave first",
        help=explained(
            "A control. If it harms no more than the criterion, the criterion tells nothing.",
            "reversed",
        ),
        **state.bound("reverse", recipe.reverse, _rescore("reverse")),
    )


def _limits(recipe: Recipe) -> None:
    """Draw what holds for granularities that remove units."""
    removes = cache.registry("granularities")[recipe.granularity].removes
    st.number_input(
        "At least this many stay in each layer",
        min_value=1,
        max_value=10**6,
        disabled=not removes,
        value=None,
        **state.bound("min_kept", recipe.min_kept, _replace("min_kept")),
    )
    st.number_input(
        "Kept units are a multiple of",
        min_value=1,
        max_value=1024,
        disabled=not removes,
        help="Widths that are multiples of 8 or 16 run faster on most processors.",
        value=None,
        **state.bound("round_to", recipe.round_to, _replace("round_to")),
    )


def _recipe_file() -> None:
    with st.popover("Recipe", icon=":material/description:"):
        st.caption(
            "The recipe is everything decided here as a small JSON file; the command line and "
            "Python make the same masks from it."
        )
        recipe_file.download("Download recipe.json")
        st.button("Start over", icon=":material/restart_alt:", on_click=state.start_over)
        recipe_file.upload()


def _kind(recipe: Recipe) -> None:
    removes = cache.registry("granularities")[recipe.granularity].removes
    kinds = [kind for kind in _KINDS if removes or kind not in _BUDGETS]
    kinds += searching.kinds(recipe)
    st.selectbox(
        "Global setting",
        kinds,
        format_func={**_KINDS, **searching.HANDLES}.__getitem__,
        width=210,
        help=explained(
            "Moving it drops the own settings of layers that are not pinned.",
            *("ratio", "keep ratio", "threshold", "MAC", "pin"),
        ),
        **state.bound("target_kind", searching.chosen(recipe), _change_kind),
    )


def _change_kind(kind: str) -> None:
    if not searching.choose(kind):
        recipe = state.recipe()
        state.set_recipe(edits.with_kind(recipe, kind, cache.plan(recipe), cache.preview(recipe)))
    st.rerun()  # other fields, even where the recipe is the same


def _amount(recipe: Recipe) -> None:
    handle = searching.chosen(recipe)
    if handle in searching.HANDLES:
        searching.amount(handle)
        return
    target = recipe.target
    match target:
        case Ratio():
            _share("Share to remove (%)", target.value, lambda x: Ratio(value=x), 0.0, 99.99)
        case Budget():
            label = f"Keep at most this share of the {_BUDGETS[target.kind]} (%)"
            kind = target.kind
            _share(label, target.value, lambda x: Budget(kind=kind, value=x), 0.1, 100.0)
        case Count():
            most = sum(mask.size for mask in cache.plan(recipe).part(recipe.granularity).values())
            st.number_input(
                "Number to remove" + (" from each layer" if recipe.scope == "local" else ""),
                min_value=0,
                max_value=most,
                width=220,
                value=None,
                **state.bound(
                    "target_count", min(target.value, most), _move(lambda x: Count(value=x))
                ),
            )
        case Threshold():
            st.number_input(
                "Remove what scores below",
                format="%.6g",
                step=max(abs(target.value) / 20, 1e-6),
                width=220,
                value=None,
                **state.bound(
                    "target_threshold", target.value, _move(lambda x: Threshold(value=x))
                ),
            )


def _share(label: str, value: float, make: Any, low: float, high: float) -> None:
    """Draw a slider and a field for one share, both views of the same value."""
    shown = min(high, max(low, round(100 * value, 2)))
    write = _move(lambda shares: make(round(shares / 100, 8)))
    st.slider(label, low, high, step=0.5, width=420, **state.bound("target_slider", shown, write))
    st.number_input(
        label,
        low,
        high,
        step=1.0,
        format="%.2f",
        width=130,
        label_visibility="collapsed",  # a hidden one that wraps would still take its lines
        value=None,
        **state.bound("target_share", shown, write),
    )


def _about(recipe: Recipe) -> None:
    entry = cache.registry("criteria")[recipe.criterion]
    reads = (
        f"Reads the first {recipe.calibration.samples:,} calibration examples."
        if entry.needs_data
        else "Reads the weights only, no data."
    )
    compared = _COMPARED[recipe.normalise] if recipe.scope == "global" else ""
    if recipe.reverse:
        compared += " The order is reversed: the highest scores leave first."
    text, formula = st.columns([9, 1], vertical_alignment="center")
    text.caption(f"**{markdown(entry.title)}**: {markdown(entry.description)} {reads} {compared}")
    with formula.popover("Formula", type="tertiary"):
        st.latex(entry.formula)
        st.caption(markdown(entry.source))


def _move(make: Any) -> Any:
    """Return what a widget of the global setting does with its value."""

    def write(value: Any) -> None:
        target: Target = make(value)
        state.set_recipe(edits.with_global(state.recipe(), target))

    return write


def _replace(field: str) -> Any:
    return lambda value: state.set_recipe(state.recipe().replace(**{field: value}))


def _rescore(field: str) -> Any:
    """Return what a widget does that changes the scores: thresholds become counts first."""

    def write(value: Any) -> None:
        recipe = state.recipe()
        state.set_recipe(edits.with_scores(recipe, cache.plan(recipe), **{field: value}))

    return write
