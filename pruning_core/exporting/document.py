"""The numbers of a run as one JSON document (``report.json``); every report is drawn from it."""

import base64
import math
import zlib
from collections.abc import Mapping
from dataclasses import asdict, fields, is_dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from pruning_core.evaluation.evaluate import INTERVAL_METHODS
from pruning_core.exporting.result import Quantised, RunResult
from pruning_core.exporting.titles import model_name
from pruning_core.tasks import CLASSES
from pruning_core.tasks.registry import TASKS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pruning_core.evaluation.evaluate import Evaluation
    from pruning_core.evaluation.latency import Comparison
    from pruning_core.preview import LayerCost, Totals
    from pruning_core.tuning.finetune import EpochResult

DOCUMENT_VERSION: Final = 1
METRICS: Final = (
    "accuracy",
    "top5",
    "precision",
    "recall",
    "f1",
    "calibration_error",
    "loss",
    "n",
)
STAGES: Final = ("dense", "pruned", "tuned")

Document = dict[str, Any]


def run_document(result: RunResult) -> Document:
    """Return everything a run measured as JSON-ready data; null where nothing was measured.

    ``after`` is what was counted on the real pruned module. ``keep`` holds the masks (see
    :func:`pack_mask`), so that a run folder is enough to rebuild the pruned network; ``kept`` leads
    from each smaller tensor to the original indices of each axis, null where the axis is whole.
    """
    before, after = result.preview.before, result.counted
    evaluations = {stage: getattr(result, stage) for stage in STAGES}
    task = CLASSES if result.data is None else result.data.task
    card = result.model.card
    document = {
        "version": DOCUMENT_VERSION,
        "model": result.model.identity,
        "model_title": card.title if card else model_name(result.model.identity),
        "model_sha256": result.model.weights_sha256,
        "recipe_fingerprint": result.recipe.fingerprint,
        "mask_fingerprint": result.plan.fingerprint,
        **{
            name: {"before": value, "after": totals_document(after)[name]}
            for name, value in totals_document(before).items()
        },
        **{
            metric: {
                stage: None if found is None else getattr(found, metric)
                for stage, found in evaluations.items()
            }
            for metric in METRICS
        },
        "details": {
            stage: None if found is None else _details(found)
            for stage, found in evaluations.items()
        },
        "task": task,
        "interval_methods": dict(INTERVAL_METHODS)
        if TASKS[task].counts_classes
        else {metric.key: metric.interval for metric in TASKS[task].metrics},
        "layers": [layer_document(layer) for layer in result.preview.layers],
        "rounds_kept": result.rounds_kept,
        "epochs": [epoch_document(epoch) for epoch in result.epochs],
        "seconds": dict(result.seconds),
        "environment": dict(result.environment),
        "data": None if result.data is None else asdict(result.data),
        "surgery": {"form": result.surgery.form, "reason": result.surgery.reason},
        "onnx": {
            "max_abs_difference": result.onnx.max_abs_difference if result.onnx else None,
            "n": result.onnx.n if result.onnx else None,
        },
        "quantised": None if result.quantised is None else _quantised(result.quantised),
        "problems": dict(result.problems),
        "notes": {site: list(texts) for site, texts in result.plan.notes.items()},
        "thresholds": dict(result.plan.thresholds),
        "kept": dict(result.surgery.kept),
        "keep": {site: pack_mask(mask) for site, mask in result.plan.keep.items()},
    }
    return {key: plain(value) for key, value in document.items()}


def epoch_document(epoch: "EpochResult") -> Document:
    """Return one epoch; what other tasks than classification are judged by is called score."""
    found: Document = plain(epoch)
    if TASKS[found.pop("task")].counts_classes:
        return found
    return {name.replace("accuracy", "score"): value for name, value in found.items()}


def totals_document(totals: "Totals") -> dict[str, int]:
    """Return the four totals under the names used in every JSON answer."""
    return {
        "params": totals.params,
        "nonzero": totals.nonzero,
        "macs": totals.macs,
        "bytes": totals.n_bytes,
    }


def layer_document(layer: "LayerCost") -> Document:
    """Return one layer's name, kind and totals before and after."""
    return {
        "name": layer.name,
        "kind": layer.kind,
        "before": totals_document(layer.before),
        "after": totals_document(layer.after),
    }


def comparison_document(found: "Comparison") -> Document:
    """Return two networks timed in turns: milliseconds before and after, and their ratio."""
    return {
        "backend": found.backend,
        "batch_size": found.batch_size,
        "threads": found.threads,
        "n": found.n,
        "before": plain(found.dense),
        "after": plain(found.pruned),
        "ratio": found.ratio,
        "ratio_low": found.ratio_low,
        "ratio_high": found.ratio_high,
        "verdict": found.verdict,
    }


def pack_mask(mask: "NDArray[np.bool_]") -> Document:
    """Return a mask ``[U]`` as its length and its deflated bits in base64."""
    bits = zlib.compress(np.packbits(mask).tobytes(), level=9)
    return {"n": int(mask.size), "bits": base64.b64encode(bits).decode("ascii")}


def unpack_mask(packed: Mapping[str, Any]) -> "NDArray[np.bool_]":
    """Return the mask that :func:`pack_mask` packed.

    Raises:
        ValueError: If the bits are damaged or do not hold ``n`` values.
    """
    n = packed["n"]
    if not isinstance(n, int) or not 0 <= n <= 10**9:
        raise ValueError(f"a mask of {n!r} units")
    inflate = zlib.decompressobj()
    try:
        raw = inflate.decompress(base64.b64decode(packed["bits"], validate=True), n // 8 + 2)
    except zlib.error as error:
        raise ValueError(f"a damaged mask ({error})") from error
    bits = np.unpackbits(np.frombuffer(raw, dtype=np.uint8))
    if len(raw) != (n + 7) // 8:
        raise ValueError(f"a mask of {bits.size} bits where {n} units were promised")
    return bits[:n].astype(bool)


def plain(value: Any) -> Any:
    """Return ``value`` as what JSON can hold; a number that is not finite becomes None."""
    if is_dataclass(value) and not isinstance(value, type):
        value = {item.name: getattr(value, item.name) for item in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def _quantised(found: Quantised) -> Document:
    """Return what was measured of the int8 file; its bytes are a file of their own."""
    names = ("kind", "float_bytes", "int8_bytes", "n_int8", "n_float", "stored", "left", "session")
    sides = {"before": found.before, "after": found.after}
    return {
        **{name: getattr(found, name) for name in names},
        "n_calibration": found.n_calibration,
        **{
            side: None
            if metrics is None
            else {metric: getattr(metrics, metric) for metric in METRICS}
            | {"task": metrics.task}
            | _details(metrics)
            for side, metrics in sides.items()
        },
        "agreement": found.agreement,
        "change": found.change,
        "speed": [comparison_document(speed) for speed in found.speed],
    }


def _details(found: "Evaluation") -> Document:
    of_classes = TASKS[found.task].counts_classes
    return {
        "accuracy_interval": list(found.accuracy_interval) if of_classes else None,
        "intervals": plain(found.intervals),
        **({} if of_classes else {"values": plain(found.values)}),
        "per_class": [plain(item) for item in found.per_class],
        "confusion": plain(found.confusion),
    }
