"""Sparsity penalties, one file each; importing the package registers them all."""

from pruning_core.registry import import_plugins
from pruning_core.tuning.penalty import PENALTIES, Penalty

import_plugins(__name__)

__all__ = ["PENALTIES", "Penalty"]
