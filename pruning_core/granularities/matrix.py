"""Every weight as a box ``[out, in, kernel]``, whichever way its layer stores it."""

from collections import Counter
from dataclasses import dataclass
from math import prod
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray
from torch import fx

from pruning_core.tracing.analysis import Analysis, stored_tensor
from pruning_core.tracing.labels import FIXED, Labelled
from pruning_core.tracing.network import Network
from pruning_core.tracing.walk import operator_name

Box = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Matrix:
    """A parameter that a matrix product or convolution reads.

    Attributes:
        parameter: Its full name.
        site: Module path of its owner; the full name where the owner has several weights.
        shape: Its shape as stored.
        outputs: Axes that number the outputs; of a stack of matrices also the stacked axes.
        inputs: Axes that are contracted.
        kernel: Spatial axes of a convolution.
        is_convolution: False for matrix products.
    """

    parameter: str
    site: str
    shape: tuple[int, ...]
    outputs: tuple[int, ...]
    inputs: tuple[int, ...]
    kernel: tuple[int, ...]
    is_convolution: bool

    @property
    def owner(self) -> str:
        """Module path of the layer that owns the parameter."""
        return self.parameter.rpartition(".")[0]

    @property
    def box(self) -> Box:
        """Sizes of the parameter seen as ``[out, in, kernel]``."""
        out, inputs, kernel = (
            prod(self.shape[axis] for axis in axes)
            for axes in (self.outputs, self.inputs, self.kernel)
        )
        return out, inputs, kernel

    @property
    def _order(self) -> tuple[int, ...]:
        return (*self.outputs, *self.inputs, *self.kernel)

    def boxed(self, values: NDArray[np.generic]) -> NDArray[np.generic]:
        """Return values of the parameter's shape as ``[out, in, kernel]``."""
        return values.reshape(self.shape).transpose(self._order).reshape(self.box)

    def unboxed(self, values: NDArray[np.generic]) -> NDArray[np.generic]:
        """Return values ``[out, in, kernel]`` in the shape of the parameter."""
        stored = values.reshape([self.shape[axis] for axis in self._order])
        return stored.transpose(np.argsort(self._order))


_KNOWN: WeakKeyDictionary[Network, tuple[Matrix, ...]] = WeakKeyDictionary()


def matrices(network: Network) -> tuple[Matrix, ...]:
    """Return the weights of ``network`` in execution order; found once for each network."""
    if network not in _KNOWN:
        _KNOWN[network] = _matrices(network)
    return _KNOWN[network]


def matrix(network: Network, parameter: str) -> Matrix:
    """Return how ``parameter``, one of the network's weights, is read."""
    return next(found for found in matrices(network) if found.parameter == parameter)


def _matrices(network: Network) -> tuple[Matrix, ...]:
    readers = _readers(network)
    owners = Counter(name.rpartition(".")[0] for name in network.weights)
    found = []
    for name in network.weights:
        owner = name.rpartition(".")[0]
        site = owner if owner and owners[owner] == 1 else name
        node, operand, axis = readers[name]
        shape = tuple(network.tensor(name).shape)
        is_convolution = operator_name(node) == "convolution"
        inputs = _stored_axes(network.analysis, name, operand, axis) or (len(shape) - 1,)
        others = tuple(place for place in range(len(shape)) if place not in inputs)
        kernel = tuple(place for place in others if place >= 2) if is_convolution else ()
        outputs = tuple(place for place in others if place not in kernel)
        found.append(Matrix(name, site, shape, outputs, inputs, kernel, is_convolution))
    return tuple(found)


def _readers(network: Network) -> dict[str, tuple[fx.Node, fx.Node, int]]:
    """Return for each weight the first product that reads it, its operand and contracted axis."""
    known = set(network.weights)
    readers: dict[str, tuple[fx.Node, fx.Node, int]] = {}
    for product in network.analysis.products:
        for operand, axis in product.operands:
            name = stored_tensor(network.analysis, operand)
            if name in known:
                readers.setdefault(name, (product.node, operand, axis))
    return readers


def _stored_axes(analysis: Analysis, name: str, operand: fx.Node, axis: int) -> tuple[int, ...]:
    """Return the axes of the stored tensor that became ``axis`` of a node that rearranges it."""
    value = analysis.values[operand]
    if not isinstance(value, Labelled):
        return ()
    block = next(block for block in value.blocks if axis in block.axes)
    there = np.unique(block.labels[block.labels != FIXED])
    return tuple(
        place
        for place, labels in enumerate(analysis.axes[name])
        if np.isin(labels, there, kind="sort").any()
    )
