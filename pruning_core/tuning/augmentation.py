"""What a random change of training images is, and the registry of them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from pruning_core.errors import DataError, InvalidRecipeError
from pruning_core.registry import Registry

Change = Callable[[Tensor, float, torch.Generator, float], Tensor]
"""Images ``[B, C, H, W]``, strength, generator on the processor, value of black -> images."""


@dataclass(frozen=True, slots=True)
class Augmentation:
    """A random change of images that keeps what they show.

    Attributes:
        key: Its name in recipes.
        title: Its name on the screen.
        description: One sentence for the screen.
        source: Paper.
        unit: What the strength counts, e.g. ``pixels``.
        usual: A strength to start with.
        high: The highest strength; it is above 0, and whole where ``whole``.
        whole: True when only whole strengths make sense.
        change: Makes the changed images. All draws come from the generator given.
    """

    key: str
    title: str
    description: str
    source: str
    unit: str
    usual: float
    high: float
    whole: bool
    change: Change


AUGMENTATIONS: Registry[Augmentation] = Registry("augmentation")


def check_augmentations(wanted: Mapping[str, float]) -> None:
    """Refuse names and strengths that do not exist.

    Raises:
        UnknownNameError: If an augmentation is unknown.
        InvalidRecipeError: If a strength is out of range.
    """
    for key, strength in wanted.items():
        found = AUGMENTATIONS[key]
        if not 0 < strength <= found.high or (found.whole and strength != int(strength)):
            whole = "a whole number" if found.whole else "a number"
            raise InvalidRecipeError(
                f"tuning.augmentations.{key} is {strength:g}; it must be {whole} of {found.unit} "
                f"above 0 and at most {found.high:g}."
            )


def check_images(inputs: Tensor, wanted: str) -> None:
    """Refuse inputs that are no images.

    Raises:
        DataError: Naming what was ``wanted`` and the shape found.
    """
    if inputs.ndim != 4:
        raise DataError(
            f"{wanted} need images; these inputs have the shape {tuple(inputs.shape[1:])}. "
            "Switch them off."
        )
