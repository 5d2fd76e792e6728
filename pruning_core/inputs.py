"""What a model is called with and returns: tensors in any nesting."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any

from torch import Tensor
from torch.utils import _pytree as pytree


@dataclass(frozen=True, slots=True, eq=False)
class Inputs:
    """The arguments of one call.

    Tensors whose first axis is as long as the first tensor's carry the batch there; all others
    (and numbers, strings, None) are the same for every sample.

    Attributes:
        args: Arguments by position: tensors, or lists, tuples and dictionaries of them.
        kwargs: Arguments by keyword.
    """

    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, given: "Tensor | Sequence[Any] | Mapping[str, Any] | Inputs") -> "Inputs":
        """Read one tensor, a sequence of positional or a mapping of keyword arguments."""
        if isinstance(given, Inputs):
            return given
        if isinstance(given, Tensor):
            return cls((given,))
        if isinstance(given, Mapping):
            return cls((), dict(given))
        return cls(tuple(given))

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """All tensors, in a fixed order."""
        leaves = pytree.tree_leaves((self.args, dict(self.kwargs)))
        return tuple(leaf for leaf in leaves if isinstance(leaf, Tensor))

    @property
    def is_flat(self) -> bool:
        """True when there are positional tensors only."""
        return not self.kwargs and all(isinstance(item, Tensor) for item in self.args)

    @property
    def batch_size(self) -> int:
        """Samples in the batch; 0 without a tensor that has an axis."""
        return next((tensor.shape[0] for tensor in self.tensors if tensor.ndim), 0)

    def with_tensors(self, tensors: Iterable[Any]) -> "Inputs":
        """Return the same call with other tensors, given in the order of :attr:`tensors`."""
        rest = iter(tensors)
        leaves, spec = pytree.tree_flatten((self.args, dict(self.kwargs)))
        filled = [next(rest) if isinstance(leaf, Tensor) else leaf for leaf in leaves]
        return Inputs(*pytree.tree_unflatten(filled, spec))

    def sample(self) -> "Inputs":
        """Return the call for the first sample alone."""
        size = self.batch_size
        return self.with_tensors(x[:1] if _carries(x, size) else x for x in self.tensors)

    def repeated(self, times: int) -> "Inputs":
        """Return the call for every sample ``times`` times."""
        size = self.batch_size
        return self.with_tensors(
            x.repeat(times, *[1] * (x.ndim - 1)) if _carries(x, size) else x for x in self.tensors
        )

    @property
    def carry_batch(self) -> tuple[bool, ...]:
        """For each tensor, whether its first axis is that of the samples."""
        return tuple(_carries(tensor, self.batch_size) for tensor in self.tensors)

    @property
    def names(self) -> tuple[str, ...]:
        """A name for each tensor: its keyword, or its place, e.g. ``input_0``."""
        keyed = {f"input_{place}": value for place, value in enumerate(self.args)}
        found, _ = pytree.tree_flatten_with_path({**keyed, **dict(self.kwargs)})
        return tuple(
            re.sub(r"\W+", "_", pytree.keystr(path)).strip("_")
            for path, leaf in found
            if isinstance(leaf, Tensor)
        )

    @property
    def shapes(self) -> str:
        """The shapes of all tensors, for messages."""
        return ", ".join(str(list(tensor.shape)) for tensor in self.tensors)


def _carries(tensor: Tensor, batch_size: int) -> bool:
    return tensor.ndim > 0 and tensor.shape[0] == batch_size


def opened(output: Any) -> Any:
    """Return ``output`` with objects that torch does not look into replaced by dictionaries."""

    def leaf_opened(leaf: Any) -> Any:
        if is_dataclass(leaf) and not isinstance(leaf, type):
            return {item.name: opened(getattr(leaf, item.name)) for item in fields(leaf)}
        if isinstance(leaf, Tensor) or not hasattr(leaf, "__dict__"):
            return leaf
        return {name: opened(value) for name, value in vars(leaf).items()}

    return pytree.tree_map(leaf_opened, output)


def output_tensors(output: Any) -> list[Tensor]:
    """Return all tensors of what a model returned, in a fixed order."""
    return [leaf for leaf in pytree.tree_leaves(opened(output)) if isinstance(leaf, Tensor)]
