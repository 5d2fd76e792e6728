"""Sparse training inside a run: the penalty of a recipe, bound to a module, and what it reports."""

from collections.abc import Mapping

from torch import nn

from pruning_core.planning.recipe import Sparse
from pruning_core.runs.events import Shrunk
from pruning_core.tracing.network import Network
from pruning_core.tuning.penalty import Step, counted
from pruning_core.tuning.sparsity import PENALTIES


def check_penalty(kind: str) -> None:
    """Refuse a penalty that does not exist.

    Raises:
        UnknownNameError: With those that do.
    """
    PENALTIES[kind]


class Shrinking:
    """The penalty of a recipe with its strength, on the parameters that are trained."""

    def __init__(
        self, sparse: Sparse, network: Network, parameters: Mapping[str, nn.Parameter]
    ) -> None:
        """Bind the penalty.

        Raises:
            UnsupportedModelError: If the network has nothing to penalise.
        """
        self._entry = PENALTIES[sparse.kind]
        self._strength = sparse.strength
        self._shrinker = self._entry.bind(network, parameters)

    def shrink(self, step: Step) -> None:
        """Do the proximal step that belongs to a step of the optimiser."""
        self._shrinker.shrink(self._strength, step)

    def measured(self, epoch: int) -> Shrunk:
        """Return how large the penalised things are now."""
        n_zero, counts = counted(self._shrinker.sizes())
        return Shrunk(self._entry.key, epoch, n_zero, counts)

    def sentence(self) -> str:
        """Say how many are zero now."""
        found = self.measured(0)
        return (
            f"After sparse training {found.n_zero:,} of {found.n:,} {self._entry.things} are zero "
            f"({100 * found.n_zero / max(1, found.n):.1f} %)."
        )
