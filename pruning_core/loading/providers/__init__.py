"""The sources of models, one file each; a file in this folder registers itself in ``PROVIDERS``."""

from pruning_core.loading.provider import Provider
from pruning_core.registry import Registry, import_plugins

PROVIDERS: Registry[Provider] = Registry("kind of model")

import_plugins(__name__)
