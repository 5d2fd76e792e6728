"""Images with a square cut out."""

import torch
from torch import Tensor

from pruning_core.tuning.augmentation import AUGMENTATIONS, Augmentation


def cut_out(images: Tensor, strength: float, draw: torch.Generator, _black: float) -> Tensor:
    """Return ``[B, C, H, W]`` in which a square of side ``strength`` pixels is the mean colour.

    Its centre is any pixel, so that it may lie over the edge; normalised images have mean 0.
    """
    side = int(strength)
    n, _, height, width = images.shape
    inside = [
        _covered(torch.randint(size, (n, 1), generator=draw).to(images.device), size, side)
        for size in (height, width)
    ]
    square = inside[0][:, None, :, None] & inside[1][:, None, None, :]
    return images.masked_fill(square, 0.0)


def _covered(centre: Tensor, size: int, side: int) -> Tensor:
    """Return ``[B, size]``, True at the ``side`` places around the centres ``[B, 1]``."""
    offset = torch.arange(size, device=centre.device) - centre + side // 2
    return (offset >= 0) & (offset < side)


AUGMENTATIONS.add(
    "cutout",
    Augmentation(
        key="cutout",
        title="Cutout",
        description="Hides a square of each image at a random place, so that no single detail "
        "decides.",
        source="DeVries and Taylor 2017, arXiv:1708.04552",
        unit="pixels",
        usual=8,
        high=512,
        whole=True,
        change=cut_out,
    ),
)
