"""What a registry entry for an architecture says, and building its initial network."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from pruning_core.planning.recipe import Tuning


@dataclass(frozen=True, slots=True)
class Architecture:
    """A network that is trained by ``scripts/train_bundled.py`` and shipped.

    Attributes:
        key: Its name; the trained model is called ``bundled:<key>``.
        title: Its name on the screen.
        description: One or two sentences for the screen.
        data: Name of the data set it is trained on.
        input_shape: Shape of one input, without the batch axis.
        build: Returns the network with fresh weights; draws from torch's global generator.
        training: How it was trained.
    """

    key: str
    title: str
    description: str
    data: str
    input_shape: tuple[int, ...]
    build: Callable[[], nn.Module]
    training: Tuning


def build_initial(architecture: Architecture, seed: int) -> nn.Module:
    """Return the network with the initial weights that belong to ``seed``, in eval mode.

    The global random generator is left as it was.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return architecture.build().eval()
