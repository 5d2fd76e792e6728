"""A pruned network as one Python file that needs PyTorch alone.

Its forward function is the recorded graph, written anew with the sizes of what stayed; its weights
come from a safetensors file, which the file itself reads. Nothing of it is this project's code.
"""

import re
from typing import Final

from torch import Tensor, fx, nn
from torch.fx.graph import CodeGen

from pruning_core.errors import UnsupportedModelError
from pruning_core.exporting.result import RunResult
from pruning_core.loading.weights import TYPE_NAMES
from pruning_core.tracing.rebuild import rebuild

_DEVICE: Final = re.compile(r"device\(type='[a-z]+'(?:, index=\d+)?\)")
_HEAD: Final = '''"""{title}: a pruned network that needs PyTorch alone.

Written from {model}; masks {fingerprint}.

    network = load()                  # reads {weights} beside this file
    outputs = network(inputs)         # {shapes}

It computes what the pruned network computes in eval mode{one_sample}. The forward function is the
recorded graph of operators; parameters and buffers carry their original names.
"""

import json
from math import inf, nan  # noqa: F401
from pathlib import Path

import torch
from torch import device, nn  # noqa: F401

aten = torch.ops.aten
_TYPES = {types}
_PARAMETERS = {parameters}
_BUFFERS = {buffers}
_TIED = {tied}


def read_tensors(path):
    """Return the tensors of a safetensors file by name."""
    raw = Path(path).read_bytes()
    start = 8 + int.from_bytes(raw[:8], "little")
    tensors = {{}}
    for name, entry in json.loads(raw[8:start]).items():
        if name == "__metadata__":
            continue
        first, last = (start + offset for offset in entry["data_offsets"])
        dtype = getattr(torch, _TYPES[entry["dtype"]])
        flat = torch.frombuffer(bytearray(raw[first:last]), dtype=dtype) if last > first else None
        flat = torch.empty(0, dtype=dtype) if flat is None else flat
        tensors[name] = flat.reshape(entry["shape"])
    return tensors


def load(path=None):
    """Return the network with its weights, in eval mode."""
    path = Path(__file__).with_name("{weights}") if path is None else Path(path)
    return Network(read_tensors(path)).eval()


class Network(nn.Module):
    """{title}, pruned."""

    def __init__(self, tensors):
        """Place the tensors under their original names."""
        super().__init__()
        for name in _PARAMETERS:
            value = tensors[name]
            trains = value.is_floating_point() or value.is_complex()
            self._place(name, nn.Parameter(value, requires_grad=trains))
        for name in _BUFFERS:
            self._place(name, tensors[name])
        for name, other in _TIED.items():
            path, _, leaf = other.rpartition(".")
            self._place(name, getattr(self.get_submodule(path), leaf))

    def _place(self, name, value):
        """Put a parameter or buffer into a submodule, which is made where it is missing."""
        *path, leaf = name.split(".")
        module = self
        for part in path:
            if part not in module._modules:
                module.add_module(part, nn.Module())
            module = module._modules[part]
        if isinstance(value, nn.Parameter):
            module.register_parameter(leaf, value)
        else:
            module.register_buffer(leaf, value)

'''
_TAIL: Final = """

if __name__ == "__main__":
    network = load()
    count = sum(parameter.numel() for parameter in network.parameters())
    print(f"{count:,} parameters")
"""


def pruned_graph(result: RunResult) -> fx.GraphModule:
    """Return the pruned network as a graph that takes tensors by position and returns tensors.

    Raises:
        UnsupportedModelError: If the network has no such graph.
    """
    plan, network = result.plan, result.network
    graph = rebuild(network, plan.unit_keep(network), plan.cut(network))
    graph.load_state_dict(result.surgery.module.state_dict())
    graph.graph.set_codegen(CodeGen())
    graph.recompile()
    return graph


def graph_at_any_batch(result: RunResult) -> fx.GraphModule | None:
    """Return the network rewritten as a graph, if it can be for any number of samples."""
    try:
        graph = pruned_graph(result)
    except (UnsupportedModelError, RuntimeError):
        return None
    return None if graph.meta.get("one_sample") else graph


def tensors_of(graph: nn.Module) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return every tensor of a graph by name, constants too, and the other names of shared ones."""
    named = [
        *graph.named_parameters(remove_duplicate=False),
        *graph.named_buffers(remove_duplicate=False),
    ]
    tensors: dict[str, Tensor] = {}
    first: dict[int, str] = {}
    tied: dict[str, str] = {}
    for name, tensor in named:
        if id(tensor) in first:
            tied[name] = first[id(tensor)]
        else:
            first[id(tensor)] = name
            tensors[name] = tensor
    return tensors, tied


def source_of(result: RunResult, graph: fx.GraphModule, weights: str) -> str:
    """Return the Python file of a graph.

    Args:
        result: The run it is of.
        graph: What :func:`pruned_graph` returned.
        weights: Name of the safetensors file beside it.
    """
    tensors, tied = tensors_of(graph)
    parameters = [name for name in tensors if isinstance(tensors[name], nn.Parameter)]
    card = result.model.card
    one_sample = graph.meta.get("one_sample") or ""
    head = _HEAD.format(
        title=_plain(card.title if card else result.model.identity),
        model=_plain(result.model.identity),
        fingerprint=result.plan.fingerprint[:16],
        weights=weights,
        shapes=_plain(result.model.inputs.shapes),
        one_sample=f", for the batch it was recorded with. {_plain(one_sample)}"
        if one_sample
        else ", at any batch size",
        types=repr({name: str(dtype).removeprefix("torch.") for dtype, name in TYPE_NAMES.items()}),
        parameters=repr(parameters),
        buffers=repr([name for name in tensors if name not in parameters]),
        tied=repr(tied),
    )
    return head + _forward(graph) + _TAIL


def _forward(graph: fx.GraphModule) -> str:
    """Return the code of the forward function as a method."""
    code = graph.code.strip().replace("torch.ops.aten.", "aten.")
    code = _DEVICE.sub("_device", code)
    first, _, rest = code.partition("\n")
    where = "        _device = next(self.parameters(), torch.empty(0)).device\n"
    lines = "".join(f"    {line}\n" if line.strip() else "" for line in rest.split("\n"))
    return f"    {first}\n" + (where if "_device" in code else "") + lines


def _plain(text: str) -> str:
    """Return foreign text as it may stand in a docstring: one line, no quotes, no backslashes."""
    kept = "".join(c if c.isprintable() and c not in "\"'\\{}" else " " for c in text)
    return " ".join(kept.split())[:200]
