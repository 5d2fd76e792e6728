"""The speed of a finished run: dense and pruned in turns, by runtime, batch size and threads."""

import contextlib
import ctypes
import json
import os
import signal
import tempfile
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import nn

from pruning_core.errors import ExportError, RunError, first_line
from pruning_core.evaluation.latency import (
    LEAST_GAIN,
    Comparison,
    compare,
    comparison,
    measure_pairs,
)
from pruning_core.exporting.calling import open_session, sample_batch
from pruning_core.exporting.document import comparison_document
from pruning_core.exporting.formats.onnx import write_onnx
from pruning_core.exporting.result import RunResult
from pruning_core.exporting.speed_table import BACKENDS
from pruning_core.exporting.writing import write_text
from pruning_core.modes import evaluating
from pruning_core.runs.environment import describe_environment

SPEED_FILE: Final = "speed.json"
MEMORY_REPEATS: Final = 5
_MOST_CASES: Final = 100
_CHILD_SECONDS: Final = 120

Measuring = Generator[tuple[float, str], None, Comparison]


@dataclass(frozen=True, slots=True)
class Cases:
    """What to measure with.

    Attributes:
        backends: Keys of ``BACKENDS``.
        batch_sizes: Samples of one forward pass.
        threads: Threads to compute with.
        seconds: How long to measure each case after its warm-up.
    """

    backends: tuple[str, ...] = ("pytorch", "onnxruntime")
    batch_sizes: tuple[int, ...] = (1, 32)
    threads: tuple[int, ...] = (1,)
    seconds: float = 2.0

    def check(self) -> None:
        """Refuse what cannot be measured.

        Raises:
            RunError: Naming the wrong value.
        """
        unknown = [key for key in self.backends if key not in BACKENDS]
        if unknown:
            raise RunError(f"No runtime is called '{unknown[0]}'. Known: {', '.join(BACKENDS)}.")
        for word, values, most in (
            ("batch size", self.batch_sizes, 4096),
            ("number of threads", self.threads, os.cpu_count() or 1),
        ):
            wrong = [value for value in values if not 1 <= value <= most]
            if wrong:
                raise RunError(f"A {word} is 1 to {most} here; {wrong[0]} was given.")
        n = len(self.backends) * len(self.batch_sizes) * len(self.threads)
        if not 1 <= n <= _MOST_CASES or not 0 < self.seconds <= 600:
            raise RunError(
                f"{n} cases of {self.seconds:g} seconds were asked for; 1 to {_MOST_CASES} cases "
                "of at most 600 seconds can be measured."
            )


@dataclass(frozen=True, slots=True)
class Memory:
    """The memory that one forward pass adds to the process at most, in bytes.

    Attributes:
        batch_size: Samples of the pass.
        n: Passes measured, each in a child process of its own.
        dense: Median of the dense network.
        pruned: Median of the pruned one.
    """

    batch_size: int
    n: int
    dense: int
    pruned: int


def measure_speed(
    result: RunResult, cases: Cases
) -> Generator[tuple[float, str], None, dict[str, Any]]:
    """Measure all cases; yields the share that is done and a text, returns plain data.

    The data are ``rows`` (see ``comparison_document``, with ``why`` where there is no gain),
    ``memory``, ``problems`` (why a runtime could not be used), ``macs`` and ``environment``.

    Raises:
        RunError: If the cases cannot be measured.
    """
    cases.check()
    rows: list[Comparison] = []
    problems: list[str] = []
    threads_before = torch.get_num_threads()
    n = len(cases.backends) * len(cases.batch_sizes) * len(cases.threads)
    try:
        with tempfile.TemporaryDirectory(prefix="speed-") as folder:
            for backend in cases.backends:
                try:
                    for measuring in _of_backend(backend, result, cases, Path(folder)):
                        text = f"{BACKENDS[backend]}, case {len(rows) + 1} of {n}"
                        yield len(rows) / n, text
                        rows.append((yield from _told(measuring, len(rows), n, text)))
                except (ExportError, _BackendError) as error:
                    problems.append(str(error))
    finally:
        torch.set_num_threads(threads_before)
    memory: list[Memory] = []
    yield 0.99, "memory of a forward pass"
    try:
        memory.extend(_memory(result, size) for size in cases.batch_sizes)
    except _BackendError as error:
        problems.append(str(error))
    macs = (result.preview.before.macs, result.counted.macs)
    return {
        "version": 1,
        "rows": [comparison_document(row) | {"why": _why(row, rows, result)} for row in rows],
        "memory": [
            {"batch_size": one.batch_size, "n": one.n, "dense": one.dense, "pruned": one.pruned}
            for one in memory
        ],
        "weights": {"dense": result.preview.before.n_bytes, "pruned": result.counted.n_bytes},
        "macs": {"dense": macs[0], "pruned": macs[1]},
        "problems": problems,
        "environment": describe_environment(),
    }


def save_speed(found: dict[str, Any], folder: Path) -> Path:
    """Write what was measured into the folder of the run; return where.

    Raises:
        ExportError: If it cannot be written.
    """
    path = folder / SPEED_FILE
    write_text(path, json.dumps(found, indent=1, allow_nan=False) + "\n")
    return path


def read_speed(folder: Path) -> dict[str, Any] | None:
    """Return what :func:`save_speed` wrote; None when nothing was, or it cannot be read."""
    try:
        found = json.loads((folder / SPEED_FILE).read_bytes())
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) and "rows" in found else None


class _BackendError(Exception):
    """A runtime does not work on this machine, or not for this network."""


def _told(measuring: Generator[float, None, Comparison], done: int, n: int, text: str) -> Measuring:
    while True:
        try:
            share = next(measuring)
        except StopIteration as end:
            found: Comparison = end.value
            return found
        yield (done + share) / n, text


def _of_backend(
    backend: str, result: RunResult, cases: Cases, folder: Path
) -> Iterator[Generator[float, None, Comparison]]:
    """Yield one measurement for each batch size and number of threads."""
    dense, pruned = result.model.module, result.surgery.module
    files = _onnx_files(result, folder) if backend == "onnxruntime" else None
    for threads in cases.threads:
        torch.set_num_threads(threads)
        for size in cases.batch_sizes:
            if files is not None:
                yield _in_onnxruntime(result, files, size, threads, cases.seconds)
                continue
            modules = dense, pruned
            if backend == "compiled":
                modules = _compiled(dense, result, size), _compiled(pruned, result, size)
            yield compare(
                *modules,
                result.model.inputs,
                batch_size=size,
                seconds=cases.seconds,
                backend=backend,
            )


def _onnx_files(result: RunResult, folder: Path) -> tuple[Path, Path]:
    """Write the dense and the pruned network as ONNX, each checked against PyTorch."""
    paths = folder / "dense.onnx", folder / "pruned.onnx"
    write_onnx(
        replace(result, surgery=replace(result.surgery, module=result.model.module)), paths[0]
    )
    write_onnx(result, paths[1])
    return paths


def _in_onnxruntime(
    result: RunResult, files: tuple[Path, Path], size: int, threads: int, seconds: float
) -> Generator[float, None, Comparison]:
    tensors = [tensor.numpy() for tensor in sample_batch(result, size)]

    def caller(path: Path) -> Callable[[], object]:
        session = open_session(path, threads=threads)
        names = [item.name for item in session.get_inputs()]
        feed = dict(zip(names, tensors, strict=True))
        return lambda: session.run(None, feed)

    dense, pruned = map(caller, files)
    times = yield from measure_pairs(dense, pruned, seconds=seconds)
    return comparison(times, batch_size=size, threads=threads, backend="onnxruntime")


def _compiled(module: nn.Module, result: RunResult, size: int) -> nn.Module:
    """Return the module compiled for one batch size and the present number of threads.

    Raises:
        _BackendError: If it cannot be compiled here, e.g. because there is no C++ compiler.
    """
    os.environ.setdefault("TORCHINDUCTOR_COMPILE_THREADS", "1")  # no pool of processes
    torch.compiler.reset()
    batch = result.model.inputs.repeated(size)
    try:
        compiled: nn.Module = torch.compile(module)  # type: ignore[assignment]
        with evaluating(module), torch.inference_mode():
            compiled(*batch.args, **batch.kwargs)
    except Exception as error:  # the compiler raises whatever went wrong in it
        raise _BackendError(
            f"torch.compile did not work here ({first_line(error).rstrip('.')}); compiled networks "
            "were not measured. It needs a C++ compiler."
        ) from error
    return compiled


def _why(row: Comparison, rows: Sequence[Comparison], result: RunResult) -> str:
    """Say why a row shows no gain, from what was counted and measured; empty where it does."""
    if row.verdict == "faster":
        return ""
    before, after = result.preview.before, result.counted
    if after.macs >= before.macs:
        if after.nonzero < before.nonzero:
            return (
                "Masked weights are still multiplied: these runtimes do not skip zeros. Remove "
                "whole units to save time."
            )
        return "Pruning took no multiplication away."
    if row.ratio > LEAST_GAIN:
        return (
            "The measurements scatter too much to tell; other programs may be using the processor."
        )
    rate = _rate(row, before.macs)
    best = max(_rate(other, before.macs) for other in rows if other.threads == row.threads)
    fewer = f"Each sample needs {before.macs / after.macs:.2f} times fewer multiplications"
    if rate < best / 2:
        return (
            f"{fewer}, but multiplying is not what takes the time here: this case does "
            f"{rate / 1e9:.2g} billion a second where up to {best / 1e9:.2g} were measured; the "
            "rest goes into calling operators and moving data."
        )
    return (
        f"{fewer}, but narrower layers use the processor less well, and what is not multiplied "
        "(activations, normalisation, moving data) stays."
    )


def _rate(row: Comparison, macs: int) -> float:
    """Return the dense network's multiply-accumulates a second."""
    return macs * row.batch_size / (row.dense.median_ms / 1000)


def _memory(result: RunResult, size: int) -> Memory:
    """Measure one forward pass of each network, in child processes that have done nothing yet."""
    if not Path("/proc/self/clear_refs").exists():
        raise _BackendError("Memory was not measured: that needs Linux.")
    modules = result.model.module, result.surgery.module
    found = [
        [_added_by_a_pass(module, result, size) for module in modules]
        for _ in range(MEMORY_REPEATS)
    ]
    dense, pruned = np.median(np.array(found), axis=0).tolist()
    return Memory(size, MEMORY_REPEATS, int(dense), int(pruned))


def _added_by_a_pass(module: nn.Module, result: RunResult, size: int) -> int:
    """Return how far one pass on one thread lifts the peak of a child process, in bytes."""
    batch = result.model.inputs.repeated(size)
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:  # nothing here may return: the child is a copy of the whole program
        try:
            signal.alarm(_CHILD_SECONDS)
            torch.set_num_threads(1)
            first = result.model.inputs
            with evaluating(module), torch.inference_mode():
                module(*first.args, **first.kwargs)  # loads the code that it runs
                with contextlib.suppress(OSError, AttributeError):
                    ctypes.CDLL("libc.so.6").malloc_trim(0)  # what was freed is not reused
                Path("/proc/self/clear_refs").write_text("5")
                before = _status("VmRSS")
                module(*batch.args, **batch.kwargs)
            os.write(writing, str(max(0, _status("VmHWM") - before)).encode())
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as stream:
        said = stream.read()
    os.waitpid(child, 0)
    if not said:
        raise _BackendError("Memory was not measured: the process for it ended early.")
    return int(said)


def _status(field: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1]) * 1024
    return 0
