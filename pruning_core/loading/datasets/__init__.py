"""The data sets, one file each; a file in this folder registers itself in ``DATASETS``."""

from pruning_core.loading.split import DatasetEntry
from pruning_core.registry import Registry, import_plugins

DATASETS: Registry[DatasetEntry] = Registry("data set")

import_plugins(__name__)
