"""Criteria side by side: how alike they rank the units, and what each of them would prune."""

from typing import TYPE_CHECKING, Final

import streamlit as st

from pages.common import cache, charts, state
from pages.common.format import count, markdown, plural
from pages.common.glossary_links import explained
from pruning_core.errors import PruningError

if TYPE_CHECKING:
    from pruning_core.planning.plan import Plan
    from pruning_core.planning.recipe import Recipe
    from pruning_core.preview import Preview
    from pruning_core.scoring.agreement import Ranked

TITLE: Final = "Criteria"
_MOST: Final = 6
_CHOSEN: Final = "compared_criteria_chosen"
_RATED: Final = "criteria_rated_on_data"
_CONTROL: Final = "random"
_FIRST: Final = ("l1", "l2", "lamp", _CONTROL)


def show(plan: "Plan", counted: "Preview", selected: str) -> None:  # noqa: ARG001
    """Draw the choice of criteria and how far they agree."""
    chosen = _choose(plan.recipe)
    with st.container(horizontal=True, vertical_alignment="center"):
        scope = charts.choice(
            "Units",
            {"all": "Whole model", "layer": f"Only {markdown(selected or '(model)')}"},
            key="criteria_scope",
        )
        ready = _rated(plan.recipe, chosen)
    if len(ready) < 2:
        st.info("Choose two criteria or more that can rate these units, to see where they differ.")
        return
    site = selected if scope == "layer" else None
    ranked = cache.ranked(plan.recipe, ready, site)
    if not ranked.unit.size:
        st.info("One of these criteria says nothing about these units, so nothing can be compared.")
        return
    with st.container(key="pair_of_matrices"):
        ranks, overlap = st.columns(2, gap="medium")
    with ranks:
        _ranks(plan.recipe, ranked)
    with overlap:
        _overlap(plan, ranked, site)
    _furthest(plan, ranked, site)


def _choose(recipe: "Recipe") -> tuple[str, ...]:
    """Draw the choice of criteria; the recipe's own comes first until others are chosen."""
    entries, granularities = cache.registry("criteria"), cache.registry("granularities")
    granularity = granularities[recipe.granularity]
    fit = sorted(
        (key for key, entry in entries.items() if entry.supports(granularity)),
        key=lambda key: entries[key].needs_data,
    )
    first = [key for key in dict.fromkeys((recipe.criterion, *_FIRST)) if key in fit]
    stored = [key for key in st.session_state.get(_CHOSEN, first) if key in fit]

    def keep(wanted: list[str]) -> None:
        st.session_state[_CHOSEN] = wanted

    st.multiselect(
        "Criteria to compare",
        fit,
        format_func=lambda key: entries[key].title + (" · data" if entries[key].needs_data else ""),
        max_selections=_MOST,
        placeholder="Two to six criteria",
        **state.bound("compared_criteria", stored, keep),
    )
    return tuple(stored)


def _rated(recipe: "Recipe", chosen: tuple[str, ...]) -> tuple[str, ...]:
    """Return the chosen criteria that have scores; those that read data wait for the button."""
    entries = cache.registry("criteria")
    variants = {key: cache.rated_by(recipe, key) for key in chosen}
    known = st.session_state.setdefault(_RATED, set())
    waiting = [
        key
        for key, variant in variants.items()
        if entries[key].needs_data
        and key != recipe.criterion  # the plan has its scores already
        and variant.score_settings not in known
    ]
    if waiting:
        st.button(
            f"Rate {len(waiting)} {'criterion' if len(waiting) == 1 else 'criteria'} on data",
            icon=":material/play_arrow:",
            help=explained(
                "Reads the calibration data once; the scores are kept afterwards.",
                *("calibration data", "criterion"),
            ),
            on_click=lambda: known.update(variants[key].score_settings for key in waiting),
        )
    return tuple(key for key in chosen if key not in waiting and _has_scores(variants[key]))


def _has_scores(variant: "Recipe") -> bool:
    """Rate by one criterion, if it can, and say why when it cannot."""
    try:
        with st.spinner("Rating…"):
            cache.scores(variant)
    except PruningError as error:
        st.warning(markdown(str(error)))
        return False
    return True


def _ranks(recipe: "Recipe", ranked: "Ranked") -> None:
    """Draw how alike the criteria rank."""
    from pruning_core.figures.agreement import numbered, rank_matrix

    names = _titles(ranked)
    charts.show(
        rank_matrix(names, ranked.correlation, charts.colours()),
        key="rank_agreement",
        table={
            "criterion": numbered(names),
            **{str(place + 1): column.tolist() for place, column in enumerate(ranked.correlation)},
        },
    )
    how = (
        "All units are put in one order, as the plan compares them"
        if recipe.scope == "global"
        else "Units are put in order within their layer, as the plan compares them"
    )
    whole = f"all {ranked.n_units:,} units"
    if ranked.is_sample:
        whole = (
            f"{ranked.unit.size:,} of {ranked.n_units:,} units, drawn at random "
            f"(ESTIMATED: off by {2 / ranked.unit.size**0.5:.3f} or less in 19 of 20 draws)"
        )
    st.caption(
        f"Spearman's rank correlation over {whole}: 1 is the same order, 0 no relation, −1 the "
        f"opposite order. {how}; equal scores share their mean rank."
    )
    if ranked.skipped:
        st.caption(
            f"Left out, because one of the criteria says nothing about them: "
            f"{markdown(', '.join(ranked.skipped))}."
        )


def _overlap(plan: "Plan", ranked: "Ranked", site: str | None) -> None:
    """Draw what the criteria would prune in common."""
    from pruning_core.figures.agreement import numbered, overlap_matrix
    from pruning_core.scoring.agreement import jaccard

    names, both = _titles(ranked), cache.pruned_by_both(plan.recipe, ranked.criteria, site)
    shares = jaccard(both)
    kinds = {cache.sites(plan.recipe)[name].kind for name in ranked.sites}
    units = plural(kinds.pop()) if len(kinds) == 1 else "units"
    charts.show(
        overlap_matrix(names, shares, both, charts.colours(), units=units),
        key="pruned_overlap",
        table={
            "criterion": numbered(names),
            **{f"overlap with {place + 1}": row.tolist() for place, row in enumerate(shares)},
            **{f"both with {place + 1}": row.tolist() for place, row in enumerate(both)},
        },
    )
    st.caption(
        "Each criterion prunes as many units of each layer as the plan does, its lowest scores "
        "first. Above: units pruned by both, over those pruned by either (Jaccard); below: units "
        "pruned by both. EXACT."
    )


def _furthest(plan: "Plan", ranked: "Ranked", site: str | None) -> None:
    """Draw the table of units that two criteria see most differently; a click selects the layer."""
    pairs = [
        (one, other)
        for place, one in enumerate(ranked.criteria)
        for other in ranked.criteria[place + 1 :]
    ]
    titles = dict(zip(ranked.criteria, _titles(ranked), strict=True))
    pair = st.selectbox(
        "Where these two disagree most",
        sorted(pairs, key=lambda pair: (_CONTROL in pair, _agreement(ranked, pair))),
        format_func=lambda pair: f"{titles[pair[0]]} and {titles[pair[1]]}",
        key=f"criteria_pair_{'_'.join(ranked.criteria)}",
        width=520,
    )
    rows = cache.disagreements(plan.recipe, ranked.criteria, pair, site)
    key = "criteria_disagreements"

    def select() -> None:
        marked = st.session_state[key]["selection"]["rows"]
        if marked:
            state.select_layer(rows[marked[0]].site)

    one, other = (titles[criterion] for criterion in pair)
    st.dataframe(
        {
            "Layer": [row.site or "(model)" for row in rows],
            "Unit": [row.unit for row in rows],
            f"Place by {one}": [row.places[0] for row in rows],
            f"Place by {other}": [row.places[1] for row in rows],
            "Apart": [row.gap for row in rows],
            f"{one} prunes it": [row.pruned[0] for row in rows],
            f"{other} prunes it": [row.pruned[1] for row in rows],
        },
        hide_index=True,
        key=key,
        on_select=lambda: state.attempt(select),
        selection_mode="single-row",
        height=300,
        alt=f"The {len(rows)} units whose places by {one} and {other} differ most",
        column_config={
            name: st.column_config.NumberColumn(format="percent")
            for name in (f"Place by {one}", f"Place by {other}", "Apart")
        },
    )
    st.caption(
        "Place 0 % leaves first, 100 % last. Mark a row to select its layer."
        + (f" Found among the {count(ranked.unit.size)} drawn." if ranked.is_sample else "")
    )


def _agreement(ranked: "Ranked", pair: tuple[str, str]) -> float:
    one, other = (ranked.criteria.index(key) for key in pair)
    return float(ranked.correlation[one, other])


def _titles(ranked: "Ranked") -> list[str]:
    entries = cache.registry("criteria")
    return [entries[key].title for key in ranked.criteria]
