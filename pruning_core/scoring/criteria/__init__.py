"""Criteria, one file each; importing the package registers them all."""

from pruning_core.registry import import_plugins

import_plugins(__name__)
