"""Static: weights and activations in int8, with ranges watched on calibration data."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pruning_core.errors import MissingEvidenceError
from pruning_core.quantising.quantiser import QUANTISERS, Calibration, Feed, Quantiser
from pruning_core.quantising.stored import store_weights

if TYPE_CHECKING:
    from onnxruntime.quantization import CalibrationDataReader


def quantise(source: Path, target: Path, calibration: Calibration | None) -> Sequence[str]:
    """Quantise weights and activations; store what has no int8 operator (recurrent layers) so."""
    import onnx
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static

    if calibration is None:
        raise MissingEvidenceError("Static quantisation watches activations: it needs data.")
    quantize_static(
        source,
        target,
        _reader(calibration()),
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
    )
    model = onnx.load(target)
    stored = store_weights(model)
    onnx.save(model, target)
    return stored


def _reader(batches: Iterator[Feed]) -> "CalibrationDataReader":
    """Return the batches in the form that onnxruntime asks for; it ends with None."""
    from onnxruntime.quantization import CalibrationDataReader

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def get_next(self) -> Feed | None:
            return next(batches, None)

    return Reader()


QUANTISERS.add(
    "static",
    Quantiser(
        key="static",
        title="Static",
        description="Weights and activations in int8; the ranges of activations are watched on "
        "calibration samples of the training split. The kind for convolutions. Recurrent layers "
        "have no int8 operator: their weights are stored as int8 and computed in float32.",
        source="Jacob et al. 2018, arXiv:1712.05877; onnxruntime.quantization.quantize_static",
        quantise=quantise,
        needs_data=True,
    ),
)
