"""What a criterion is: how much a unit matters, as data that describes itself."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum

import torch
from torch import Tensor

from pruning_core.granularities import Combine, ElementValues, Granularity
from pruning_core.registry import Registry
from pruning_core.scoring.material import Material


class Evidence(StrEnum):
    """What a criterion must see."""

    WEIGHTS = "weights"
    GRADIENTS = "gradients"
    ACTIVATIONS = "activations"
    ACCURACY = "accuracy"


class Rates(StrEnum):
    """What a criterion can give a score to, and with it which granularities it supports."""

    ELEMENTS = "elements"
    """Every element of every parameter: all granularities."""
    WEIGHTS = "weights"
    """The elements of what products multiply: granularities that set weights to zero."""
    UNITS = "units"
    """Whole units that leave with everything coupled to them."""


def unchanged(total: Tensor) -> Tensor:
    """Return the totals as they are."""
    return total


@dataclass(frozen=True, slots=True)
class PerElement:
    """A value for each parameter element, combined over the elements of each unit.

    With gradients, the scores are averaged over the batches.

    Attributes:
        value: ``(weight, gradient or None) -> value``, same shape.
        finish: What is done to the sums (or maxima) ``[U]`` of a site.
        combine: How the elements of a unit become one number.
        power: Set where a value is the magnitude to this power, so that the score of a single
            weight is its magnitude.
        whole_tensors: True when a value depends on other elements of its tensor.
    """

    value: Callable[[Tensor, Tensor | None], Tensor]
    finish: Callable[[Tensor], Tensor] = unchanged
    combine: Combine = Combine.SUM
    power: int | None = None
    whole_tensors: bool = False


@dataclass(frozen=True, slots=True)
class PerElementOfNetwork:
    """As :class:`PerElement`, where a value depends on more than its own tensor and one batch.

    Attributes:
        values: Looks at the whole network (and all data) and returns the values by parameter.
        finish: What is done to the sums ``[U]`` of a site.
    """

    values: Callable[[Material], ElementValues]
    finish: Callable[[Tensor], Tensor] = unchanged


@dataclass(frozen=True, slots=True)
class PerActivation:
    """A value for each number that the next layers read from a unit, averaged over all of them.

    Attributes:
        value: ``activation -> value``, element by element, same shape.
        finish: What is done to the means ``[U]``.
    """

    value: Callable[[Tensor], Tensor]
    finish: Callable[[Tensor], Tensor] = unchanged


@dataclass(frozen=True, slots=True)
class PerUnit:
    """Scores of whole units.

    Attributes:
        scores: Returns ``[U]`` for each site, None where the criterion has nothing to say.
        reduces: True when it follows the recipe's reduction.
    """

    scores: Callable[[Material], Sequence[Tensor | None]]
    reduces: bool = False


@dataclass(frozen=True, slots=True)
class Drawn:
    """A score drawn at random: ``(n_units, generator) -> [U]``."""

    draw: Callable[[int, torch.Generator], Tensor]


Rule = PerElement | PerElementOfNetwork | PerActivation | PerUnit | Drawn


@dataclass(frozen=True, slots=True)
class Criterion:
    """One way to say how much a unit matters; a higher score means it stays longer.

    Attributes:
        key: Name in recipes.
        title: Name on screen.
        formula: LaTeX, with ``u`` the unit and ``e`` its elements.
        description: One or two sentences for the person who chooses.
        source: Paper and arXiv id, or where the idea comes from.
        needs: What it must see; all but weights needs calibration data, unless the rule makes
            its own input.
        rates: What it can give a score to.
        rule: How the score is computed.
        data_free: True when the rule makes its own input although it needs gradients.
    """

    key: str
    title: str
    formula: str
    description: str
    source: str
    needs: frozenset[Evidence]
    rates: Rates
    rule: Rule
    data_free: bool = False

    @property
    def needs_data(self) -> bool:
        """True when calibration data must flow through the network."""
        return bool(self.needs - {Evidence.WEIGHTS}) and not self.data_free

    @property
    def reduces(self) -> bool:
        """True when a unit's slices are rated one by one, so that a reduction can be chosen."""
        match self.rule:
            case PerElement() | PerElementOfNetwork():
                return True
            case PerUnit(reduces=reduces):
                return reduces
            case _:
                return False

    def supports(self, granularity: Granularity) -> bool:
        """Tell whether it can rate the units of ``granularity``."""
        match self.rates:
            case Rates.ELEMENTS:
                return True
            case Rates.WEIGHTS:
                return not granularity.removes
            case Rates.UNITS:
                return granularity.coupled


CRITERIA: Registry[Criterion] = Registry("criterion")
