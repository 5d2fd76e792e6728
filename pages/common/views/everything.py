"""All layers at once: their scores, their widths, what they save, and where the cost is.

One picture is shown at a time, and only that one is computed.
"""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import streamlit as st

from pages.common import cache, charts, overview, state
from pages.common.format import count, markdown, plural, size

if TYPE_CHECKING:
    from pruning_core.figures.ridgeline import Spread
    from pruning_core.planning.plan import Plan
    from pruning_core.preview import Preview

TITLE: Final = "All layers"
_ROWS: Final = 48
_QUANTITIES: Final[Mapping[str, tuple[str, str, str]]] = {
    "params": ("Parameters", "parameters", ""),
    "nonzero": ("Non-zeros", "non-zeros", ""),
    "macs": ("MACs", "MACs", ""),
    "n_bytes": ("Bytes", "file bytes", "B"),
}


def show(plan: "Plan", counted: "Preview", selected: str) -> None:
    """Draw the choice of pictures and the chosen one."""
    with st.container(horizontal=True, vertical_alignment="center", key="all_choices"):
        picture = charts.choice(
            "Picture", {key: title for key, (title, _) in _PICTURES.items()}, key="all_picture"
        )
        options = st.container(horizontal=True, vertical_alignment="center")
    _PICTURES[picture][1](plan, counted, selected, options)


def _select(plan: "Plan", *names: str) -> None:
    """Select what the plan prunes under one of ``names``, the first that is known.

    Args:
        plan: The plan.
        names: Of a group, a parameter or a layer; where nothing is pruned, a message says so.
    """
    sites = cache.sites(plan.recipe).values()
    known = [name for name in names if name]
    own = [s.name for name in known for s in sites if name in {s.name, s.parameter, s.layer}]
    touched = [s.name for name in known for s in sites if name in s.layers]
    if own or touched:
        state.select_layer((own or touched)[0])
    else:
        st.toast(markdown(f"Nothing of {names[-1] or '(model)'} can be pruned in this way."))


def _scores(plan: "Plan", counted: "Preview", selected: str, options: Any) -> None:  # noqa: ARG001
    """Draw how the scores of all layers are spread."""
    from pruning_core.figures.ridgeline import FEW_LAYERS, Frame, percentile_strip, ridgeline

    with options:
        scale = charts.choice(
            "Scale", {"own": "Each layer's own scale", "raw": "Raw scores"}, key="scores_scale"
        )
    sites = cache.sites(plan.recipe)
    spreads = _spreads(plan)
    marked = next((row for row, spread in enumerate(spreads) if spread.name == selected), None)
    rows = _window(len(spreads), marked, options)
    units = list(dict.fromkeys(site.kind for site in sites.values()))
    frame = Frame(
        charts.colours(),
        plural(units[0]) if len(units) == 1 else "units",
        cache.registry("criteria")[plan.recipe.criterion].title,
        scale == "own",
        marked,
        rows,
    )
    if len(spreads) <= FEW_LAYERS:
        figure = ridgeline(spreads, [cache.bins(plan.recipe, s.name) for s in spreads], frame)
    else:
        figure = percentile_strip(spreads, frame)
    columns = ("lowest", "5 %", "25 %", "median", "75 %", "95 %", "highest")
    charts.show(
        figure,
        key="all_scores",
        table={
            "layer": [spread.name for spread in spreads],
            "units": [spread.n_units for spread in spreads],
            "leave": [spread.n_removed for spread in spreads],
            "cut": [spread.drawn_cut for spread in spreads],
            **{
                column: [float(spread.quantiles[place]) for spread in spreads]
                for place, column in enumerate(columns)
            },
        },
        on_click=lambda row: state.select_layer(spreads[rows[row]].name),
    )
    if cache.registry("granularities")[plan.recipe.granularity].pattern is not None:
        st.caption(
            "Under a pattern a unit is compared with those of its own small group only, so no "
            "layer has one score at which it is cut."
        )


def _spreads(plan: "Plan") -> "list[Spread]":
    """Return how the scores of each layer are spread, in execution order."""
    from pruning_core.figures.ridgeline import Spread

    recipe = plan.recipe
    pattern = cache.registry("granularities")[recipe.granularity].pattern
    found = cache.quantiles(recipe)
    return [
        Spread(
            site.name,
            found[site.name],
            None if pattern is not None else plan.thresholds[site.name],
            plan.n_removed(site.name),
            site.n_units,
        )
        for site in cache.sites(recipe).values()
    ]


def _window(total: int, marked: int | None, place: Any) -> range:
    """Return the rows that are drawn: all of few, else those around the selected layer, or chosen.

    A browser takes seconds to draw hundreds of rows with their names.
    """
    if total <= _ROWS:
        return range(total)
    first = (marked or 0) // _ROWS
    with place:
        chosen = st.selectbox(
            "Layers shown",
            range(-(-total // _ROWS)),
            index=first,
            format_func=lambda n: (
                f"Layers {n * _ROWS + 1} to {min(total, (n + 1) * _ROWS)} of {total}"
            ),
            key=f"rows_of_{total}_{first}",
            label_visibility="collapsed",
            width=240,
        )
    return range(chosen * _ROWS, min(total, (chosen + 1) * _ROWS))


def _widths(plan: "Plan", counted: "Preview", selected: str, options: Any) -> None:  # noqa: ARG001
    """Draw the network as ribbons as wide as what is left of each layer."""
    from pruning_core.figures.ribbons import letters, network_ribbons

    with options:
        scale = charts.choice(
            "Scale", {"linear": "Linear", "log": "Logarithmic"}, key="widths_scale"
        )
    ribbons = cache.ribbons(plan.recipe)
    site = cache.sites(plan.recipe)[selected]
    own = {site.parameter, site.name, site.layer}
    marked = next(
        (row for row, each in enumerate(ribbons) if {each.parameter, each.name} & own), None
    )
    rows = _window(len(ribbons), marked, options)
    names = letters(ribbons)
    charts.show(
        network_ribbons(ribbons, charts.colours(), log=scale == "log", selected=marked, shown=rows),
        key="ribbons",
        table={
            "layer": [ribbon.name for ribbon in ribbons],
            "outputs": [ribbon.dense for ribbon in ribbons],
            "planned": [ribbon.kept for ribbon in ribbons],
            "coupled group": [names.get(ribbon.group, "") for ribbon in ribbons],
            "made with": [ribbon.group for ribbon in ribbons],
        },
        on_click=lambda row: _select(
            plan, *(getattr(ribbons[rows[row]], name) for name in ("parameter", "group", "layer"))
        ),
    )
    about = (
        "Layers with the same letter have coupled outputs: a unit leaves all of them together."
        if names
        else "No two layers share their outputs."
    )
    masked = not cache.registry("granularities")[plan.recipe.granularity].removes
    st.caption(
        f"{about} An output counts as gone when all its weights are zero; the shapes stay."
        if masked
        else about
    )


def _savings(plan: "Plan", counted: "Preview", selected: str, options: Any) -> None:
    """Draw the waterfall from dense to planned."""
    from pruning_core.figures.waterfall import gather, waterfall
    from pruning_core.savings import by_layer

    in_turn = cache.savings_in_turn(plan.recipe)
    part = "layer"
    with options:
        key = charts.choice(
            "Quantity",
            {name: title for name, (title, *_) in _QUANTITIES.items()},
            key="savings_of",
        )
        if in_turn is not None:
            coupled = cache.registry("granularities")[plan.recipe.granularity].coupled
            turn = "group" if coupled else "branch"
            part = charts.choice(
                "By", {"layer": "By layer", turn: f"By {turn}"}, key=f"savings_by_{turn}"
            )
    _, word, unit = _QUANTITIES[key]
    before, after = (int(getattr(totals, key)) for totals in (counted.before, counted.after))
    if before == after:
        st.info(_nothing(plan, size(before) if unit else f"{count(before)} {word}"))
        return
    savings = by_layer(counted) if part == "layer" or in_turn is None else in_turn
    saved = np.array([getattr(each, key) for each in savings.saved], np.int64)
    rest = int(getattr(savings.rest, key))
    rest_name = "header and buffers" if unit else "other parts of the recipe"
    steps = gather(savings.names, saved, rest, word=plural(part), rest_name=rest_name)

    def clicked(bar: int) -> None:
        place = steps.places[bar - 1] if 0 < bar <= len(steps.places) else -1
        if place >= 0:
            _select(plan, savings.names[place])

    charts.show(
        waterfall(
            steps,
            before,
            after,
            charts.colours(),
            quantity=word,
            unit=unit,
            selected=savings.names.index(selected) if selected in savings.names else None,
        ),
        key="savings",
        table={
            part: [*savings.names, rest_name],
            f"{word} saved": [*saved.tolist(), rest],
            "share of the saving": (np.append(saved, rest) / (before - after)).tolist(),
        },
        on_click=clicked,
    )
    if part != "layer":
        st.caption(
            f"A {part} is counted when those above it are gone already: what two of them share "
            "leaves with the first. So all add up to the total exactly."
        )


def _nothing(plan: "Plan", everything: str) -> str:
    """Say why a quantity does not change."""
    if not any(plan.n_removed(site) for site in plan.keep):
        return f"Nothing leaves yet: all {everything} stay. Raise the share above."
    return (
        f"All {everything} stay: this plan sets weights to zero, and the shapes stay as they are. "
        "Look at the non-zeros, or prune units."
    )


def _where(plan: "Plan", counted: "Preview", selected: str, options: Any) -> None:  # noqa: ARG001
    """Draw where parameters and MACs of the dense network are."""
    with options:
        quantity = charts.choice(
            "Quantity", {name: name for name in overview.QUANTITIES}, key="where_of"
        )
    network = cache.network(plan.recipe.model)
    site = cache.sites(plan.recipe)[selected]
    overview.where(
        network,
        quantity,
        selected=site.layer,
        on_click=lambda layer: _select(plan, layer),
    )


_PICTURES: Final[Mapping[str, tuple[str, Callable[["Plan", "Preview", str, Any], None]]]] = {
    "scores": ("Scores", _scores),
    "widths": ("Widths", _widths),
    "savings": ("Savings", _savings),
    "where": ("Where the cost is", _where),
}
