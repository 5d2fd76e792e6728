"""Random draws of the training: each a function of the seed, its purpose and its place."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from pruning_core.devices import CPU


def generator(seed: int, purpose: str, *place: int) -> torch.Generator:
    """Return a generator for one draw; different purposes or places are independent."""
    return torch.Generator().manual_seed(_mixed(seed, purpose, *place))


@contextmanager
def seeded_globally(
    seed: int, purpose: str, *place: int, device: torch.device = CPU
) -> Iterator[None]:
    """Seed torch's global generators, from which dropout draws, inside only.

    Both that of the processor and that of ``device``, where it has one of its own.
    """
    number = _mixed(seed, purpose, *place)
    own = getattr(torch, device.type) if device.type in {"cuda", "mps"} else None
    before = torch.get_rng_state(), own.get_rng_state() if own else None
    torch.default_generator.manual_seed(number)
    if own:
        own.manual_seed(number)
    try:
        yield
    finally:
        torch.set_rng_state(before[0])
        if own:
            own.set_rng_state(before[1])


def flipped(images: Tensor, draw: torch.Generator) -> Tensor:
    """Return ``[B, ..., W]`` in which each image is mirrored left to right with probability 1/2."""
    mirrored = (torch.rand(len(images), generator=draw) < 0.5).to(images.device)
    return torch.where(mirrored.view(-1, *[1] * (images.ndim - 1)), images.flip(-1), images)


def _mixed(seed: int, purpose: str, *place: int) -> int:
    text = "/".join(map(str, (seed, purpose, *place)))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8]) >> 1
