"""How many units of one layer go: the scores with a threshold to drag, and the same as numbers."""

from typing import TYPE_CHECKING, Any, Final

import numpy as np
import streamlit as st

from pages.common import cache, edits, inbox, pictures, state
from pages.common.components import mount_threshold
from pages.common.format import markdown, plural
from pages.common.glossary_links import explained
from pruning_core.planning.recipe import Count, Ratio, Threshold

if TYPE_CHECKING:
    from collections.abc import Mapping

    from streamlit.delta_generator import DeltaGenerator

    from pruning_core.granularities import Pattern, Site
    from pruning_core.planning.plan import Plan

_KEY: Final = "threshold"
_LARGEST_SHARE: Final = 99.9999
_MARKS_AT_MOST: Final = 64
_HISTOGRAM: Final = "Histogram"
_CUMULATIVE: Final = "ECDF"


def show(plan: "Plan", site: "Site") -> None:
    """Draw heading, scores, number fields and what limited the wish."""
    with st.container(horizontal=True, vertical_alignment="center"):
        st.subheader(
            f"{markdown(site.name or '(model)')}: {site.n_units:,} {plural(site.kind)}",
            anchor=False,
        )
        st.space("stretch")
        form = st.segmented_control(
            "Drawn as",
            [_HISTOGRAM, _CUMULATIVE],
            default=_HISTOGRAM,
            required=True,
            key="scores_drawn_as",
            persist_state="session",
            label_visibility="collapsed",
            help="The ECDF (empirical distribution) is the share of units that score less.",
        )
        log = st.toggle(
            "Log counts",
            key="log_counts",
            persist_state="session",
            disabled=form == _CUMULATIVE,
        )
    _threshold(plan, site, log=log, cumulative=form == _CUMULATIVE)
    pattern = _pattern(plan)
    if pattern is None:
        _numbers(plan, site)
    else:
        _switch(plan, site, pattern)
    for note in plan.notes.get(site.name, ()):
        st.caption(f":material/info: {markdown(note)}")


def _pattern(plan: "Plan") -> "Pattern | None":
    found: Pattern | None = cache.registry("granularities")[plan.recipe.granularity].pattern
    return found


def _threshold(plan: "Plan", site: "Site", *, log: bool, cumulative: bool) -> None:
    """Draw the scores with a threshold that can be dragged."""
    mount_threshold(
        key=_KEY,
        data=threshold_data(plan, site, cumulative=cumulative)
        | {"log": log and not cumulative, "done": inbox.done(_KEY)},
        on_wishes_change=lambda: state.attempt(lambda: inbox.carry_out(_KEY, _commit)),
    )


def _commit(wish: "Mapping[str, Any]") -> None:
    """Take over where a threshold was left; by now the person may look at another layer."""
    recipe, name = state.recipe(), str(wish["site"])
    if name in cache.sites(recipe):
        n_removed, threshold = int(wish["n_removed"]), float(wish["threshold"])
        below = int((cache.scores(recipe).by_site[name] < np.float32(threshold)).sum())
        state.set_recipe(edits.dragged(recipe, name, n_removed, threshold, below))


def threshold_data(plan: "Plan", site: "Site", *, cumulative: bool = False) -> dict[str, Any]:
    """Return what the component draws and counts with, as plain data."""
    recipe = plan.recipe
    scores = cache.scores(recipe).by_site[site.name]
    track = cache.track(recipe, site.name)
    reachable = cache.reachable(recipe, site)
    names = ("n_removed", "threshold", "params", "nonzero", "macs", "n_bytes")
    before = cache.preview(recipe).before
    curve = cache.cumulative(recipe, site.name) if cumulative else None
    form = "Cumulative scores" if cumulative else "Scores"
    return {
        "site": site.name,
        "layer": site.name or "(model)",
        "units": plural(site.kind),
        "criterion": cache.registry("criteria")[recipe.criterion].title,
        "granularity_removes": cache.registry("granularities")[recipe.granularity].removes,
        "height": 236,
        "alt": f"{form} of the {site.n_units:,} {plural(site.kind)} of {site.name}. "
        f"{plan.n_removed(site.name):,} are pruned",
        **pictures.bars(scores, cache.bins(recipe, site.name)),
        "curve": curve and {"scores": curve.scores.tolist(), "below": curve.below.tolist()},
        "on_off": _pattern(plan) is not None,
        "gone": _gone(plan, site),
        **_picked(plan, site),
        "positions": {name: getattr(track, name)[reachable].tolist() for name in names},
        "removed": plan.n_removed(site.name),
        "total": site.n_units,
        "threshold": plan.thresholds[site.name],
        "before": {"macs": before.macs},
    }


def _gone(plan: "Plan", site: "Site") -> list[int] | None:
    """Return how many units of each bin leave, where that is not a matter of one threshold."""
    if _pattern(plan) is None:
        return None
    from pruning_core.figures.histogram import count_in

    scores = cache.scores(plan.recipe).by_site[site.name]
    leaving = scores[~plan.keep[site.name]]
    counts: list[int] = count_in(cache.bins(plan.recipe, site.name), leaving).tolist()
    return counts


def _picked(plan: "Plan", site: "Site") -> dict[str, Any]:
    """Return how many of each bin were picked by hand, and the scores of some to mark them."""
    picks = plan.recipe.picks.get(site.name)
    if picks is None:
        return {"picked": None, "picked_counts": None}
    from pruning_core.figures.histogram import count_in

    scores = cache.scores(plan.recipe).by_site[site.name]
    bins = cache.bins(plan.recipe, site.name)
    chosen = {"keep": scores[list(picks.keep)], "prune": scores[list(picks.prune)]}
    return {
        "picked": {wish: found[:_MARKS_AT_MOST].tolist() for wish, found in chosen.items()},
        "picked_counts": {wish: count_in(bins, found).tolist() for wish, found in chosen.items()},
    }


def _numbers(plan: "Plan", site: "Site") -> None:
    """Draw threshold, count and ratio: three views of one value, each setting it exactly."""
    name, removed = site.name, plan.n_removed(site.name)
    scores = cache.scores(plan.recipe).by_site[name]

    def write(make: Any) -> Any:
        return lambda value: state.set_recipe(state.recipe().with_layer(name, make(value)))

    threshold, number, ratio, follow = st.columns([4, 3, 3, 3], vertical_alignment="bottom")
    span = float(scores.max() - scores.min())
    threshold.number_input(
        "Threshold",
        format="%.4g",
        step=span / 50 or 1e-6,
        help=explained(
            f"{plural(site.kind).capitalize()} that score below it leave.", "threshold", "site"
        ),
        value=None,
        **state.bound(
            f"own_threshold.{name}",
            plan.thresholds[name],
            write(lambda x: Threshold(value=float(x))),
        ),
    )
    number.number_input(
        "Count",
        min_value=0,
        max_value=site.n_units,
        value=None,
        **state.bound(f"own_count.{name}", removed, write(lambda x: Count(value=int(x)))),
    )
    ratio.number_input(
        "Ratio (%)",
        min_value=0.0,
        max_value=_LARGEST_SHARE,
        step=5.0,
        format="%.2f",
        value=None,
        **state.bound(
            f"own_ratio.{name}",
            min(_LARGEST_SHARE, round(100 * plan.ratio(name), 4)),
            write(lambda x: Ratio(value=round(x / 100, 8))),
        ),
    )
    _follow(plan, name, follow)


def _switch(plan: "Plan", site: "Site", pattern: "Pattern") -> None:
    """Draw the choice between the whole pattern and none: there is nothing in between."""
    follows = f"{pattern.n}:{pattern.m}"

    def write(chosen: str) -> None:
        share = 1 - pattern.n / pattern.m if chosen == follows else 0.0
        state.set_recipe(state.recipe().with_layer(site.name, Ratio(value=share)))

    choice, follow = st.columns([10, 3], vertical_alignment="bottom")
    choice.segmented_control(
        "This layer",
        ["Dense", follows],
        required=True,
        format_func=lambda key: "keeps all" if key == "Dense" else f"follows {follows}",
        help=f"Of every {pattern.m} consecutive inputs of an output the {pattern.n} highest "
        "scores stay, whatever the scores of other groups are. So there is no threshold here.",
        **state.bound("own_pattern", follows if plan.n_removed(site.name) else "Dense", write),
    )
    _follow(plan, site.name, follow)


def _follow(plan: "Plan", name: str, place: "DeltaGenerator") -> None:
    """Draw the button that gives up the own setting of a layer."""
    own = name in plan.recipe.layers or name in plan.recipe.pins
    place.button(
        "Follow global",
        disabled=not own,
        width="stretch",
        help="Give up the own setting of this layer."
        if own
        else "This layer follows the global setting already.",
        on_click=lambda: state.attempt(
            lambda: state.set_recipe(edits.all_following(state.recipe(), [name]))
        ),
    )
