"""ONNX with a free batch axis, checked against PyTorch before it takes its place."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor, nn

from pruning_core.errors import ExportError, first_line
from pruning_core.exporting.calling import Positional, open_session, quiet, sample_batch
from pruning_core.exporting.exporter import exporter
from pruning_core.exporting.result import OnnxCheck, RunResult
from pruning_core.exporting.source import graph_at_any_batch
from pruning_core.exporting.writing import whole_file
from pruning_core.loading.weights_only import WeightsOnly
from pruning_core.modes import copied

TOLERANCE: Final = 1e-4
BATCH_SIZES: Final = (1, 7)
_EXPORT_BATCH: Final = 2  # torch.export takes a batch of one for a constant


@exporter(
    "onnx",
    title="ONNX, checked against PyTorch",
    file_name="model.onnx",
    media_type="application/octet-stream",
    description="The pruned network for other runtimes; accepts any batch size.",
    optional=True,
)
def write_onnx(result: RunResult, path: Path) -> RunResult:
    """Write the ONNX file and return the result with the measured difference from PyTorch.

    Raises:
        ExportError: If an operator has no ONNX form, or the file differs from PyTorch by 1e-4.
    """
    if isinstance(result.model.module, WeightsOnly):
        raise ExportError("Weights without an architecture have no ONNX form.")
    batches = [sample_batch(result, n) for n in BATCH_SIZES]
    call = result.model.inputs
    module, names = result.surgery.module, None
    if not call.is_flat:
        module, names = Positional(module, call), call.names
    shared = [not carries for carries in call.carry_batch]
    example = sample_batch(result, _EXPORT_BATCH)
    with whole_file(path) as part:
        try:
            export_onnx(module, example, part, names=names, shared=shared)
            check = compare_onnx(part, module, batches)
        except ExportError as error:  # the class may fix the batch, e.g. by len(tensor)
            graph = graph_at_any_batch(result)
            if graph is None:
                raise
            try:
                export_onnx(graph, example, part, names=call.names, shared=shared)
                check = compare_onnx(part, module, batches)
            except ExportError:
                raise error from None
    return result.with_onnx(check)


def export_onnx(
    module: nn.Module,
    inputs: tuple[Tensor, ...],
    path: Path,
    *,
    names: Sequence[str] | None = None,
    shared: Sequence[bool] | None = None,
) -> None:
    """Write ``module`` as ONNX with axis 0 of the inputs free; ``module`` stays as it is.

    Args:
        module: In eval mode.
        inputs: Positional inputs, at least two samples.
        path: File to (over)write.
        names: Names of the inputs in the file; None takes those of the forward function.
        shared: True for inputs that are the same for every sample; their axis 0 is not free.

    Raises:
        ExportError: If PyTorch cannot express the module in ONNX, or ONNX's own checker objects.
    """
    import onnx

    axis = torch.export.Dim("batch")
    free = [None if same else {0: axis} for same in shared or [False] * len(inputs)]
    takes_any = isinstance(module, Positional)
    with quiet(), torch.no_grad():
        try:
            program = torch.onnx.export(
                copied(module),
                inputs,
                dynamo=True,
                dynamic_shapes=(tuple(free),) if takes_any else tuple(free),
                input_names=names,
                verbose=False,
            )
            if program is None:
                raise ExportError("The network has no ONNX form: the exporter returned nothing.")
            proto = program.model_proto
            _forget_origin(proto)
            onnx.save(proto, path)
            onnx.checker.check_model(str(path), full_check=True)
        except (torch.onnx.errors.OnnxExporterError, onnx.checker.ValidationError) as error:
            raise ExportError(_reason(error)) from error


def _forget_origin(message: Any) -> None:
    """Clear notes at every level: PyTorch writes stack traces with this machine's paths there."""
    for field, value in message.ListFields():
        if field.name in {"metadata_props", "doc_string"}:
            message.ClearField(field.name)
        elif field.message_type is not None:
            for part in [value] if hasattr(value, "ListFields") else value:
                _forget_origin(part)


def compare_onnx(path: Path, module: nn.Module, batches: Sequence[tuple[Tensor, ...]]) -> OnnxCheck:
    """Run the file and the module on the same inputs and return their largest difference.

    Raises:
        ExportError: If onnxruntime refuses the file, or a difference is 1e-4 or more of the
            largest output (of 1, where outputs are smaller).
    """
    from onnxruntime.capi import onnxruntime_pybind11_state as native

    kinds = (kind for kind in vars(native).values() if isinstance(kind, type))
    refusals: tuple[type[Exception], ...] = (
        ValueError,
        *(kind for kind in kinds if issubclass(kind, Exception)),
    )
    try:
        session = open_session(path)
        names = [item.name for item in session.get_inputs()]
        expected = [_outputs(module, batch) for batch in batches]
        worst = _worst(
            difference
            for batch, outputs in zip(batches, expected, strict=True)
            for difference in _differences(
                session.run(None, {name: x.numpy() for name, x in zip(names, batch, strict=True)}),
                outputs,
            )
        )
    except refusals as error:
        raise ExportError(f"onnxruntime cannot run the exported file: {_first(error)}.") from error
    largest = max(float(output.abs().max()) for outputs in expected for output in outputs)
    allowed = TOLERANCE * max(1.0, largest)  # float32 keeps about seven digits of large outputs
    if not worst < allowed:
        raise ExportError(
            f"The ONNX file differs from PyTorch by {worst:.3g}; less than {allowed:.3g} is "
            f"allowed for outputs up to {largest:.3g}."
        )
    return OnnxCheck(worst, sum(len(batch[0]) for batch in batches))


def _outputs(module: nn.Module, inputs: tuple[Tensor, ...]) -> list[Tensor]:
    with torch.no_grad():
        return list(_tensors(module(*inputs)))


def _tensors(output: object) -> Iterator[Tensor]:
    if isinstance(output, Tensor):
        yield output
    elif isinstance(output, Mapping):
        for value in output.values():
            yield from _tensors(value)
    elif isinstance(output, Sequence):
        for value in output:
            yield from _tensors(value)


def _differences(found: Sequence[object], expected: Sequence[Tensor]) -> list[float]:
    return [
        float((torch.as_tensor(mine).double() - theirs.double()).abs().max())
        for mine, theirs in zip(found, expected, strict=True)
    ]


def _worst(differences: Iterable[float]) -> float:
    """Return the largest difference; NaN if one of them is."""
    return float(torch.tensor(list(differences), dtype=torch.float64).max())


def _reason(error: Exception) -> str:
    return (
        f"The pruned network cannot be written as ONNX: {_first(error)}. "
        "The safetensors file is not affected."
    )


def _first(error: BaseException) -> str:
    """Return the first line of the innermost cause, at most 160 characters."""
    while error.__cause__ is not None:
        error = error.__cause__
    return first_line(error).rstrip(".")
