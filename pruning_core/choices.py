"""Choices that a network makes by values: which boxes, which experts, which are the largest.

Two networks that compute the same up to rounding may choose differently where candidates are nearly
equal, and everything after the choice differs then. To compare them, one is made to choose as the
other did.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

# They return the chosen values and where these stood along ``dim``.
_VALUES_AND_PLACES: Final = frozenset({"topk", "sort", "max", "min", "kthvalue", "median", "mode"})


@dataclass(frozen=True, slots=True, eq=False)
class Choice:
    """What an operator made of numbers that is none itself: a comparison, a place, a count."""

    operator: str
    source: tuple[int, ...]
    result: Tensor


class Choices(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Inside the block, note each choice, or repeat those that were noted before.

    A choice over numbers of another shape (pruning made them fewer) stays as it is.

    Attributes:
        made: The choices, in order.
    """

    def __init__(self, repeat: Sequence[Choice] | None = None) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.made: list[Choice] = []
        self._repeat = repeat

    def __torch_dispatch__(
        self, func: Any, _types: Any, args: Any = (), kwargs: Any = None
    ) -> object:
        result = func(*args, **(kwargs or {}))
        source = args[0] if args else None
        if not isinstance(source, Tensor) or not source.is_floating_point():
            return result
        name = func.overloadpacket.__name__
        if isinstance(result, Tensor):
            is_number = result.is_floating_point() or result.is_complex()
            return result if is_number else self._chosen(name, source, result)
        if name in _VALUES_AND_PLACES and isinstance(result, tuple):
            places = self._chosen(name, source, result[1])
            if places is not result[1]:
                dim = _dimension(func, args, kwargs or {})
                return type(result)((_picked(source, dim, places), places))
        return result

    def _chosen(self, name: str, source: Tensor, own: Tensor) -> Tensor:
        """Note a choice and return it, or the one made in its place.

        Raises:
            RuntimeError: If other operators ran than before.
        """
        choice = Choice(name, tuple(source.shape), own)
        self.made.append(choice)
        if self._repeat is None:
            return own
        if len(self.made) > len(self._repeat) or self._repeat[len(self.made) - 1].operator != name:
            raise RuntimeError(f"other choices are made than before, from '{name}' on")
        before = self._repeat[len(self.made) - 1]
        return before.result.clone() if before.source == choice.source else own


def _picked(source: Tensor, dim: int, places: Tensor) -> Tensor:
    if source.ndim == places.ndim:
        return source.gather(dim, places)
    return source.gather(dim, places.unsqueeze(dim)).squeeze(dim)


def _dimension(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> int:
    for place, argument in enumerate(func._schema.arguments):
        if argument.name == "dim" and (place < len(args) or "dim" in kwargs):
            return int(args[place] if place < len(args) else kwargs["dim"])
    return -1
