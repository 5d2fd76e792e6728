"""The architectures of the bundled models, one file for each family.

Each takes ``[B, 1, H, W]`` float32 and returns logits ``[B, 10]``. No ``forward`` holds a size that
pruning can change.
"""

from pruning_core.loading.architecture import Architecture
from pruning_core.registry import Registry, import_plugins

ARCHITECTURES: Registry[Architecture] = Registry("architecture")

import_plugins(__name__)
