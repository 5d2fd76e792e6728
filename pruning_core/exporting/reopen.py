"""A run folder back into a run result: nothing is trusted that does not fit together."""

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from pruning_core.errors import ExportError, PruningError
from pruning_core.evaluation.evaluate import Evaluation, from_confusion
from pruning_core.evaluation.intervals import Interval
from pruning_core.evaluation.latency import Comparison, Timing
from pruning_core.exporting.document import DOCUMENT_VERSION, METRICS, STAGES, Document, unpack_mask
from pruning_core.exporting.metric_table import task_of
from pruning_core.exporting.result import DataSummary, OnnxCheck, Quantised, RunResult
from pruning_core.loading.model import LoadedModel, data_for, load_model
from pruning_core.loading.weights import read_weights
from pruning_core.loading.weights_only import names_in_file
from pruning_core.planning.mixed import sites_of
from pruning_core.planning.recipe import MAX_RECIPE_BYTES, Recipe
from pruning_core.planning.resolve import Plan
from pruning_core.preview import LayerCost, Preview, Totals
from pruning_core.surgery.prune import Pruned, prune
from pruning_core.tasks import CLASSES
from pruning_core.tasks.registry import TASKS
from pruning_core.tracing.network import Network
from pruning_core.tracing.trace import trace
from pruning_core.tuning.finetune import EpochResult

MAX_DOCUMENT_BYTES: Final = 256_000_000
_N_SAMPLES: Final = 7


def open_run(folder: Path, *, allow_python: Callable[[str], bool] = lambda _: True) -> RunResult:
    """Rebuild the result of the run that wrote ``folder``, with the weights stored there.

    The dense model is loaded again by its identity, pruned by the stored masks and given the
    stored weights; everything measured comes from report.json.

    Args:
        folder: What a run wrote.
        allow_python: Tells of an identity whether it may be loaded if that runs code.

    Raises:
        ExportError: If a file is missing, damaged or belongs to another run.
        PruningError: If the model of the recipe cannot be loaded any more.
    """
    recipe = read_recipe(folder)
    document = read_document(folder / "report.json")
    if recipe.fingerprint != document.get("recipe_fingerprint"):
        raise ExportError(
            f"recipe.json and report.json in '{folder.name}' belong to different runs. Run again."
        )
    model = load_model(
        recipe.model, input_shape=recipe.input_shape, allow_python=allow_python(recipe.model)
    )
    network = trace(model.module, model.inputs)
    plan = _plan(recipe, document, network, folder)
    surgery = _load_weights(prune(model, network, plan), folder / "model.safetensors")
    try:
        result = _result(document, recipe, model, network, plan, surgery)
        return replace(result, quantised=_quantised(document, folder / "model.int8.onnx"))
    except (KeyError, TypeError, ValueError) as error:
        raise damaged(folder / "report.json", error) from error


def read_recipe(folder: Path) -> Recipe:
    """Return the recipe of the run that wrote ``folder``.

    Raises:
        ExportError: If it is missing or too large.
        InvalidRecipeError: If it is no recipe.
    """
    return Recipe.from_json(_read(folder / "recipe.json", MAX_RECIPE_BYTES))


def read_document(path: Path) -> Document:
    """Return the content of a report.json.

    Raises:
        ExportError: If it is missing, too large, damaged or of another version.
    """
    try:
        document = json.loads(_read(path, MAX_DOCUMENT_BYTES))
    except (ValueError, RecursionError) as error:
        raise damaged(path, error) from error
    if not isinstance(document, dict) or document.get("version") != DOCUMENT_VERSION:
        raise ExportError(
            f"'{path.name}' is no report of version {DOCUMENT_VERSION}. Give the folder of a run."
        )
    return document


def _read(path: Path, most: int) -> bytes:
    try:
        with path.open("rb") as stream:
            raw = stream.read(most + 1)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise ExportError(
            f"'{path.name}' cannot be read: {reason}. Give the folder of a run."
        ) from error
    if len(raw) > most:
        raise ExportError(f"'{path.name}' has more than {most:,} bytes, which no run writes.")
    return raw


def _plan(recipe: Recipe, document: Document, network: Network, folder: Path) -> Plan:
    """Return the plan of the stored masks, which must have the stored fingerprint."""
    path = folder / "report.json"
    n_units = {site.name: site.n_units for site in sites_of(recipe, network)}
    try:
        keep = {site: _mask(site, packed, n_units) for site, packed in document["keep"].items()}
        plan = Plan(
            recipe=recipe,
            keep=keep,
            thresholds=document["thresholds"],
            notes={site: tuple(texts) for site, texts in document["notes"].items()},
        )
        expected = document["mask_fingerprint"]
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise damaged(path, error) from error
    if plan.fingerprint != expected:
        raise ExportError(f"The masks in '{path.name}' are damaged: their fingerprint differs.")
    return plan


def _mask(site: str, packed: Mapping[str, Any], n_units: Mapping[str, int]) -> NDArray[np.bool_]:
    """Unpack the mask of a site, once it is known to be as long as the site has units."""
    if packed["n"] != n_units.get(site):
        raise ValueError(f"the model has no '{site[:40]}' of {packed['n']} units")
    return unpack_mask(packed)


def _load_weights(surgery: Pruned, path: Path) -> Pruned:
    """Return ``surgery`` with the stored weights in its module.

    Raises:
        ExportError: If the file does not hold exactly the tensors of the pruned module.
    """
    module = surgery.module
    places = {original: place for place, original in names_in_file(module).items()}
    try:
        stored = read_weights(path)
        module.load_state_dict({places.get(name, name): x for name, x in stored.items()})
    except (PruningError, RuntimeError) as error:
        raise damaged(path, error) from error
    return surgery


def _result(
    document: Document,
    recipe: Recipe,
    model: LoadedModel,
    network: Network,
    plan: Plan,
    surgery: Pruned,
) -> RunResult:
    onnx, data = document["onnx"], document["data"]
    evaluations = {stage: _evaluation(document, stage) for stage in STAGES}
    task = task_of(document).key
    return RunResult(
        recipe=recipe,
        model=replace(model, weights_sha256=document["model_sha256"]),
        network=network,
        plan=plan,
        preview=_preview(document),
        counted=_totals(document, "after"),
        surgery=surgery,
        dense=evaluations["dense"],
        pruned=evaluations["pruned"],
        tuned=evaluations["tuned"],
        epochs=tuple(_epoch(epoch, task) for epoch in document["epochs"]),
        seconds=document["seconds"],
        environment=document["environment"],
        data=None if data is None else DataSummary(**{**data, "classes": tuple(data["classes"])}),
        rounds_kept=int(document.get("rounds_kept", recipe.schedule.rounds)),
        samples=_samples(recipe, model),
        onnx=None
        if onnx["max_abs_difference"] is None
        else OnnxCheck(onnx["max_abs_difference"], onnx["n"]),
        problems=document["problems"],
    )


def _quantised(document: Document, path: Path) -> Quantised | None:
    """Return the int8 file and its numbers; None where the run made none."""
    found = document.get("quantised")
    if found is None:
        return None
    sides = {
        side: None if found[side] is None else _metrics(found[side], found[side])
        for side in ("before", "after")
    }
    return Quantised(
        **found
        | sides
        | {
            "content": path.read_bytes() if path.is_file() else None,
            "stored": tuple(found["stored"]),
            "left": tuple(found["left"]),
            "change": None if found["change"] is None else tuple(found["change"]),
            "speed": tuple(comparison_of(speed) for speed in found["speed"]),
        }
    )


def comparison_of(found: Mapping[str, Any]) -> Comparison:
    """Return what ``comparison_document`` wrote."""
    return Comparison(
        dense=Timing(**found["before"]),
        pruned=Timing(**found["after"]),
        **{name: found[name] for name in found if name not in {"before", "after", "verdict"}},
    )


def _evaluation(document: Document, stage: str) -> Evaluation | None:
    """Return the test metrics of one stage."""
    details = document["details"][stage]
    if details is None:
        return None
    values = {name: document.get(name, {}).get(stage) for name in METRICS}
    return _metrics(details, values | {"task": document.get("task", CLASSES)})


def _metrics(details: Mapping[str, Any], values: Mapping[str, Any]) -> Evaluation:
    """Return test metrics; those of older reports have no intervals but that of the accuracy."""
    task = values.get("task", CLASSES)
    if not TASKS[task].counts_classes:
        return Evaluation(
            **dict.fromkeys(("accuracy", "precision", "recall", "f1"), math.nan),
            loss=_number(values["loss"]),
            n=int(values["n"]),
            per_class=(),
            confusion=np.zeros((0, 0), np.int64),
            intervals=_intervals(details),
            task=task,
            values={name: _number(value) for name, value in (details.get("values") or {}).items()},
        )
    confusion = np.asarray(details["confusion"], dtype=np.int64)
    found = from_confusion(confusion, _number(values["loss"]))
    return replace(
        found,
        top5=values.get("top5"),
        calibration_error=values.get("calibration_error"),
        intervals=_intervals(details),
        per_class=tuple(
            replace(item, intervals=_intervals(stored))
            for item, stored in zip(found.per_class, details["per_class"], strict=True)
        ),
    )


def _intervals(stored: Mapping[str, Any]) -> dict[str, Interval]:
    return {
        name: (_number(low), _number(high))
        for name, (low, high) in stored.get("intervals", {}).items()
    }


def _epoch(values: Mapping[str, Any], task: str) -> EpochResult:
    found = {name.replace("score", "accuracy"): _number(x) for name, x in values.items()}
    return EpochResult(**found, task=task)


def _number(value: Any) -> Any:
    """Return the number that JSON could not hold as NaN again."""
    return math.nan if value is None else value


def _preview(document: Document) -> Preview:
    layers = tuple(
        LayerCost(
            name=layer["name"],
            kind=layer["kind"],
            before=_totals_of(layer["before"]),
            after=_totals_of(layer["after"]),
        )
        for layer in document["layers"]
    )
    return Preview(
        before=_totals(document, "before"), after=_totals(document, "after"), layers=layers
    )


def _totals(document: Document, when: str) -> Totals:
    return _totals_of({key: document[key][when] for key in ("params", "nonzero", "macs", "bytes")})


def _totals_of(values: Mapping[str, Any]) -> Totals:
    return Totals(
        params=values["params"],
        nonzero=values["nonzero"],
        macs=values["macs"],
        n_bytes=values["bytes"],
    )


def _samples(recipe: Recipe, model: LoadedModel) -> Tensor | None:
    """Return real inputs for the ONNX check; None when the model has no data set."""
    key = recipe.data or model.data
    if key is None:
        return None
    return data_for(model, key, source="bundled").calibration.batch(slice(0, _N_SAMPLES))[0]


def damaged(path: Path, error: Exception) -> ExportError:
    """Return the error that says that a file of a run cannot be used."""
    lines = str(error).splitlines() or [type(error).__name__]
    return ExportError(
        f"'{path.name}' is damaged or not of this run ({lines[0][:120].rstrip('.')}). Run again."
    )
