"""Sizes that a module stores as plain numbers (heads, widths, splits), set anew after removal.

What a number counts is read off the traced graph: while the module ran, its operators were given
that number, and the graph that computes the pruned network says what becomes of it.
"""

import re
from collections.abc import Mapping
from enum import IntEnum
from typing import Any, Final

from torch import nn

from pruning_core.surgery.resize import resizer
from pruning_core.tracing.rebuild import Size

Met = Mapping[Size, frozenset[Size]]

# Names of sizes in torch.nn, torchvision, timm and transformers. Numbers under other names (a
# layer's place, a window, a stride) may be equal to a size by chance.
_SIZE_NAME: Final = re.compile(
    r"head|embed|hidden|inner|channel|feature|planes|chs|width|split|group|rank|expan|intermediate"
    r"|_shape$|unflattened_size|_size$|dims?$|^dims?_|^d_|^n_embd?$|^nf$|^nx$|^size$|^units?$"
)
_OTHER_NAME: Final = re.compile(
    r"idx|index$|layer|depth|stage|level|kernel|stride|padding|dilation|window|patch|image|img|grid"
    r"|input_size|vocab|position|token|max_|^num_embeddings|input_resolution|chunk|block_size|key_value_groups"
)


class Reach(IntEnum):
    """Which stored numbers are set, each step after the one before did not work."""

    CERTAIN = 0  # names of sizes, numbers with one fate
    NAMED = 1  # names of sizes, also numbers of which some stayed and others changed
    ALL = 2  # every number


def new_sizes(
    module: nn.Module, met: Mapping[str, Met], reach: Reach
) -> dict[tuple[str, str], Any]:
    """Return the stored sizes that change, of all parts that are no basic layer of ``torch.nn``.

    Args:
        module: The model.
        met: For each module path the sizes that its operators met, before and after.
        reach: Which numbers are followed.

    Returns:
        Module path and attribute -> new value.
    """
    sizes: dict[tuple[str, str], Any] = {}
    for path, child in module.named_modules():
        if resizer(child) is not None and any(True for _ in child.parameters(recurse=False)):
            continue  # known by its tensors
        seen = _met_in(path, met)
        for name, value in vars(child).items():
            if name.startswith("_") or name == "training":
                continue
            if reach is Reach.ALL or (_SIZE_NAME.search(name) and not _OTHER_NAME.search(name)):
                new = _changed(value, seen, reach)
                if new != value:
                    sizes[path, name] = new
    return sizes


def _met_in(path: str, met: Mapping[str, Met]) -> Met:
    """Return what the module met, or what its parent did where the parent calls its methods."""
    while path and path not in met:
        path = path.rpartition(".")[0]
    return met.get(path, {})


def _changed(value: Any, seen: Met, reach: Reach) -> Any:
    """Return what becomes of a number or a sequence of numbers."""
    if type(value) in {tuple, list}:
        whole = None
        if all(type(part) is int for part in value):
            whole = _fate(tuple(value), seen, reach)
        parts = whole or [_changed(part, seen, reach) for part in value]
        return type(value)(parts)
    fate = _fate(value, seen, reach) if type(value) is int else None
    return value if fate is None else fate


def _fate(value: Size, seen: Met, reach: Reach) -> Any:
    """Return the one thing that becomes of a size, None where there is no or more than one."""
    fates = seen.get(value, frozenset())
    if reach is not Reach.CERTAIN:
        fates -= {value}
    return next(iter(fates)) if len(fates) == 1 else None
