"""Making the int8 file of a run, and measuring it against the float file."""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from pruning_core.errors import ExportError, MissingEvidenceError, PruningError, first_line
from pruning_core.evaluation.evaluate import (
    Evaluation,
    evaluate_calls,
    paired_interval,
    statistics_of_calls,
)
from pruning_core.evaluation.latency import Comparison, comparison, measure_pairs
from pruning_core.evaluation.stopping import ShouldStop, check_stop
from pruning_core.evaluation.whatif import paired_change
from pruning_core.exporting.calling import open_session, quiet, sample_batch
from pruning_core.exporting.formats.onnx import write_onnx
from pruning_core.exporting.result import Quantised, RunResult
from pruning_core.loading.dataset import Dataset
from pruning_core.loading.split import Split
from pruning_core.planning.recipe import Recipe
from pruning_core.quantising.quantiser import QUANTISERS, Feed, Quantiser
from pruning_core.steps import run_to_end
from pruning_core.tasks.registry import Task

BATCH_SIZES: Final = (1, 32)
SECONDS: Final = 1.0
THREADS: Final = 1


def check_quantisation(recipe: Recipe, data: Dataset | None) -> None:
    """Refuse a kind that cannot be carried out, before anything slow starts.

    Raises:
        UnknownNameError: If there is no such kind.
        MissingEvidenceError: If it needs calibration data and there are none.
    """
    if recipe.quantisation is None:
        return
    kind = QUANTISERS[recipe.quantisation.kind]
    if kind.needs_data and data is None:
        raise MissingEvidenceError(
            f"The quantisation '{kind.key}' watches activations, and neither the recipe nor the "
            "model names data. Name a data set, or choose 'weights' or 'dynamic'."
        )


def quantise(
    result: RunResult,
    kind: str,
    *,
    data: Dataset | None,
    samples: int = 256,
    should_stop: ShouldStop | None = None,
) -> RunResult:
    """Return the result with an int8 file of its network and what that file was measured to be.

    Activations are watched on calibration samples, which are of the training split; accuracies are
    those of the test split. Nothing is chosen on either.

    Args:
        result: A run, or what ``exporting.export.result_of`` makes of a pruned network.
        kind: Key in ``QUANTISERS``.
        data: What to calibrate and measure on; None measures sizes and times alone.
        samples: Calibration samples.
        should_stop: Asked between the steps and before every batch.

    Raises:
        UnknownNameError: If there is no such kind.
        MissingEvidenceError: If it needs data and there are none.
        ExportError: If the network has no ONNX form, or onnxruntime cannot quantise it.
        StoppedError: If ``should_stop`` says so.
    """
    entry = QUANTISERS[kind]
    with tempfile.TemporaryDirectory(prefix="quantise-") as folder:
        given, source, target = (
            Path(folder) / name for name in ("float.onnx", "ready.onnx", "int8.onnx")
        )
        write_onnx(result, given)
        check_stop(should_stop)
        n_calibration = min(samples, len(data.calibration)) if data and entry.needs_data else 0
        stored = _carried_out(entry, (given, source, target), result, data, n_calibration)
        check_stop(should_stop)
        files = _Files(given, target, entry)
        before, after, agreement, change = _measured(files, data, should_stop)
        names = _names(source, result)
        n_int8, n_float, left = _counted(target)
        found = Quantised(
            kind=kind,
            content=target.read_bytes(),
            float_bytes=given.stat().st_size,
            int8_bytes=target.stat().st_size,
            n_int8=n_int8,
            n_float=n_float,
            stored=tuple(names.get(name, name) for name in stored if kind != "weights"),
            left=tuple(names.get(name, name) for name in left),
            session=entry.session,
            n_calibration=n_calibration,
            before=before,
            after=after,
            agreement=agreement,
            change=change,
            speed=tuple(_speed(files, result, size, should_stop) for size in BATCH_SIZES),
        )
    return replace(result, quantised=found)


def _carried_out(
    entry: Quantiser,
    paths: tuple[Path, Path, Path],
    result: RunResult,
    data: Dataset | None,
    n_calibration: int,
) -> Sequence[str]:
    """Prepare the float file (shapes, folded normalisation) and write the int8 one."""
    from onnxruntime.quantization.shape_inference import quant_pre_process

    given, source, target = paths
    name = open_session(given).get_inputs()[0].name
    calibration = None
    if data is not None and n_calibration:
        split = data.calibration.first(n_calibration)
        calibration = lambda: _feeds(split, name, result.recipe.calibration.batch_size)  # noqa: E731
    with quiet():
        try:
            quant_pre_process(str(given), str(source))
            stored = entry.quantise(source, target, calibration)
            open_session(target, settings=entry.session)
        except PruningError:
            raise
        except Exception as error:  # onnxruntime's Python tools raise whatever went wrong in them
            raise ExportError(
                f"onnxruntime cannot quantise this network ({entry.title.lower()}): "
                f"{first_line(error).rstrip('.')}. The float32 files are not affected."
            ) from error
    return stored


def _feeds(split: Split, name: str, batch_size: int) -> Iterator[Feed]:
    for start in range(0, len(split), batch_size):
        yield {name: split.batch(slice(start, start + batch_size))[0].numpy()}


@dataclass(slots=True, eq=False)
class _Caller:
    """An ONNX file as a function from inputs to answers; it remembers what class it named."""

    session: Any
    task: Task
    answers: list[Tensor] = field(default_factory=list)

    def __call__(self, inputs: Tensor) -> Tensor:
        """Return the first output for one batch."""
        name = self.session.get_inputs()[0].name
        logits = torch.from_numpy(self.session.run(None, {name: inputs.numpy()})[0])
        if self.task.counts_classes:
            self.answers.append(logits.argmax(dim=1))
        return logits


@dataclass(frozen=True, slots=True)
class _Files:
    given: Path
    target: Path
    entry: Quantiser

    def sessions(self) -> tuple[Any, Any]:
        """Open both files, on one thread."""
        return (
            open_session(self.given, threads=THREADS),
            open_session(self.target, threads=THREADS, settings=self.entry.session),
        )


Measured = tuple[Evaluation | None, Evaluation | None, float | None, tuple[float, float] | None]


def _measured(files: _Files, data: Dataset | None, should_stop: ShouldStop | None) -> Measured:
    """Return the test metrics of both files, their agreement and the change of accuracy."""
    if data is None:
        return None, None, None, None
    callers = [_Caller(session, data.task) for session in files.sessions()]
    before, after = (
        evaluate_calls(call, data.test, should_stop=should_stop, full=True) for call in callers
    )
    if not data.task.counts_classes:
        found = [statistics_of_calls(call, data.test, should_stop=should_stop) for call in callers]
        return before, after, None, paired_change(data.task, found[0], found[1])[1]
    first, second = (torch.cat(call.answers) for call in callers)
    was_right, is_right = first == data.test.labels, second == data.test.labels
    lost, won = int((was_right & ~is_right).sum()), int((~was_right & is_right).sum())
    agreement = float((first == second).double().mean())
    return before, after, agreement, paired_interval(lost, won, len(data.test))


def _speed(
    files: _Files, result: RunResult, batch_size: int, should_stop: ShouldStop | None
) -> Comparison:
    """Time both files in turns."""
    tensors = [tensor.numpy() for tensor in sample_batch(result, batch_size)]

    def caller(session: Any) -> Callable[[], object]:
        names = [item.name for item in session.get_inputs()]
        feed = dict(zip(names, tensors, strict=True))
        return lambda: session.run(None, feed)

    measuring = measure_pairs(*map(caller, files.sessions()), seconds=SECONDS)
    times = run_to_end(measuring, lambda _: check_stop(should_stop))
    return comparison(times, batch_size=batch_size, threads=THREADS, backend="onnxruntime")


def _counted(path: Path) -> tuple[int, int, list[str]]:
    """Return how many numbers a file stores as int8 and as float32, and its float32 weights."""
    import onnx

    n_int8 = n_float = 0
    left = []
    for item in onnx.load(path).graph.initializer:
        size = int(np.prod(item.dims, dtype=np.int64))
        if item.data_type in {onnx.TensorProto.INT8, onnx.TensorProto.UINT8}:
            n_int8 += size
        elif item.data_type == onnx.TensorProto.FLOAT:
            n_float += size
            if sum(dim > 1 for dim in item.dims) > 1:
                left.append(item.name)
    return n_int8, n_float, left


def _names(path: Path, result: RunResult) -> dict[str, str]:
    """Return the parameter that each weight of the file is, where their values are the same.

    The exporter turns matrices and reorders gates, but the numbers stay: a sum over their bits
    tells them apart without regard to their order.
    """
    import onnx
    from onnx import numpy_helper

    known = {
        (parameter.numel(), _mark(parameter.detach().numpy())): name
        for name, parameter in result.surgery.module.named_parameters()
        if parameter.dtype == torch.float32
    }
    found = {}
    for item in onnx.load(path).graph.initializer:
        if item.data_type == onnx.TensorProto.FLOAT:
            values = numpy_helper.to_array(item)
            name = known.get((values.size, _mark(values)))
            if name is not None:
                found[item.name] = name
    return found


def _mark(values: Any) -> int:
    bits = np.ascontiguousarray(values).view(np.uint32).astype(np.uint64)
    return int((bits * bits % np.uint64(2**31 - 1)).sum())
