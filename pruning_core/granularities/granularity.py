"""Granularity: what one score belongs to, from a single weight to a whole coupled unit."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pruning_core.registry import Registry
from pruning_core.tracing.network import Network

ElementValues = Callable[[str], Tensor]
"""Name of a parameter -> a value for each of its elements, same shape."""
Keep = NDArray[np.bool_]


class Combine(StrEnum):
    """How the values of a unit's elements become one number."""

    SUM = "sum"
    MAX = "max"

    def over(self, values: Tensor, axes: Sequence[int]) -> Tensor:
        """Combine over ``axes``; none leaves the values as they are. Half precision is widened."""
        values = values.to(torch.promote_types(values.dtype, torch.float32))
        if not axes:
            return values
        return values.sum(tuple(axes)) if self is Combine.SUM else values.amax(tuple(axes))

    def both(self, left: Tensor, right: Tensor) -> Tensor:
        """Combine two values for each of some units."""
        return left + right if self is Combine.SUM else torch.maximum(left, right)

    def by_unit(self, values: Tensor, units: Tensor, n_units: int) -> Tensor:
        """Combine ``values`` ``[K]``, none of them negative for MAX, by their units: ``[U]``."""
        total = values.new_zeros(n_units)
        if self is Combine.SUM:
            return total.index_add_(0, units, values)
        return total.scatter_reduce_(0, units, values, "amax")


class Elements:
    """A value for each element of each parameter."""

    def __init__(self, values: ElementValues) -> None:
        """Take values from ``values`` whenever they are asked for."""
        self.of = values

    def along(self, name: str, axis: int, combine: Combine) -> Tensor:
        """Combine over all axes of a parameter but one: ``[size of the axis]``, float64."""
        values = self.of(name)
        others = [other for other in range(values.ndim) if other != axis]
        return combine.over(values, others).double()


@dataclass(frozen=True, slots=True)
class Site:
    """The thing one threshold acts on: ``n_units`` units that compete with each other.

    Attributes:
        name: Unique name, used as key in recipes and plans; a module path where possible.
        kind: The field's word for one unit, e.g. ``weight``, ``channel``, ``head``.
        n_units: Number of units ``U``.
        layer: Module path of the layer that owns or makes the units.
        layers: Module paths of every layer that changes when units leave.
        parameter: The parameter whose elements the units are made of; empty when they span several.
        unit_names: A name for each unit, where units are parts of the model; else empty.
    """

    name: str
    kind: str
    n_units: int
    layer: str
    layers: tuple[str, ...]
    parameter: str = ""
    unit_names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Pattern:
    """At most ``n`` of every ``m`` consecutive units of a site stay, or all of them.

    Attributes:
        n: How many of a group stay.
        m: Units of a group; the units of a site are numbered group by group.
    """

    n: int
    m: int

    def most(self, n_units: int) -> int:
        """Return how many of ``n_units``, a multiple of ``m``, the pattern takes."""
        return n_units // self.m * (self.m - self.n)


@dataclass(frozen=True, slots=True)
class Granularity:
    """One way to divide a network into units.

    Attributes:
        key: Name in recipes.
        title: Name on screen.
        description: One sentence for the person who chooses.
        coarseness: Where it stands on the screen: from fine to coarse.
        removes: True when units really leave and the network shrinks; False when weights are
            set to zero and the shapes stay.
        sites: Lists the sites of a network, in execution order.
        gather: Combines a value given for each element of each parameter over the elements of
            each unit of a site, ``(network, site, values, combine)``, and yields ``[U]`` for each
            tensor that holds a slice of the unit (one, unless units are coupled), first the
            tensor that makes it.
        coupled: True when the sites are the groups of the trace: units that leave with
            everything coupled to them.
        mask: Which elements of the site's parameter stay, given which units stay,
            ``(network, site, keep) -> `` bool array of the parameter's shape; None when units
            really leave.
        single_weights: True when a unit is one weight.
        pattern: The rule that units of a site keep to, if there is one.
    """

    key: str
    title: str
    description: str
    coarseness: int
    removes: bool
    sites: Callable[[Network], tuple[Site, ...]]
    gather: Callable[[Network, Site, Elements, Combine], Iterator[Tensor]]
    coupled: bool = False
    mask: Callable[[Network, Site, Keep], Keep] | None = None
    single_weights: bool = False
    pattern: Pattern | None = None


GRANULARITIES: Registry[Granularity] = Registry("granularity")
