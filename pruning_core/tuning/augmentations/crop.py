"""Shifted images: padded with black, then cropped back to their size at a random place."""

import torch
from torch import Tensor
from torch.nn import functional

from pruning_core.tuning.augmentation import AUGMENTATIONS, Augmentation


def shifted(images: Tensor, strength: float, draw: torch.Generator, black: float) -> Tensor:
    """Return ``[B, C, H, W]`` crops of the images padded by ``strength`` pixels on each side."""
    margin = int(strength)
    n, channels, height, width = images.shape
    padded = functional.pad(images, (margin,) * 4, value=black)
    top, left = (
        torch.randint(2 * margin + 1, (n, 1), generator=draw).to(images.device) for _ in range(2)
    )
    rows = top + torch.arange(height, device=images.device)
    columns = left + torch.arange(width, device=images.device)
    return padded[
        torch.arange(n, device=images.device)[:, None, None, None],
        torch.arange(channels, device=images.device)[None, :, None, None],
        rows[:, None, :, None],
        columns[:, None, None, :],
    ]


AUGMENTATIONS.add(
    "crop",
    Augmentation(
        key="crop",
        title="Shift",
        description="Moves each image by up to so many pixels in both directions: a random crop "
        "after padding with black.",
        source="He et al. 2015 (ResNet), arXiv:1512.03385, section 4.2",
        unit="pixels",
        usual=2,
        high=64,
        whole=True,
        change=shifted,
    ),
)
