"""Weights that are stored as int8 and turned into float32 where they are used."""

from collections.abc import Mapping
from typing import Any, Final

import numpy as np

AXES: Final[Mapping[str, Mapping[int, int]]] = {
    "Conv": {1: 0},
    "ConvTranspose": {1: 1},
    "Gemm": {1: 1},
    "MatMul": {1: -1},
    "GRU": {1: 1, 2: 1},
    "LSTM": {1: 1, 2: 1},
    "RNN": {1: 1, 2: 1},
    "Gather": {0: 0},
}
"""Operator -> input that is a weight -> axis of its output channels (rows, for a table)."""


def store_weights(model: Any) -> tuple[str, ...]:
    """Store every float32 weight of ``model`` that an operator of ``AXES`` reads as int8.

    Each output channel has a scale of its own, and zero stays exactly zero, so masks stay masks.
    What the operators compute with is ``scale * int8``, by a DequantizeLinear before each.

    Args:
        model: An ``onnx.ModelProto``; it is changed.

    Returns:
        Names of the weights.
    """
    from onnx import helper

    graph = model.graph
    weights = {item.name: item for item in graph.initializer if _is_weight(item)}
    stored: dict[str, int] = {}
    for node in graph.node:
        for place, axis in AXES.get(node.op_type, {}).items():
            name = node.input[place] if place < len(node.input) else ""
            along = _axis(node, axis, len(weights[name].dims)) if name in weights else 0
            if name in weights and stored.setdefault(name, along) == along:
                node.input[place] = f"{name}_dequantized"
    added = []
    for name, axis in stored.items():
        parts = _quantised(weights[name], axis)
        graph.initializer.extend(parts)
        inputs = [part.name for part in parts]
        output = f"{name}_dequantized"
        added.append(helper.make_node("DequantizeLinear", inputs, [output], output, axis=axis))
    nodes = [*added, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
    _drop_unused(graph, stored)
    return tuple(stored)


def _is_weight(item: Any) -> bool:
    from onnx import TensorProto

    return item.data_type == TensorProto.FLOAT and len(item.dims) >= 2


def _axis(node: Any, axis: int, rank: int) -> int:
    if node.op_type == "Gemm" and any(a.name == "transB" and a.i for a in node.attribute):
        return 0
    return axis % rank


def _quantised(weight: Any, axis: int) -> list[Any]:
    """Return the int8 tensor, its scales and its zero points (all 0), one for each channel."""
    from onnx import TensorProto, numpy_helper
    from onnxruntime.quantization.quant_utils import (
        compute_data_quant_params,
        quantize_onnx_initializer,
    )

    values = numpy_helper.to_array(weight)
    scales = np.array(
        [
            float(compute_data_quant_params(values.take(i, axis), TensorProto.INT8, True)[1])
            for i in range(values.shape[axis])
        ],
        np.float32,
    )
    zeros = np.zeros(len(scales), np.int8)
    return [
        quantize_onnx_initializer(weight, TensorProto.INT8, zeros, scales, axis),
        numpy_helper.from_array(scales, f"{weight.name}_scale"),
        numpy_helper.from_array(zeros, f"{weight.name}_zero_point"),
    ]


def _drop_unused(graph: Any, stored: Mapping[str, int]) -> None:
    """Take the float weights away that nothing reads any more."""
    read = {name for node in graph.node for name in node.input}
    for item in [item for item in graph.initializer if item.name in stored]:
        if item.name not in read:
            graph.initializer.remove(item)
