"""Random changes of training images, one file each; importing the package registers them all."""

from pruning_core.registry import import_plugins
from pruning_core.tuning.augmentation import AUGMENTATIONS, Augmentation, check_augmentations

import_plugins(__name__)

__all__ = ["AUGMENTATIONS", "Augmentation", "check_augmentations"]
