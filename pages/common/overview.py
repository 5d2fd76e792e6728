"""The parts of the Model page: first layer's importance, table of layers, where the cost is."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final

import numpy as np
import streamlit as st

from pages.common import cache, charts, own_files, pictures, starter, state
from pages.common.format import count, judged, markdown, percent, plural, size
from pages.common.glossary_links import linked
from pruning_core.tasks import CLASSES

if TYPE_CHECKING:
    from pruning_core.loading.card import ModelCard
    from pruning_core.preview import Totals
    from pruning_core.tracing.network import Layer, Network

QUANTITIES: Final[Mapping[str, str]] = {"parameters": "n_params", "MACs": "macs"}


def chooser() -> None:
    """Draw the models to choose from: those of whoever started the server, and the bundled ones."""
    cards = {card.identity: card for card in cache.cards()}
    models = list(dict.fromkeys([*state.models(), *state.opened(), state.recipe().model]))
    st.radio(
        "Models",
        models,
        format_func=lambda key: markdown(own_files.title(key)),
        captions=[_caption(identity, cards.get(identity)) for identity in models],
        **state.bound("model_choice", state.recipe().model, state.choose_model),
    )


def _caption(identity: str, card: "ModelCard | None") -> str:
    """Return the line below a model to choose."""
    if card is None:
        offered = identity in starter.offer().models
        if not offered and identity in state.opened():
            return own_files.caption(identity)
        return "Offered by whoever started this server" if offered else "Named by the open recipe"
    reached = f"{_reached(card)} (n = {card.n_test:,})"
    return f"{markdown(card.data_title)} · {reached} · {count(card.n_params)} parameters"


def _reached(card: "ModelCard") -> str:
    """Say how good a bundled model is; that of classification without PyTorch."""
    if card.task == CLASSES:
        return f"accuracy {percent(card.accuracy)}"
    from pruning_core.tasks.registry import headline

    metric = headline(card.task)
    return f"{metric.name} {judged(metric, card.accuracy)}"


def first_layer(identity: str) -> None:
    """Draw heatmap and histogram of the L1 importance of the first layer's weights."""
    card = cache.card(identity)
    st.subheader(markdown(own_files.title(identity)), anchor=False)
    if card is not None:
        st.markdown(markdown(card.description))
    parameter, values = cache.first_weights(identity)
    importance = linked("importance, score", "Importance")
    st.markdown(
        f"**{importance} in the first layer**, {markdown(parameter)}: L1 norm of each weight"
    )
    left, right = st.columns(2)
    with left:
        pictures.heatmap(values, key="first_heatmap", layer=parameter, value="|w|")
    with right:
        pictures.histogram(
            values.ravel(), key="first_histogram", unit="weights", criterion="L1 norm"
        )


def totals(network: "Network", before: "Totals") -> None:
    """Draw the numbers of the whole model."""
    facts = (
        ("Parameters", count(before.params)),
        ("MACs per sample", count(before.macs) if network.has_forward else "unknown"),
        ("Weights file", size(before.n_bytes)),
        ("Layers", str(len(network.layers))),
        ("Coupled groups", str(len(network.groups))),
        ("Units that can leave", count(sum(group.n_units for group in network.groups))),
    )
    for column, (label, value) in zip(st.columns(len(facts)), facts, strict=True):
        column.metric(label, value)


def layer_table(network: "Network") -> None:
    """Draw the table of all layers."""
    layers = network.layers
    share = st.column_config.ProgressColumn
    st.subheader("Layers", anchor=False)
    st.dataframe(
        {
            "Layer": [layer.name or "(model)" for layer in layers],
            "Type": [layer.kind for layer in layers],
            "Weight shape": [_shape(layer.weight_shape) for layer in layers],
            "Output shape": [_shape(layer.output_shape) for layer in layers],
            "Parameters": [layer.n_params for layer in layers],
            "of all parameters": _shares([layer.n_params for layer in layers]),
            "MACs": [layer.macs if network.has_forward else None for layer in layers],
            "of all MACs": _shares([layer.macs for layer in layers]),
            "Bytes": [layer.n_bytes for layer in layers],
            "Coupled groups": [", ".join(layer.groups) or "none" for layer in layers],
        },
        hide_index=True,
        alt=f"Table of the {len(layers)} layers with parameters, MACs and bytes",
        column_config={
            "Parameters": st.column_config.NumberColumn(format="localized"),
            "MACs": st.column_config.NumberColumn(format="localized"),
            "Bytes": st.column_config.NumberColumn(format="localized"),
            "of all parameters": share(format="percent", min_value=0, max_value=1),
            "of all MACs": share(format="percent", min_value=0, max_value=1),
            "Coupled groups": st.column_config.TextColumn(
                help="Units of one group leave together, in every layer they touch"
            ),
        },
    )


def share_charts(network: "Network") -> None:
    """Draw where the parameters or the MACs are: nested like the modules, and sorted."""
    with st.container(horizontal=True, vertical_alignment="center"):
        st.subheader("Where it is", anchor=False)
        known = [name for name in QUANTITIES if network.has_forward or name != "MACs"]
        quantity = charts.choice("Quantity", {name: name for name in known}, key="share_of")
    where(network, quantity)


def where(
    network: "Network",
    quantity: str,
    *,
    selected: str | None = None,
    on_click: Callable[[str], None] | None = None,
) -> None:
    """Draw where one quantity is: nested like the modules, beside sorted bars.

    Args:
        network: The traced model.
        quantity: One of ``QUANTITIES``.
        selected: Name of the layer that is marked.
        on_click: Called with the name of the layer whose bar was clicked.
    """
    from pruning_core.figures.bars import bar_places, share_bars
    from pruning_core.figures.treemap import module_totals, module_treemap

    attribute = QUANTITIES[quantity]
    layers = [layer for layer in network.layers if getattr(layer, attribute)]
    names = [layer.name for layer in layers]
    values = np.array([getattr(layer, attribute) for layer in layers], np.int64)
    shown, _ = bar_places(values, falling=True)
    totals = module_totals(names, values)

    def clicked(bar: int) -> None:
        if on_click and bar < shown.size:
            on_click(names[shown[bar]])

    with st.container(key="pair_of_pictures"):
        nested, ranked = st.columns(2, gap="medium")
    bars = share_bars(
        names,
        values,
        charts.colours(),
        quantity=quantity,
        falling=True,
        selected=names.index(selected) if selected in names else None,
    )
    with nested:
        charts.show(
            module_treemap(
                names,
                values,
                charts.colours(),
                quantity=quantity,
                height=int(min(bars.layout.height, charts.TALLEST)),
            ),
            key="where_nested",
            table={"module": list(totals), quantity: list(totals.values())},
        )
    with ranked:
        charts.show(
            bars,
            key="where_ranked",
            table={"layer": names, quantity: values},
            on_click=clicked if on_click else None,
        )


def locked(network: "Network") -> None:
    """Name what cannot be removed, and why."""
    if not network.has_forward:
        st.caption(
            "Nothing is known of how these weights work together: single weights, patterns, "
            "blocks, rows and kernels can be pruned. For the rest, open them with their "
            "architecture."
        )
        return
    if network.unknown_operators:
        met = ", ".join(
            f"{markdown(name)} ({times} {plural('time', times)})"
            for name, times in network.unknown_operators.items()
        )
        st.warning(f"Operators without a rule, so the units they touch stay: {met}.")
    fixed = [
        layer.name or "(model)"
        for layer in network.layers
        if layer.n_params and not _makes(layer, network)
    ]
    if fixed:
        st.caption(
            f"Outputs that always stay, because the result of the model depends on their number: "
            f"{markdown(', '.join(fixed))}. Their single weights can still be pruned."
        )


def _makes(layer: "Layer", network: "Network") -> bool:
    """Tell whether a group has units along the outputs of the layer."""
    return any(
        member.axis == 0 and member.parameter in layer.parameters
        for group in network.groups
        for member in group.members
    )


def _shape(shape: tuple[int, ...] | None) -> str:
    return "none" if shape is None else " × ".join(map(str, shape))


def _shares(values: list[int]) -> list[float]:
    total = max(1, sum(values))
    return [value / total for value in values]
