"""What a sparsity penalty is: sets of weights that proximal steps pull to exactly zero.

A penalty adds ``strength * sum of sizes`` to the loss. The optimiser sees the loss alone; proximal
steps see to the penalty: sizes shrink and stop at zero, so that weights really become zero. A step
is as long as the optimiser's own would be for gradients of ``strength``: with SGD the strength
times ``rate / (1 - momentum)`` (without momentum that is ISTA), and with Adam the strength times
``rate / (sqrt(v) + eps)``, where ``v`` is its average of squared gradients (proximal steps in the
optimiser's metric: Yun et al. 2020, arXiv:2007.07484). So all of them come to rest at minima of
loss plus penalty; with thresholds of plain ``rate * strength`` Adam would not, since it moves a
weight by about the rate however small its gradient is.

One proximal step is done for ``EVERY`` batches or more, the last at the end of an epoch, with the
sum of their rates: the noise of single batches, which would wake zeros up again, averages out.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pruning_core.registry import Registry
from pruning_core.tracing.network import Network

Parameters = Mapping[str, nn.Parameter]
BINS_PER_DECADE: Final = 8
LOWEST, HIGHEST = -6, 1
EDGES: Final[NDArray[np.float64]] = np.logspace(
    LOWEST, HIGHEST, (HIGHEST - LOWEST) * BINS_PER_DECADE + 1
)
"""Limits of the bins that sizes are counted in, in every run the same."""


EVERY: Final = 128
Step = Callable[[nn.Parameter], Tensor | float]
"""How far the optimiser moves each element of a parameter for a gradient of 1."""


class Shrinker(Protocol):
    """Pulls the weights of one module to zero."""

    def shrink(self, strength: float, step: Step) -> None:
        """Do the proximal step of ``strength`` times the sum of all sizes, after ``step``."""
        ...

    def sizes(self) -> Tensor:
        """Return ``[Q]`` how large each penalised thing is; 0 where it is gone."""
        ...


@dataclass(frozen=True, slots=True)
class Penalty:
    """A sparsity penalty.

    Attributes:
        key: Its name in recipes.
        title: Its name on the screen.
        formula: LaTeX.
        description: One or two sentences for the screen.
        source: Paper.
        things: What becomes zero, in the plural, e.g. ``weights``.
        size: What is counted of each of them, e.g. ``magnitude``.
        usual: A strength to start with.
        bind: Makes the shrinker of a module's parameters, given the trace of its network.
    """

    key: str
    title: str
    formula: str
    description: str
    source: str
    things: str
    size: str
    usual: float
    bind: Callable[[Network, Parameters], Shrinker]


PENALTIES: Registry[Penalty] = Registry("sparsity penalty")


class Elements:
    """Penalises each element of some parameters by its magnitude (L1)."""

    def __init__(self, parameters: Sequence[nn.Parameter]) -> None:
        """Penalise every element of ``parameters``."""
        self._parameters = tuple(parameters)

    def shrink(self, strength: float, step: Step) -> None:
        """Move every element towards zero by ``strength * step`` (soft threshold)."""
        with torch.no_grad():
            for parameter in self._parameters:
                limit = torch.as_tensor(strength * step(parameter)).to(parameter)
                parameter.sub_(parameter.clamp(-limit, limit))

    def sizes(self) -> Tensor:
        """Return ``[Q]`` the magnitudes."""
        return torch.cat([item.detach().abs().flatten() for item in self._parameters])


@dataclass(frozen=True, slots=True, eq=False)
class Share:
    """The slices of one parameter that belong to the units of one group.

    Attributes:
        parameter: Shared by the units; no other share has it.
        axis: The axis along which units lie.
        units: ``[size of the axis]`` number of the unit of each index; ``n_units`` for none.
        members: ``[n_units, K]`` indices of each unit, filled up with the size of the axis.
    """

    parameter: nn.Parameter
    axis: int
    units: Tensor
    members: Tensor

    @classmethod
    def of(
        cls, parameter: nn.Parameter, axis: int, indices: Tensor, units: Tensor, n_units: int
    ) -> "Share":
        """Make the share in which ``indices`` ``[K]`` of the axis belong to ``units`` ``[K]``."""
        size, place = parameter.shape[axis], parameter.device
        owner = torch.full((size,), n_units)
        owner[indices] = units
        counts = torch.bincount(units, minlength=n_units)
        members = torch.full((n_units, int(counts.max())), size)
        order = torch.argsort(units, stable=True)
        first = (counts.cumsum(0) - counts)[units[order]]
        members[units[order], torch.arange(len(order)) - first] = indices[order]
        return cls(parameter, axis, owner.to(place), members.to(place))

    @property
    def n_elements(self) -> Tensor:
        """``[n_units]`` elements that each unit has here."""
        size = self.parameter.shape[self.axis]
        return (self.members < size).sum(dim=1) * (self.parameter.numel() // size)

    def sums(self, values: Tensor) -> Tensor:
        """Return ``[n_units]`` the sum of each unit's ``values``, of the parameter's shape."""
        along = values.movedim(self.axis, 0).reshape(values.shape[self.axis], -1).sum(dim=1)
        return torch.cat([along, along.new_zeros(1)])[self.members].sum(dim=1)

    def scale(self, factors: Tensor) -> None:
        """Multiply each unit's elements by its factor ``[n_units]``."""
        along = torch.cat([factors, factors.new_ones(1)])[self.units]
        shape = [1] * self.parameter.ndim
        shape[self.axis] = -1
        self.parameter.mul_(along.view(shape))


class Units:
    """Penalises each unit by the norm of its elements, times the root of their number."""

    def __init__(self, groups: Sequence[Sequence[Share]]) -> None:
        """Penalise the units of ``groups``; each is the shares of one group, none of them empty."""
        self._groups = tuple(tuple(shares) for shares in groups)
        self._n_elements = [_total(share.n_elements for share in shares) for shares in self._groups]

    def shrink(self, strength: float, step: Step) -> None:
        """Shorten each unit's vector by ``strength * step * root of its length``, not below zero.

        Where the steps of its elements differ, the unit takes their harmonic mean.
        """
        with torch.no_grad():
            for shares, n in zip(self._groups, self._n_elements, strict=True):
                norm = _norm(shares)
                limit = strength * _common_step(shares, n, step) * n.sqrt()
                left = (norm - limit).clamp_min(0.0)
                factors = torch.where(norm > 0, left / norm, torch.zeros_like(norm))
                for share in shares:
                    share.scale(factors)

    def sizes(self) -> Tensor:
        """Return ``[Q]`` the root mean square of each unit's elements."""
        pairs = zip(self._groups, self._n_elements, strict=True)
        return torch.cat([(_norm(shares) / n.sqrt())[n > 0] for shares, n in pairs])


def _total(values: Iterable[Tensor]) -> Tensor:
    return torch.stack(list(values)).sum(dim=0)


def _norm(shares: Sequence[Share]) -> Tensor:
    return _total(share.sums(share.parameter.detach().square()) for share in shares).sqrt()


def _common_step(shares: Sequence[Share], n_elements: Tensor, step: Step) -> Tensor:
    """Return ``[n_units]`` the harmonic mean of the steps of each unit's elements."""
    inverse = _total(
        share.sums(
            (1 / torch.as_tensor(step(share.parameter)))
            .expand(share.parameter.shape)
            .to(share.parameter)
        )
        for share in shares
    )
    return n_elements / inverse


def counted(sizes: Tensor) -> tuple[int, tuple[int, ...]]:
    """Return how many of ``sizes`` ``[Q]`` are zero, and how many others lie in each bin.

    Bins are those between :data:`EDGES`, and one more at each end for what lies beyond.
    """
    values = sizes.cpu().double().numpy()
    others = values[values != 0]
    places = np.searchsorted(EDGES, others, side="right")
    counts = np.bincount(places, minlength=EDGES.size + 1)
    return int(values.size - others.size), tuple(int(count) for count in counts)
