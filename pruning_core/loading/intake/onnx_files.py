"""ONNX files: the graph is checked and its weights are read; nothing is ever run."""

from collections import Counter
from collections.abc import Iterable, Iterator
from math import prod
from pathlib import Path
from typing import Any, Final

import onnx
import torch
from google.protobuf.message import DecodeError
from onnx import numpy_helper, shape_inference
from torch import Tensor

from pruning_core.loading.intake.contents import (
    Contents,
    RefusedFileError,
    Stored,
    check_number,
    checked,
    shortened,
)

_MOST_NODES: Final = 200_000
_MOST_VALUES: Final = 2**31
_CONTROL: Final = frozenset({"Loop", "Scan", "If"})
_FLOATS: Final = {
    onnx.TensorProto.FLOAT: torch.float32,
    onnx.TensorProto.DOUBLE: torch.float64,
    onnx.TensorProto.FLOAT16: torch.float16,
}
_COUNTS: Final = (
    onnx.TensorProto.INT32,
    onnx.TensorProto.INT64,
    onnx.TensorProto.BOOL,
    onnx.TensorProto.STRING,
)
_FIELDS: Final = {
    onnx.TensorProto.FLOAT: "float_data",
    onnx.TensorProto.DOUBLE: "double_data",
    onnx.TensorProto.FLOAT16: "int32_data",
}


def read_onnx(path: Path) -> Contents:
    """Return the floating-point weights of an ONNX file, and what its graph consists of.

    Raises:
        RefusedFileError: If it is damaged, refers to other files, loops, or is not a valid graph.
    """
    try:
        model = onnx.load(path, load_external_data=False)
    except (DecodeError, ValueError):
        raise RefusedFileError(
            "The file is no ONNX file, or is cut off. Download or export it again."
        ) from None
    newest = onnx.defs.onnx_opset_version()
    for entry in model.opset_import:
        if entry.domain in {"", "ai.onnx"} and entry.version > newest:
            raise RefusedFileError(
                f"The file uses version {entry.version} of ONNX's operators; {newest} is the "
                "newest that is known. Export it for an older one."
            )
    graph = model.graph
    if not graph.node:
        raise RefusedFileError("The ONNX file has no operators: it is empty or cut off.")
    tensors = list(_all_tensors(graph))
    for tensor in tensors:
        _check_tensor(tensor)
    _check_nodes(graph)
    inferred = _checked_graph(model)
    _check_sizes(inferred)
    values = (*graph.initializer, *_constants(graph))
    floats = [x for x in values if x.data_type in _FLOATS]
    kept, notes = checked(map(_stored, floats), path.stat().st_size)
    check_number(len(kept))
    return Contents("onnx", {"": kept}, (*notes, *_unread(values)), _details(model))


def _unread(values: Iterable[Any]) -> Iterator[str]:
    """Yield which weights are of types that are not read; plain whole numbers are no weights."""
    known = {*_FLOATS, *_COUNTS}
    names = [x.name for x in values if x.data_type not in known and prod(x.dims) > 1]
    kinds = {onnx.TensorProto.DataType.Name(x.data_type) for x in values} if names else set()
    kinds -= {onnx.TensorProto.DataType.Name(kind) for kind in known}
    if names:
        listed = ", ".join(f"'{shortened(name, 30)}'" for name in names[:3])
        more = f" and {len(names) - 3:,} more" if len(names) > 3 else ""
        yield (
            f"{listed}{more} are left out: values of the type {', '.join(sorted(kinds)).lower()} "
            "are not read from ONNX. Export float32 weights."
        )


def _constants(graph: Any) -> Iterator[Any]:
    """Yield the values of constant operators, under the names of what they make."""
    for node in graph.node:
        for attribute in node.attribute:
            if node.op_type == "Constant" and attribute.HasField("t") and attribute.t.dims:
                attribute.t.name = node.output[0]
                yield attribute.t


def _all_tensors(graph: Any) -> Iterator[Any]:
    yield from graph.initializer
    if graph.sparse_initializer:
        raise RefusedFileError("The ONNX file holds sparse weights, which cannot be opened.")
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors


def _check_tensor(tensor: Any) -> None:
    name = shortened(tensor.name or "a constant")
    if tensor.data_location == onnx.TensorProto.EXTERNAL or tensor.external_data:
        raise RefusedFileError(
            f"The values of '{name}' are said to be in another file (external data), which is "
            "never opened. Export one file with the weights in it."
        )
    if any(n < 0 for n in tensor.dims):
        raise RefusedFileError(f"'{name}' has a negative size.")
    count = prod(tensor.dims)
    if tensor.data_type in _FLOATS:
        size = _FLOATS[tensor.data_type].itemsize
        there = len(tensor.raw_data) // size or len(getattr(tensor, _FIELDS[tensor.data_type]))
        if there != count or len(tensor.raw_data) % size:
            raise RefusedFileError(
                f"'{name}' says it has {count:.4g} values; the file holds {there:,} for it."
            )
    elif count > 8 * (tensor.ByteSize() + 1):
        raise RefusedFileError(
            f"'{name}' says it has {count:.4g} values, more than the file holds."
        )


def _check_nodes(graph: Any) -> None:
    if len(graph.node) > _MOST_NODES:
        raise RefusedFileError(f"The graph has {len(graph.node):,} operators, too many to be read.")
    for node in graph.node:
        has_graph = any(a.HasField("g") or a.graphs for a in node.attribute)
        if node.op_type in _CONTROL or has_graph:
            raise RefusedFileError(
                f"The graph holds the operator {shortened(node.op_type, 30)}, a loop or branch, "
                "which may run for ever. Export the model without control flow."
            )


def _checked_graph(model: Any) -> Any:
    """Return the model with the shapes of all its values, if it is a valid one."""
    try:
        onnx.checker.check_model(model)
        return shape_inference.infer_shapes(
            model, check_type=True, strict_mode=True, data_prop=True
        )
    except (onnx.checker.ValidationError, shape_inference.InferenceError, ValueError) as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        cause = shortened(lines[0] if lines else "no reason given", 110)
        raise RefusedFileError(f"The file is no valid ONNX model: {cause}") from None


def _check_sizes(model: Any) -> None:
    """Refuse values that would take more memory than a machine has."""
    for value in (*model.graph.value_info, *model.graph.output, *model.graph.input):
        dims = value.type.tensor_type.shape.dim
        count = prod(d.dim_value for d in dims if d.dim_value > 0)  # some write -1 for any size
        if count > _MOST_VALUES:
            raise RefusedFileError(
                f"The graph makes a value '{shortened(value.name, 40)}' of {count:.4g} "
                "numbers, more than fits into memory."
            )


def _stored(tensor: Any) -> Stored:
    def read() -> Tensor:
        return torch.from_numpy(numpy_helper.to_array(tensor).copy())

    return Stored(tensor.name, _FLOATS[tensor.data_type], tuple(tensor.dims), read)


def _details(model: Any) -> dict[str, object]:
    counts = Counter(node.op_type for node in model.graph.node)
    return {
        "operators": dict(counts.most_common(100)),
        "inputs": [_value(value) for value in model.graph.input],
        "outputs": [_value(value) for value in model.graph.output],
        "opset": max((entry.version for entry in model.opset_import), default=0),
        "producer": shortened(f"{model.producer_name} {model.producer_version}".strip()),
    }


def _value(value: Any) -> dict[str, object]:
    dims = value.type.tensor_type.shape.dim
    sizes = [
        d.dim_value if d.HasField("dim_value") and d.dim_value >= 0 else shortened(d.dim_param, 20)
        for d in dims
    ]
    return {"name": shortened(value.name), "shape": sizes}
