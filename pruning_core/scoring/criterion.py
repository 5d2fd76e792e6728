"""What a criterion is: how much a unit matters, as data that describes itself."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

import torch
from torch import Tensor

from pruning_core.registry import Registry


class Evidence(StrEnum):
    """What a criterion must see."""

    WEIGHTS = "weights"
    GRADIENTS = "gradients"
    ACTIVATIONS = "activations"


def unchanged(total: Tensor) -> Tensor:
    """Return the totals as they are."""
    return total


@dataclass(frozen=True, slots=True)
class PerElement:
    """A value for each parameter element, summed over the elements of each unit.

    Attributes:
        value: ``(weight, gradient or None) -> value``, element by element, same shape.
        finish: What is done to the sums ``[U]``.
    """

    value: Callable[[Tensor, Tensor | None], Tensor]
    finish: Callable[[Tensor], Tensor] = unchanged


@dataclass(frozen=True, slots=True)
class PerActivation:
    """A value for each number that the next layers read from a unit, averaged.

    Attributes:
        value: ``activation -> value``, element by element, same shape.
        finish: What is done to the means ``[U]``.
    """

    value: Callable[[Tensor], Tensor]
    finish: Callable[[Tensor], Tensor] = unchanged


@dataclass(frozen=True, slots=True)
class Drawn:
    """A score drawn at random: ``(n_units, generator) -> [U]``."""

    draw: Callable[[int, torch.Generator], Tensor]


@dataclass(frozen=True, slots=True)
class Criterion:
    """One way to say how much a unit matters; a higher score means it stays longer.

    Attributes:
        key: Name in recipes.
        title: Name on screen.
        formula: LaTeX, with ``u`` the unit and ``e`` its elements.
        description: One or two sentences for the person who chooses.
        source: Paper and arXiv id, or where the idea comes from.
        needs: What it must see; gradients and activations need calibration data.
        supports: Keys of the granularities it can rate.
        rule: How the score is computed.
    """

    key: str
    title: str
    formula: str
    description: str
    source: str
    needs: frozenset[Evidence]
    supports: frozenset[str]
    rule: PerElement | PerActivation | Drawn

    @property
    def needs_data(self) -> bool:
        """True when calibration data must flow through the network."""
        return bool(self.needs & {Evidence.GRADIENTS, Evidence.ACTIVATIONS})


CRITERIA: Registry[Criterion] = Registry("criterion")
ALL_GRANULARITIES = frozenset({"weight", "unit"})
