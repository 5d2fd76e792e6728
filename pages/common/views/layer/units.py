"""The units of one layer, to be looked at and picked by hand."""

from typing import TYPE_CHECKING, Any, Final

import streamlit as st

from pages.common import cache, inbox, picks, state
from pages.common.components import mount_units
from pages.common.format import markdown, plural, significant

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import numpy as np
    from numpy.typing import NDArray

    from pruning_core.granularities import Pattern, Site
    from pruning_core.planning.listing import UnitOrder
    from pruning_core.planning.plan import Plan
    from pruning_core.planning.recipe import Recipe

_KEY: Final = "units"
_LOOKED_AT: Final = "looked_at_unit"
_ORDERS: Final[dict[str, str]] = {"score": "By score", "index": "By number"}
_WISHES: Final[dict[picks.Wish, str]] = {"keep": "Keep", "prune": "Prune", "auto": "Auto"}


def look_at(site: str, unit: int) -> None:
    """Show what is known about a unit, and the page of tiles that it is on."""
    from pruning_core.planning.listing import page_with

    st.session_state[_LOOKED_AT] = (site, unit)
    scores = cache.scores(state.recipe()).by_site[site]
    if 0 <= unit < len(scores):
        st.session_state["units_page"] = 1 + page_with(scores, _order(), unit)


def looked_at(plan: "Plan", site: "Site") -> int:
    """Return the unit that is looked at; the one that goes first unless one was chosen."""
    name, unit = st.session_state.get(_LOOKED_AT, ("", 0))
    if name == site.name and 0 <= unit < site.n_units:
        return int(unit)
    return int(cache.listed(plan.recipe, site.name, "score", 0)[0])


def _order() -> "UnitOrder":
    return "index" if st.session_state.get("units_order") == "index" else "score"


def show(plan: "Plan", site: "Site", unit: int) -> None:
    """Draw the tiles, and what can be done with all of them."""
    from pruning_core.planning.listing import UNITS_A_PAGE, n_pages

    recipe = plan.recipe
    pages = n_pages(site.n_units)
    page = 0
    with st.container(horizontal=True, vertical_alignment="center"):
        st.markdown(f"**{plural(site.kind).capitalize()}**", width="content")
        if site.n_units > 1:
            st.segmented_control(
                "Order of the units",
                list(_ORDERS),
                format_func=_ORDERS.__getitem__,
                default="score",
                required=True,
                key="units_order",
                persist_state="session",
                label_visibility="collapsed",
            )
        if pages > 1:
            page = _page(site, pages, UNITS_A_PAGE)
        st.space("stretch")
        picked = site.name in recipe.picks
        st.button(
            "Clear picks of this layer",
            type="tertiary",
            icon=":material/backspace:",
            disabled=not picked,
            help="Leave every unit of this layer to its score again.",
            on_click=lambda: state.attempt(
                lambda: state.set_recipe(picks.without_picks(state.recipe(), site.name))
            ),
        )
    mount_units(
        key=_KEY,
        data=tiles(plan, site, cache.listed(recipe, site.name, _order(), page), unit)
        | {"done": inbox.done(_KEY)},
        on_wishes_change=lambda: state.attempt(lambda: inbox.carry_out(_KEY, _act)),
    )


def _page(site: "Site", pages: int, size: int) -> int:
    """Draw the number of the page and return it, from 0."""
    if not 1 <= st.session_state.get("units_page", 1) <= pages:
        st.session_state["units_page"] = 1
    st.session_state.setdefault("units_page", 1)
    chosen = st.number_input(
        f"Page of 1 to {pages:,}",
        min_value=1,
        max_value=pages,
        key="units_page",
        label_visibility="collapsed",
        width=130,
        help=f"{size} of {site.n_units:,} {plural(site.kind)} are shown at a time.",
    )
    st.caption(f"of {pages:,} pages", width="content")
    return int(chosen) - 1


def tiles(plan: "Plan", site: "Site", units: "NDArray[np.int64]", selected: int) -> dict[str, Any]:
    """Return what the component shows, as plain data."""
    recipe, keep = plan.recipe, plan.keep[site.name]
    scores = cache.scores(recipe).by_site[site.name]
    numbers: list[int] = units.tolist()
    pattern = cache.registry("granularities")[recipe.granularity].pattern
    bins = cache.bins(recipe, site.name)
    return {
        "site": site.name,
        "word": site.kind,
        "names": list(site.unit_names),
        "low": float(bins.edges[0]),
        "high": float(bins.edges[-1]),
        "selected": selected,
        "pickable": pattern is None,
        "hint": _hint(site, pattern),
        "alt": f"{len(numbers):,} of {site.n_units:,} {plural(site.kind)} of "
        f"{site.name or 'the model'}, {int((~keep).sum()):,} pruned. Arrow keys move, Enter shows "
        "one, K keeps it, P prunes it, A leaves it to its score",
        "tiles": {
            "unit": numbers,
            "score": scores[units].tolist(),
            "keep": keep[units].astype(int).tolist(),
            "pick": marks(recipe, site.name, numbers),
        },
    }


def _hint(site: "Site", pattern: "Pattern | None") -> str:
    """Return what is worth knowing about these units."""
    if pattern is not None:
        return (
            f"The pattern {pattern.n}:{pattern.m} decides group by group, so single weights "
            "cannot be picked by hand here."
        )
    if site.kind == "hidden unit":
        return "A hidden unit goes with its rows of every gate and its recurrent column."
    return ""


def marks(recipe: "Recipe", site: str, units: "Iterable[int]") -> list[int]:
    """Return what was picked for each of ``units``: 0 nothing, 1 to stay, 2 to go."""
    own = recipe.picks.get(site)
    to_keep = frozenset(own.keep) if own else frozenset()
    to_prune = frozenset(own.prune) if own else frozenset()
    return [1 if unit in to_keep else 2 if unit in to_prune else 0 for unit in units]


def _act(wish: "Mapping[str, Any]") -> None:
    """Look at a unit, or pick some; by now the person may look at another layer."""
    recipe, name = state.recipe(), str(wish["site"])
    if name not in cache.sites(recipe):
        return
    if wish["action"] == "look":
        look_at(name, int(wish["unit"]))
        return
    for kind in _WISHES:
        recipe = picks.with_picks(recipe, name, map(int, wish[kind]), kind)
    state.set_recipe(recipe)


def inspector(plan: "Plan", site: "Site", unit: int) -> None:
    """Draw the decision about one unit: number, rule, score, rank, and buttons to pick it."""
    found = cache.explanation(plan.recipe, site.name, unit)
    pattern = cache.registry("granularities")[plan.recipe.granularity].pattern
    with st.container(horizontal=True, vertical_alignment="bottom"):
        st.number_input(
            f"{site.kind.capitalize()} to look at",
            min_value=0,
            max_value=site.n_units - 1,
            width=170,
            **state.bound("unit_number", unit, lambda value: look_at(site.name, int(value))),
        )
        if pattern is None:
            _buttons(plan.recipe, site, unit)
    said, *rest = _sentences(found.sentence)
    st.markdown(f"**{markdown(said)}** {markdown(' '.join(rest))}")
    facts = {
        "Decided by": str(found.rule),
        "Score": significant(found.score, 4),
        "Threshold": significant(found.threshold, 4) if pattern is None else "none",
        "Rank": f"{found.rank:,} of {found.n_units:,}",
    }
    lines = (" | ".join(facts), " | ".join("---" for _ in facts), " | ".join(facts.values()))
    st.markdown("\n".join(f"| {line} |" for line in lines))


def _sentences(text: str) -> list[str]:
    """Return the first sentence, and what follows."""
    first, dot, rest = text.partition(". ")
    return [first + dot.strip(), rest] if dot else [text]


def _buttons(recipe: "Recipe", site: "Site", unit: int) -> None:
    """Draw the choice between keeping the unit, pruning it, and leaving it to its score."""
    wish = picks.wish_for(recipe, site.name, unit)
    st.segmented_control(
        "Picked by hand",
        list(_WISHES),
        format_func=_WISHES.__getitem__,
        required=True,
        help="Keep and Prune hold whatever the score says, and count towards the target; Auto "
        "leaves the unit to its score.",
        **state.bound(
            "unit_wish",
            wish,
            lambda value: state.set_recipe(
                picks.with_picks(state.recipe(), site.name, [unit], value)
            ),
        ),
    )
