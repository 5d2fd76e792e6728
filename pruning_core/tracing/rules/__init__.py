"""How labels pass through ATen operators: one small function an operator, one file a family.

Each function receives the walk and the node, and returns the labels of the output. An operator
without a rule locks what it touches, so a missing rule costs prunable units, never correctness.
"""

from pruning_core.registry import import_plugins

import_plugins(__name__)
