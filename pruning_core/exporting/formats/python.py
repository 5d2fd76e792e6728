"""The pruned network as Python source with its weights, for places that have PyTorch alone."""

import io
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Final

import torch

from pruning_core.errors import ExportError, UnsupportedModelError, first_line
from pruning_core.exporting.calling import Positional, quiet, sample_batch
from pruning_core.exporting.checking import difference_of
from pruning_core.exporting.exporter import exporter
from pruning_core.exporting.result import RunResult
from pruning_core.exporting.source import pruned_graph, source_of, tensors_of
from pruning_core.exporting.writing import whole_file
from pruning_core.helpers import helper_environment
from pruning_core.inputs import output_tensors
from pruning_core.loading.weights import save_weights

SOURCE: Final = "pruned_network.py"
WEIGHTS: Final = "pruned_network.safetensors"
_CHECKED: Final = 3
_SECONDS: Final = 300
_CHECK: Final = """\
import sys
sys.path.insert(0, sys.argv[1])
import torch
import pruned_network
tensors = pruned_network.read_tensors(sys.argv[2])
inputs = [tensors[f"input_{n}"] for n in range(sum(k.startswith("input_") for k in tensors))]
torch.set_num_threads(1)
with torch.no_grad():
    found = pruned_network.load()(*inputs)
found = list(found) if isinstance(found, (list, tuple)) else [found]
for n, tensor in enumerate(found):
    expected = tensors[f"output_{n}"]
    assert tensor.shape == expected.shape, (tensor.shape, expected.shape)
    worst = (tensor.double() - expected.double()).abs().max() if tensor.numel() else 0.0
    print(f"{float(worst)!r}")
"""


@exporter(
    "python",
    title="Python source (PyTorch alone)",
    file_name="pruned_network.zip",
    media_type="application/zip",
    description="One readable Python file and its weights; runs where there is PyTorch and nothing "
    "else. Was run in a process of its own and compared before it was written.",
    optional=True,
    on_demand=True,
)
def write_python(result: RunResult, path: Path) -> RunResult:
    """Write the archive, once its file was run in a process without this project.

    Raises:
        ExportError: If the network has no such form, or the file computes something else.
    """
    with tempfile.TemporaryDirectory(prefix="source-") as name:
        folder = Path(name)
        write_source(result, folder)
        content = io.BytesIO()
        with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
            for file in (SOURCE, WEIGHTS):
                archive.write(folder / file, f"pruned_network/{file}")
    with whole_file(path) as part:
        part.write_bytes(content.getvalue())
    return result


def write_source(result: RunResult, folder: Path, weights: str = WEIGHTS) -> None:
    """Write source and weights into ``folder``, and run them in another process.

    Args:
        result: The run.
        folder: Where to write.
        weights: Name of the file of weights; it holds every entry of the state dict, and constants.

    Raises:
        ExportError: See :func:`write_python`.
    """
    try:
        graph = pruned_graph(result)
    except (UnsupportedModelError, RuntimeError) as error:
        raise ExportError(
            f"This network cannot be written as one Python file: {first_line(error).rstrip('.')}. "
            "Take the safetensors file and the class."
        ) from error
    one_sample = bool(graph.meta.get("one_sample"))
    inputs = result.model.inputs.tensors if one_sample else sample_batch(result, _CHECKED)
    call = result.model.inputs
    module = result.surgery.module if call.is_flat else Positional(result.surgery.module, call)
    with quiet(), torch.no_grad():
        expected = output_tensors(module(*inputs))
        worst, allowed = difference_of(expected, output_tensors(graph(*inputs)))
    if not worst <= allowed:
        raise ExportError(f"The rewritten network differs from the pruned one by {worst:.3g}.")
    (folder / SOURCE).write_text(source_of(result, graph, weights), encoding="utf-8")
    state = result.surgery.module.state_dict()
    save_weights(tensors_of(graph)[0] | state, folder / weights)
    samples = {f"input_{n}": tensor for n, tensor in enumerate(inputs)}
    samples |= {f"output_{n}": tensor for n, tensor in enumerate(expected)}
    with tempfile.TemporaryDirectory(prefix="check-") as name:
        save_weights(samples, Path(name) / "samples.safetensors")
        _run(folder, Path(name) / "samples.safetensors", allowed)


def _run(folder: Path, samples: Path, allowed: float) -> None:
    """Import the file in a fresh process and compare its outputs."""
    try:
        done = subprocess.run(
            [sys.executable, "-I", "-B", "-c", _CHECK, str(folder), str(samples)],
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            env=helper_environment(),
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise ExportError(f"The Python file did not run within {_SECONDS} seconds.") from None
    differences = [float(line) for line in done.stdout.split()] if done.returncode == 0 else []
    if not differences or not max(differences) <= allowed:
        reason = (done.stderr.strip().splitlines() or ["other outputs"])[-1][:160]
        raise ExportError(f"The Python file does not run as it should: {reason}.")
