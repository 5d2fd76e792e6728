"""Granularities, one file each."""

from pruning_core.granularities.granularity import (
    GRANULARITIES,
    Combine,
    Elements,
    ElementValues,
    Granularity,
    Pattern,
    Site,
)
from pruning_core.registry import import_plugins

import_plugins(__name__)

__all__ = [
    "GRANULARITIES",
    "Combine",
    "ElementValues",
    "Elements",
    "Granularity",
    "Pattern",
    "Site",
]
