"""The parts of the Model page: first layer's importance, table of layers, where the cost is."""

from typing import TYPE_CHECKING

import numpy as np
import streamlit as st

from pages.common import cache, charts
from pages.common.format import markdown, plural

if TYPE_CHECKING:
    from pruning_core.tracing.network import Layer, Network


def data_title(key: str) -> str:
    """Return the title of a data set."""
    return str(cache.registry("datasets")[key].title)


def first_layer(network: "Network") -> None:
    """Draw heatmap and histogram of the L1 importance of the first layer's weights."""
    from pruning_core.figures.heatmap import importance_heatmap, pool_max
    from pruning_core.figures.histogram import bin_scores, score_histogram
    from pruning_core.figures.matrix import layer_matrix

    parameter = network.weights[0]
    matrix = layer_matrix(network, parameter, single_weights=True)
    palette = charts.colours()
    st.markdown(f"**Importance in the first layer**, {markdown(parameter)}: L1 norm of each weight")
    left, right = st.columns(2)
    with left:
        pooled = pool_max(matrix.values)
        charts.show(
            importance_heatmap(matrix.values, palette, layer=parameter, value=matrix.value),
            key="first_heatmap",
            table={str(column): pooled[:, column] for column in range(pooled.shape[1])},
        )
    with right:
        scores = matrix.values.ravel()
        bins = bin_scores(scores)
        charts.show(
            score_histogram(scores, palette, unit="weights", criterion="L1 norm", height=340),
            key="first_histogram",
            table={"from": bins.edges[:-1], "to": bins.edges[1:], "weights": bins.counts},
        )


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
            "MACs": [layer.macs for layer in layers],
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
    """Draw where the parameters and the MACs are."""
    from pruning_core.figures.bars import share_bars

    layers = [layer for layer in network.layers if layer.n_params or layer.macs]
    names = [layer.name for layer in layers]
    quantities = {
        "parameters": np.array([layer.n_params for layer in layers], np.int64),
        "MACs": np.array([layer.macs for layer in layers], np.int64),
    }
    for column, (quantity, values) in zip(st.columns(2), quantities.items(), strict=True):
        with column:
            charts.show(
                share_bars(names, values, charts.colours(), quantity=quantity),
                key=f"share_{quantity}",
                table={"layer": names, quantity: values},
            )


def locked(network: "Network") -> None:
    """Name what cannot be removed, and why."""
    if network.unknown_operators:
        met = ", ".join(
            f"{markdown(name)} ({times} {plural('time', times)})"
            for name, times in network.unknown_operators.items()
        )
        st.warning(f"Operators without a rule, so the units they touch stay: {met}.")
    fixed = [
        layer.name for layer in network.layers if layer.n_params and not _makes(layer, network)
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
