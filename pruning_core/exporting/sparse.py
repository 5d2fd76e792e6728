"""Weights without their zeros: one bit for each number, then the numbers that are not zero.

A tensor ``w`` with zeros is stored as ``w.bitmask`` (uint8, the first number is the highest bit of
the first byte, as ``numpy.packbits`` writes it) and ``w.values``; its shape stands in the metadata
of the file under ``shapes``. All other tensors are stored as they are.
"""

import json
from collections.abc import Mapping
from math import prod
from pathlib import Path
from typing import Final

import numpy as np
import safetensors
import torch
from safetensors import SafetensorError
from torch import Tensor

from pruning_core.errors import DataError

FORMAT: Final = "bitmask"
_FEWEST: Final = 64
"""Numbers that a tensor must have: two entries of the header cost more than a few numbers."""


def packed(state: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return the tensors of the file and its metadata; only what becomes smaller is packed."""
    tensors: dict[str, Tensor] = {}
    shapes: dict[str, list[int]] = {}
    for name, value in state.items():
        whole = value.detach().cpu().contiguous()
        flat = whole.reshape(-1)
        live = flat != 0
        n_bytes = -(-flat.numel() // 8) + int(live.sum()) * whole.element_size()
        if flat.numel() < _FEWEST or n_bytes >= flat.numel() * whole.element_size():
            tensors[name] = whole.clone()
            continue
        tensors[f"{name}.bitmask"] = torch.from_numpy(np.packbits(live.numpy()))
        tensors[f"{name}.values"] = flat[live]
        shapes[name] = list(whole.shape)
    return tensors, {"format": FORMAT, "shapes": json.dumps(shapes)}


def read_sparse(path: Path) -> dict[str, Tensor]:
    """Return the state dict that was packed into a file.

    Raises:
        DataError: If the file is damaged or not of this format.
    """
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        shapes = json.loads(metadata["shapes"])
        for name, shape in shapes.items():
            bits, values = tensors.pop(f"{name}.bitmask"), tensors.pop(f"{name}.values")
            live = torch.from_numpy(np.unpackbits(bits.numpy(), count=prod(shape))).bool()
            flat = torch.zeros(prod(shape), dtype=values.dtype)
            flat[live] = values
            tensors[name] = flat.reshape(shape)
    except (OSError, SafetensorError, KeyError, ValueError, TypeError, RuntimeError) as error:
        raise DataError(f"'{path}' holds no packed weights: {str(error)[:120]}.") from None
    return tensors
