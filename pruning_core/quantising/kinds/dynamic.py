"""Dynamic: matrix products in int8, the range of activations measured at every call."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from pruning_core.quantising.quantiser import QUANTISERS, UNPACK_ONCE, Calibration, Quantiser
from pruning_core.quantising.stored import store_weights

_OPERATORS: Final = ("MatMul", "LSTM", "Attention")
"""Gemm becomes MatMul. Convolutions would run, but about ten times slower than in float32."""


def quantise(source: Path, target: Path, _: Calibration | None) -> Sequence[str]:
    """Multiply matrices in int8 and only store the other weights so."""
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    quantize_dynamic(
        source,
        target,
        op_types_to_quantize=list(_OPERATORS),
        per_channel=True,
        weight_type=QuantType.QInt8,
    )
    model = onnx.load(target)
    stored = store_weights(model)
    onnx.save(model, target)
    return stored


QUANTISERS.add(
    "dynamic",
    Quantiser(
        key="dynamic",
        title="Dynamic",
        description="Multiplies matrices with weights in int8 and measures the range of their "
        "inputs at every call, so it needs no data. Convolutions, recurrent layers and products "
        "of two activations are still computed in float32; their weights are stored as int8.",
        source="onnxruntime.quantization.quantize_dynamic",
        quantise=quantise,
        session=UNPACK_ONCE,
    ),
)
