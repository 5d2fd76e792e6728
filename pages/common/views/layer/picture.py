"""The weights of the selected layer as a picture: sorted, enlarged, with what leaves marked."""

from typing import TYPE_CHECKING, Any, Final

import streamlit as st

from pages.common import cache, pictures, state
from pages.common.components import mount_heatmap
from pages.common.format import significant
from pages.common.glossary_links import explained

if TYPE_CHECKING:
    from pruning_core.figures.matrix import Form, LineOrder
    from pruning_core.figures.portrait import Look, Portrait
    from pruning_core.granularities import Site
    from pruning_core.planning.plan import Plan
    from pruning_core.planning.recipe import Recipe

_KEY: Final = "layer_heatmap"
_WINDOW: Final = "heatmap_window"
_KERNEL: Final = "heatmap_kernel"
_HEIGHT: Final = 352
_ORDERS: "Final[dict[LineOrder, str]]" = {
    "index": "as stored",
    "score": "by score",
    "sum": "by sum",
}
_LARGEST_KERNEL: Final = 4096
_IDS_AT_MOST: Final = 256
_HOLD_KERNELS: Final = ("kernel", "row", "column")  # units that no kernel is cut by


def show(plan: "Plan", site: "Site") -> None:
    """Draw the weights of the layer, or of one it is coupled with, and what leaves of them."""
    from pruning_core.figures.matrix import layer_matrix, parameters_of

    network = cache.network(plan.recipe.model)
    choices = (site.parameter,) if site.parameter else parameters_of(network, site.layers)
    if not choices:
        st.caption("No layer that these units belong to has a weight matrix to draw.")
        return
    parameter = choices[0]
    with st.container(horizontal=True, vertical_alignment="bottom"):
        if len(choices) > 1:
            parameter = st.selectbox(
                "Weights shown",
                choices,
                key=f"shown_parameter_{site.name}",
                persist_state="session",
                help=explained(
                    "Every tensor that shrinks when units of this layer leave.", "coupled", "slice"
                ),
            )
        else:
            st.markdown(f"**Weights of** `{parameter}`" if "`" not in parameter else "**Weights**")
            st.space("stretch")
        look, of_model = _options(plan.recipe, site, parameter)
    seen = cache.portrait(plan.recipe, parameter, look)
    data = _data(plan, seen, of_model=of_model)
    mount_heatmap(
        key=_KEY,
        data=data,
        on_zoom_change=lambda: state.attempt(_zoom),
        on_cell_change=lambda: state.attempt(_open_kernel),
    )
    if st.button("Enlarge", key=f"{_KEY}_enlarge", type="tertiary", icon=":material/open_in_full:"):
        matrix = layer_matrix(network, parameter, plan, single_weights=look.single_weights)
        pictures.enlarged_heatmap(matrix.values, matrix.removed, parameter, matrix.value)


def _options(recipe: "Recipe", site: "Site", parameter: str) -> "tuple[Look, bool]":
    """Draw the choices of order, sign and scale; return the look, and True for one scale."""
    from pruning_core.figures.portrait import Look
    from pruning_core.figures.raster import Window

    by_units = bool(cache.registry("granularities")[recipe.granularity].coupled)
    orders: list[LineOrder] = [key for key in _ORDERS if key != "score" or by_units]
    with st.popover("View", icon=":material/tune:", key="heatmap_options"):
        chosen = [
            st.selectbox(
                f"{lines} in order",
                orders,
                format_func=_ORDERS.__getitem__,
                key=f"heatmap_{lines.lower()}_{by_units}",
                persist_state="session",
                help="The highest come first. Rows of one unit keep together.",
            )
            for lines in ("Rows", "Columns")
        ]
        signed = st.toggle(
            "Weights with their sign",
            key="heatmap_signed",
            persist_state="session",
            help="Red is positive, blue negative, white zero. Each weight is a cell of its own.",
        )
        of_model = st.toggle(
            "One scale for the whole model",
            key="heatmap_scale",
            persist_state="session",
            help="Colours mean the same in every layer.",
        )
    where, *edges = st.session_state.get(_WINDOW, ("",))
    window = Window((edges[0], edges[1]), (edges[2], edges[3])) if where == parameter else None
    single = bool(site.parameter) and site.kind not in _HOLD_KERNELS
    return Look(single, signed, chosen[0], chosen[1], window), of_model


def _data(plan: "Plan", seen: "Portrait", *, of_model: bool) -> dict[str, Any]:
    """Return what the component shows, as plain data."""
    network = cache.network(plan.recipe.model)
    gone, title = seen.covered_by(network, plan)
    form, raster, value = seen.form, seen.raster, seen.value
    data = pictures.raster_data(
        raster, gone, layer=form.parameter, value=value, title=title, words=form.words
    )
    signed = value == "weight"
    if of_model:
        data["high"] = cache.largest(plan.recipe.model, kernels=form.sums_kernels)
        data["low"] = 0.0
    if signed:
        data["high"] = max(abs(data["low"]), data["high"])
        data["low"] = -data["high"]
    orders = (seen.arrangement.rows, seen.arrangement.columns)
    spans = (raster.window.rows, raster.window.columns)
    if form.per_column > 1:
        data["x_title"] = data["x_title"].replace("input", "input and kernel position", 1)
    if form.gates:
        data["y_title"] = "hidden unit, gate by gate"
    return data | {
        "height": _HEIGHT,
        "parameter": form.parameter,
        "signed": signed,
        "zoomable": True,
        "sums": [pictures.encoded(raster.row_sums), pictures.encoded(raster.column_sums)],
        "sorted": [order is not None for order in orders],
        "ids": [
            order[slice(*span)].tolist()
            if order is not None and span[1] - span[0] <= _IDS_AT_MOST
            else None
            for order, span in zip(orders, spans, strict=True)
        ],
        "gates": list(form.gates),
        "per_column": form.per_column,
        "kernel": list(form.kernel),
        "hint": _hint(form),
        "picture": _kernel(plan, form),
    }


def _hint(form: "Form") -> str:
    hint = "Point at a cell to read it; drag a box to zoom in."
    return hint + (" Click a cell to see its kernel." if form.kernel else "")


def _kernel(plan: "Plan", form: "Form") -> dict[str, Any] | None:
    """Return the kernel that was clicked, if it is one of this parameter."""
    from pruning_core.figures.matrix import kernel_of

    where, row, column = st.session_state.get(_KERNEL, ("", 0, 0))
    is_there = row < form.box[0] and column < form.box[1]
    if where != form.parameter or not is_there or not 0 < form.box[2] <= _LARGEST_KERNEL:
        return None
    kernel = kernel_of(cache.network(plan.recipe.model), form, row, column)
    depth, height, width = (1,) * (3 - kernel.ndim) + kernel.shape
    size = " x ".join(map(str, kernel.shape))
    norm = significant(float(abs(kernel).sum()), 3)
    return {
        "row": row,
        "column": column,
        "slices": depth,
        "height": height,
        "width": width,
        "values": kernel.ravel().tolist(),
        "text": f"Kernel from input {column} to output {row}: {size}, L1 norm {norm}",
    }


def _zoom() -> None:
    wish = st.session_state[_KEY]["zoom"]
    if wish["window"] is None:
        st.session_state.pop(_WINDOW, None)
    else:
        st.session_state[_WINDOW] = (str(wish["parameter"]), *map(int, wish["window"]))


def _open_kernel() -> None:
    wish = st.session_state[_KEY]["cell"]
    if wish["parameter"]:
        place = (max(0, int(wish["row"])), max(0, int(wish["column"])))
        st.session_state[_KERNEL] = (str(wish["parameter"]), *place)
    else:
        st.session_state.pop(_KERNEL, None)
