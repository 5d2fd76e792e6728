"""Images turned around their centre."""

import math

import torch
from torch import Tensor
from torch.nn import functional

from pruning_core.tuning.augmentation import AUGMENTATIONS, Augmentation


def rotated(images: Tensor, strength: float, draw: torch.Generator, black: float) -> Tensor:
    """Return ``[B, C, H, W]``, each turned by up to ``strength`` degrees either way.

    Values between pixels are interpolated linearly; corners that become free are black.
    """
    n, _, height, width = images.shape
    angles = (2 * torch.rand(n, generator=draw) - 1) * math.radians(strength)
    cosine, sine, zero = angles.cos(), angles.sin(), torch.zeros(n)
    turns = torch.stack(
        [
            torch.stack([cosine, -sine * height / width, zero], dim=1),
            torch.stack([sine * width / height, cosine, zero], dim=1),
        ],
        dim=1,
    ).to(images.device)
    grid = functional.affine_grid(turns, list(images.shape), align_corners=False)
    return functional.grid_sample(images - black, grid, align_corners=False) + black


AUGMENTATIONS.add(
    "rotation",
    Augmentation(
        key="rotation",
        title="Turn",
        description="Turns each image around its centre by a random angle, up to so many degrees "
        "either way.",
        source="Simard et al. 2003, doi:10.1109/ICDAR.2003.1227801",
        unit="degrees",
        usual=10,
        high=180,
        whole=False,
        change=rotated,
    ),
)
