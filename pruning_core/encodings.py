"""How large a masked network is on disk, by encodings that leave zeros out.

Zeros in a dense file cost as much as any number. Each encoding here is a real one: it writes
tensors, reads them back, and its size is known to the byte before anything is written. The file is
a safetensors file in which a weight ``w`` with zeros is replaced by parts ``w.values``,
``w.bitmask`` and so on; all other tensors stay dense.
"""

import io
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import prod

import numpy as np
import safetensors.torch
import torch
from torch import Tensor, nn

from pruning_core.granularities.matrix import Box, Matrix, matrices
from pruning_core.loading.weights import predicted_safetensors_bytes
from pruning_core.loading.weights_only import state_in_file
from pruning_core.planning.plan import Plan
from pruning_core.registry import Registry
from pruning_core.surgery.mask import apply_masks, weight_masks
from pruning_core.tracing.network import Network

LARGEST_ZIP = 1 << 26
"""Dense bytes above which no archive is made only to see how large it is."""

Shapes = dict[str, tuple[tuple[int, ...], torch.dtype]]


@dataclass(frozen=True, slots=True)
class Encoding:
    """One way to store a weight ``[out, in, kernel]`` that holds zeros.

    Attributes:
        key: Name in answers.
        title: Name on screen.
        shapes: ``(box, non-zeros, element type) -> `` shape and type of each part.
        encode: ``[out, in, kernel] -> `` the parts by name.
        decode: ``(parts, box) -> [out, in, kernel]``.
        fits: ``[out, in, kernel]``, True where there is no zero -> can the weight be encoded.
    """

    key: str
    title: str
    shapes: Callable[[Box, int, torch.dtype], Shapes]
    encode: Callable[[Tensor], dict[str, Tensor]]
    decode: Callable[[Mapping[str, Tensor], Box], Tensor]
    fits: Callable[[Tensor], bool] = lambda _: True


ENCODINGS: Registry[Encoding] = Registry("encoding")


def file_sizes(network: Network, plan: Plan) -> dict[str, int | None]:
    """Return bytes of the whole file by encoding, when the masks of ``plan`` are applied.

    ``dense`` is the plain safetensors file. ``zip`` is a deflated archive of it, made and measured;
    None above :data:`LARGEST_ZIP`. Another encoding is None where it fits no weight. Empty for
    plans without masks, and for mixed ones that remove something besides.
    """
    masks = weight_masks(network, plan)
    if not masks or plan.cut(network) or not plan.unit_keep(network).all():
        return {}
    live = {}
    for found in matrices(network):
        stays = network.tensor(found.parameter).detach() != 0
        if found.parameter in masks:
            stays &= masks[found.parameter]
        live[found.parameter] = _box(found, stays.cpu())
    sizes = {key: _size(network, live, encoding) for key, encoding in ENCODINGS.items()}
    state = state_in_file(network.module)
    dense = predicted_safetensors_bytes({k: (tuple(v.shape), v.dtype) for k, v in state.items()})
    is_small = dense <= LARGEST_ZIP
    archive = len(zipped(state_in_file(apply_masks(network, masks)))) if is_small else None
    return {"dense": dense, **sizes, "zip": archive}


def stored_sizes(network: Network, plan: Plan, pruned: nn.Module) -> dict[str, int | None]:
    """Return bytes of the file in every form, before and after, for plans of any kind.

    ``dense`` and ``dense zip`` are those of the model before. ``raw`` and ``zip`` are those of
    ``pruned``, the plan carried out; for plans of masks alone the encodings of :func:`file_sizes`
    follow. Archives are made and measured, and None above :data:`LARGEST_ZIP`.
    """
    sizes = file_sizes(network, plan)
    found: dict[str, int | None] = {}
    for raw_key, zip_key, module in (
        ("dense", "dense zip", network.module),
        ("raw", "zip", pruned),
    ):
        state = state_in_file(module)
        raw = predicted_safetensors_bytes({k: (tuple(v.shape), v.dtype) for k, v in state.items()})
        found[raw_key] = raw
        found[zip_key] = len(zipped(state)) if raw <= LARGEST_ZIP else None
    return found | {key: sizes[key] for key in ENCODINGS if key in sizes}


def encoded(network: Network, state: Mapping[str, Tensor], key: str) -> dict[str, Tensor]:
    """Return the tensors of the file that holds ``state`` with its sparse weights encoded.

    Args:
        network: The traced network.
        state: State dict of a masked copy of it.
        key: Name of the encoding.
    """
    encoding, weights, result = ENCODINGS[key], _weights(network), {}
    for name, tensor in state.items():
        box = _box(weights[name], tensor.detach().cpu()) if name in weights else None
        if box is None or not _is_encoded(encoding, box != 0):
            result[name] = tensor
        else:
            parts = encoding.encode(box)
            result |= {f"{name}.{part}": value for part, value in parts.items()}
    return result


def decoded(network: Network, tensors: Mapping[str, Tensor], key: str) -> dict[str, Tensor]:
    """Return the state dict that :func:`encoded` was given."""
    state = dict(tensors)
    for name, found in _weights(network).items():
        if name not in tensors:
            own = {k.removeprefix(f"{name}."): v for k, v in tensors.items()}
            order = (*found.outputs, *found.inputs, *found.kernel)
            box = ENCODINGS[key].decode(own, found.box)
            stored = box.reshape([found.shape[axis] for axis in order])
            state[name] = stored.permute(np.argsort(order).tolist()).contiguous()
    return {name: state[name] for name in network.module.state_dict()}


def zipped(state: Mapping[str, Tensor]) -> bytes:
    """Return a deflated archive with the dense safetensors file of ``state``."""
    buffer = io.BytesIO()
    tensors = {name: value.cpu().contiguous().clone() for name, value in state.items()}
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("model.safetensors", safetensors.torch.save(tensors))
    return buffer.getvalue()


def _size(network: Network, live: Mapping[str, Tensor], encoding: Encoding) -> int | None:
    shapes: Shapes = {}
    weights = _weights(network)
    fitting = {name for name, stays in live.items() if _is_encoded(encoding, stays)}
    for name, tensor in network.module.state_dict().items():
        if name in weights and weights[name].parameter in fitting:
            found = weights[name]
            n_nonzero = int(live[found.parameter].count_nonzero())
            parts = encoding.shapes(found.box, n_nonzero, tensor.dtype)
            shapes |= {f"{name}.{part}": shape for part, shape in parts.items()}
        else:
            shapes[name] = tuple(tensor.shape), tensor.dtype
    return predicted_safetensors_bytes(shapes) if fitting else None


def _is_encoded(encoding: Encoding, live: Tensor) -> bool:
    return not bool(live.all()) and encoding.fits(live)


def _weights(network: Network) -> dict[str, Matrix]:
    """Return the weight that an entry of the state dict holds; a tied one has several entries."""
    found = {id(network.tensor(each.parameter)): each for each in matrices(network)}
    state = network.module.state_dict(keep_vars=True)
    return {name: found[id(tensor)] for name, tensor in state.items() if id(tensor) in found}


def _box(found: Matrix, values: Tensor) -> Tensor:
    """Return values of a weight's shape as ``[out, in, kernel]``."""
    return values.permute(*found.outputs, *found.inputs, *found.kernel).reshape(found.box)


def _bitmask_shapes(box: Box, n_nonzero: int, dtype: torch.dtype) -> Shapes:
    return {"bitmask": ((-(-prod(box) // 8),), torch.uint8), "values": ((n_nonzero,), dtype)}


def _bitmask_encode(box: Tensor) -> dict[str, Tensor]:
    live = box.flatten() != 0
    return {
        "bitmask": torch.from_numpy(np.packbits(live.numpy())),
        "values": box.flatten()[live],
    }


def _bitmask_decode(parts: Mapping[str, Tensor], box: Box) -> Tensor:
    bits = np.unpackbits(parts["bitmask"].numpy(), count=prod(box))
    result = torch.zeros(prod(box), dtype=parts["values"].dtype)
    result[torch.from_numpy(bits).bool()] = parts["values"]
    return result.reshape(box)


def _csr_shapes(box: Box, n_nonzero: int, dtype: torch.dtype) -> Shapes:
    return {
        "row_starts": ((box[0] + 1,), torch.int32),
        "columns": ((n_nonzero,), torch.int32),
        "values": ((n_nonzero,), dtype),
    }


def _csr_encode(box: Tensor) -> dict[str, Tensor]:
    rows = box.reshape(box.shape[0], -1)
    live = rows != 0
    starts = torch.zeros(len(rows) + 1, dtype=torch.int32)
    starts[1:] = live.sum(dim=1).cumsum(dim=0)
    return {
        "row_starts": starts,
        "columns": live.nonzero()[:, 1].to(torch.int32),
        "values": rows[live],
    }


def _csr_decode(parts: Mapping[str, Tensor], box: Box) -> Tensor:
    starts, columns = parts["row_starts"].long(), parts["columns"].long()
    result = torch.zeros(box[0], prod(box[1:]), dtype=parts["values"].dtype)
    rows = torch.repeat_interleave(torch.arange(box[0]), starts.diff())
    result[rows, columns] = parts["values"]
    return result.reshape(box)


def _groups(box: Tensor) -> Tensor:
    """Return ``[n_groups, 4]``: runs of four inputs of one output at one place of the kernel."""
    return box.transpose(1, 2).reshape(-1, 4)


def _two_of_four_fits(live: Tensor) -> bool:
    return live.shape[1] % 4 == 0 and bool((_groups(live).sum(dim=1) <= 2).all())


def _two_of_four_shapes(box: Box, _: int, dtype: torch.dtype) -> Shapes:
    n_groups = prod(box) // 4
    return {"values": ((n_groups, 2), dtype), "places": ((-(-n_groups // 2),), torch.uint8)}


def _two_of_four_encode(box: Tensor) -> dict[str, Tensor]:
    groups = _groups(box)
    # Non-zeros first, then zeros, each in order; the first two are stored in ascending order.
    two = (groups == 0).to(torch.uint8).sort(dim=1, stable=True).indices[:, :2].sort(dim=1).values
    nibbles = (two[:, 0] | two[:, 1] << 2).to(torch.uint8)
    padded = torch.nn.functional.pad(nibbles, (0, len(nibbles) % 2))
    return {"values": groups.gather(1, two), "places": padded[::2] | padded[1::2] << 4}


def _two_of_four_decode(parts: Mapping[str, Tensor], box: Box) -> Tensor:
    n_groups = prod(box) // 4
    nibbles = torch.stack([parts["places"] & 15, parts["places"] >> 4], dim=1).flatten()[:n_groups]
    two = torch.stack([nibbles & 3, nibbles >> 2], dim=1).long()
    groups = torch.zeros(n_groups, 4, dtype=parts["values"].dtype)
    groups.scatter_(1, two, parts["values"])
    return groups.reshape(box[0], box[2], box[1]).transpose(1, 2)


for _encoding in (
    Encoding(
        key="bitmask",
        title="one bit a weight, then the non-zeros",
        shapes=_bitmask_shapes,
        encode=_bitmask_encode,
        decode=_bitmask_decode,
    ),
    Encoding(
        key="csr",
        title="compressed sparse rows, 32-bit columns",
        shapes=_csr_shapes,
        encode=_csr_encode,
        decode=_csr_decode,
    ),
    Encoding(
        key="2:4",
        title="two of four inputs and their places",
        shapes=_two_of_four_shapes,
        encode=_two_of_four_encode,
        decode=_two_of_four_decode,
        fits=_two_of_four_fits,
    ),
):
    ENCODINGS.add(_encoding.key, _encoding)
