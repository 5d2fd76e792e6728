"""Calling networks and ONNX files in one way: samples, positional inputs, quiet tools."""

import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor, nn

from pruning_core.exporting.result import RunResult
from pruning_core.inputs import Inputs, output_tensors

_SEED: Final = 0


class Positional(nn.Module):
    """A model called with its tensors one after the other, returning its tensors in a list."""

    def __init__(self, module: nn.Module, call: Inputs) -> None:
        super().__init__()
        self.module, self.call = module, call

    def forward(self, *tensors: Tensor) -> list[Tensor]:
        """Put the tensors where the model takes them."""
        call = self.call.with_tensors(tensors)
        return output_tensors(self.module(*call.args, **call.kwargs))


def open_session(path: Path, *, threads: int = 1, settings: Mapping[str, str] | None = None) -> Any:
    """Return an ``onnxruntime.InferenceSession`` of a file, on the processor.

    Args:
        path: The file.
        threads: Threads of one operator; operators run one after the other.
        settings: Configuration entries of the session.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    for key, value in (settings or {}).items():
        options.add_session_config_entry(key, value)
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def sample_batch(result: RunResult, n: int) -> tuple[Tensor, ...]:
    """Return ``n`` samples: real ones when the run has some, else seeded random ones.

    Integers and booleans (token numbers, masks) are repeated from the example, so that they stay
    in their range.
    """
    if result.samples is not None and len(result.samples) >= n:
        return (result.samples[:n],)
    generator = torch.Generator().manual_seed(_SEED)
    return tuple(
        torch.randn(tensor.shape, generator=generator).to(tensor.dtype)
        if tensor.is_floating_point()
        else tensor.contiguous()
        for tensor in result.model.inputs.repeated(n).tensors
    )


@contextmanager
def quiet() -> Iterator[None]:
    """Keep other programs' progress lines, log records and warnings off both output streams."""
    before = logging.root.manager.disable
    logging.disable(logging.ERROR)  # what fails is said by the exception
    try:
        with (
            warnings.catch_warnings(),
            redirect_stdout(StringIO()),
            redirect_stderr(StringIO()),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
