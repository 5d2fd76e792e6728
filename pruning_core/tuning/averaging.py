"""A moving average of the weights over the steps of a training, which is what it hands on."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

import torch
from torch import Tensor, nn

from pruning_core.devices import CPU

_WARM: Final = 10


def share_kept(decay: float, n_steps: int) -> float:
    """Return how much of the average stays at a step when ``n_steps`` are already in it.

    ``min(decay, (1 + n) / (10 + n))``: early steps would otherwise weigh as long as ``decay`` is
    near 1.
    """
    return min(decay, (1 + n_steps) / (_WARM + n_steps))


class WeightAverage:
    """Exponential moving average of parameters and running statistics of one module.

    Polyak and Juditsky 1992 (averaging of the iterates); Izmailov et al. 2018, arXiv:1803.05407
    (averages of weights find flatter minima). Running statistics are averaged alongside, so that
    batch norms fit the averaged weights; integers (how many batches there were) are not. Where a
    removed weight is zero at every step, its average is exactly zero.
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        """Begin with the present weights of ``module``.

        Args:
            module: Trained elsewhere; changed by :meth:`in_place` and :meth:`handed_on`.
            decay: Share of the average that stays at each step, above 0 and below 1.
        """
        self._module = module
        self._decay = decay
        self.restart()

    def restart(self) -> None:
        """Begin anew with the present weights."""
        self._n_steps = 0
        self._values = {name: live.detach().clone() for name, live in self._live().items()}

    def update(self) -> None:
        """Take the weights after one more step into the average."""
        weight = 1 - share_kept(self._decay, self._n_steps)
        live = self._live()
        with torch.no_grad():
            torch._foreach_lerp_(
                list(self._values.values()), [live[name] for name in self._values], weight
            )
        self._n_steps += 1

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Let the module and the average change places inside the block."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    def handed_on(self) -> None:
        """Give the module the averaged weights."""
        live = self._live()
        with torch.no_grad():
            for name, value in self._values.items():
                live[name].copy_(value)

    def rearrange(self) -> None:
        """Store the average as the module stores its weights; a step reads both together."""
        live = self._live()
        self._values = {
            name: torch.empty_like(live[name].detach()).copy_(value)
            for name, value in self._values.items()
        }

    def state(self) -> dict[str, Any]:
        """Return copies on the processor: the average, and how many steps are in it."""
        return {
            "n_steps": self._n_steps,
            "values": {name: _copy(value) for name, value in self._values.items()},
        }

    def load_state(self, state: Mapping[str, Any] | None) -> None:
        """Go to where :meth:`state` was taken; without one, begin with the present weights.

        Raises:
            KeyError: If something is missing.
            RuntimeError: If shapes differ.
        """
        self.restart()
        if state is None:
            return
        for name, value in self._values.items():
            value.copy_(state["values"][name])
        self._n_steps = int(state["n_steps"])

    def _live(self) -> dict[str, Tensor]:
        everything = (*self._module.named_parameters(), *self._module.named_buffers())
        return {name: item for name, item in everything if item.is_floating_point()}

    def _swap(self) -> None:
        live = self._live()
        with torch.no_grad():
            for name, value in self._values.items():
                own = live[name].clone()
                live[name].copy_(value)
                value.copy_(own)


def _copy(tensor: Tensor) -> Tensor:
    return tensor.detach().to(CPU, copy=True, memory_format=torch.contiguous_format)
