"""Granularity: what one score belongs to, from a single weight to a whole coupled unit."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from pruning_core.registry import Registry
from pruning_core.tracing.network import Network

ElementValues = Callable[[str], Tensor]


@dataclass(frozen=True, slots=True)
class Site:
    """The thing one threshold acts on: ``n_units`` units that compete with each other.

    Attributes:
        name: Unique name, used as key in recipes and plans; a module path where possible.
        kind: The field's word for one unit, e.g. ``weight``, ``channel``, ``head``.
        n_units: Number of units ``U``.
        layer: Module path of the layer that owns or makes the units.
        layers: Module paths of every layer that changes when units leave.
        parameter: The parameter whose elements are the units; empty when units span several.
    """

    name: str
    kind: str
    n_units: int
    layer: str
    layers: tuple[str, ...]
    parameter: str = ""


@dataclass(frozen=True, slots=True)
class Granularity:
    """One way to divide a network into units.

    Attributes:
        key: Name in recipes.
        title: Name on screen.
        description: One sentence for the person who chooses.
        removes: True when units really leave and the network shrinks; False when weights are
            set to zero and the shapes stay.
        sites: Lists the sites of a network, in execution order.
        gather: Sums a value given for each element of each parameter over the elements of each
            unit of a site, ``(network, site, values) -> [U]``.
    """

    key: str
    title: str
    description: str
    removes: bool
    sites: Callable[[Network], tuple[Site, ...]]
    gather: Callable[[Network, Site, ElementValues], Tensor]


GRANULARITIES: Registry[Granularity] = Registry("granularity")
