"""Criteria, one file each; importing the package registers them all."""

from pruning_core.registry import import_plugins
from pruning_core.scoring.criterion import CRITERIA

import_plugins(__name__)

__all__ = ["CRITERIA"]
