"""All layers at once: their scores, their widths, what they save, and where the cost is.

One picture is shown at a time, and only that one is computed.
"""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import streamlit as st

from pages.common import cache, charts, overview, state
from pages.common.format import count, plural, size

if TYPE_CHECKING:
    from pruning_core.planning.plan import Plan
    from pruning_core.preview import Preview

TITLE: Final = "All layers"
_QUANTITIES: Final[Mapping[str, tuple[str, str, str]]] = {
    "params": ("Parameters", "parameters", ""),
    "nonzero": ("Non-zeros", "non-zeros", ""),
    "macs": ("MACs", "MACs", ""),
    "n_bytes": ("Bytes", "file bytes", "B"),
}


def show(plan: "Plan", counted: "Preview", selected: str) -> None:
    """Draw the choice of pictures and the chosen one."""
    with st.container(horizontal=True, vertical_alignment="center", key="all_choices"):
        picture = _choice("Picture", {key: title for key, (title, _) in _PICTURES.items()}, "all")
        options = st.container(horizontal=True, vertical_alignment="center")
    _PICTURES[picture][1](plan, counted, selected, options)


def _choice(label: str, titles: Mapping[str, str], key: str) -> str:
    """Draw a choice that keeps its value while other pictures or pages are shown."""
    return str(
        st.segmented_control(
            label,
            list(titles),
            format_func=lambda option: titles[option],
            default=next(iter(titles)),
            required=True,
            label_visibility="collapsed",
            key=f"{key}_{label.lower().replace(' ', '_')}",
            persist_state="session",
        )
    )


def _select(plan: "Plan", layer: str) -> None:
    """Select what the plan prunes in ``layer``; a layer it prunes nothing in says so."""
    sites = cache.sites(plan.recipe).values()
    found = [site.name for site in sites if layer in {site.name, site.layer, site.parameter}]
    found += [site.name for site in sites if layer in site.layers]
    if found:
        state.select_layer(found[0])
    else:
        st.toast(f"Nothing of {layer or 'the model itself'} can be pruned in this way.")


def _savings(plan: "Plan", counted: "Preview", selected: str, options: Any) -> None:
    """Draw the waterfall from dense to planned."""
    from pruning_core.figures.waterfall import gather, waterfall
    from pruning_core.savings import by_layer

    in_turn = cache.savings_in_turn(plan.recipe)
    part = "layer"
    with options:
        key = _choice("Quantity", {name: title for name, (title, *_) in _QUANTITIES.items()}, "of")
        if in_turn is not None:
            coupled = cache.registry("granularities")[plan.recipe.granularity].coupled
            turn = "group" if coupled else "branch"
            part = _choice("By", {"layer": "By layer", turn: f"By {turn}"}, f"savings_{turn}")
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
        quantity = _choice("Of", {name: name for name in overview.QUANTITIES}, "where")
    network = cache.network(plan.recipe.model)
    site = cache.sites(plan.recipe)[selected]
    overview.where(
        network,
        quantity,
        selected=site.layer,
        on_click=lambda layer: _select(plan, layer),
    )


_PICTURES: Final[Mapping[str, tuple[str, Callable[["Plan", "Preview", str, Any], None]]]] = {
    "savings": ("Savings", _savings),
    "where": ("Where the cost is", _where),
}
