"""Cut residual branches out of a copy of the user's own module, by replacing its submodules.

The outermost submodules that lie wholly inside a branch are replaced by zeros of their input's
shape, and blocks that hold nothing but branches and their sums are skipped. Whether the class then
computes what the rewritten graph computes is for the caller to prove.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from pruning_core.tracing.branches import Branch, nodes_of
from pruning_core.tracing.network import Network


class Skipped(nn.Module):
    """Stands where a layer was: returns its first tensor as it is."""

    def forward(self, *inputs: Any, **named: Any) -> Tensor:
        """Return the first tensor among the arguments."""
        return _first(inputs, named)


class Silent(nn.Module):
    """Stands where a part of a residual branch was: adds nothing.

    It returns zeros of its input's shape in the place of each tensor, None in all other places.
    """

    def __init__(self, output: tuple[Any, ...] | None = None) -> None:
        """Imitate a module that returns a tuple like ``output``; None means one tensor."""
        super().__init__()
        self.others = None if output is None else [not isinstance(item, Tensor) for item in output]

    def forward(self, *inputs: Any, **named: Any) -> Any:
        """Return zeros like the first tensor among the arguments."""
        zeros = torch.zeros_like(_first(inputs, named))
        if self.others is None:
            return zeros
        return tuple(None if is_other else zeros for is_other in self.others)


def _first(inputs: tuple[Any, ...], named: dict[str, Any]) -> Tensor:
    return next(item for item in (*inputs, *named.values()) if isinstance(item, Tensor))


def cut_branches(module: nn.Module, network: Network, cut: Sequence[Branch]) -> None:
    """Take the branches ``cut`` out of ``module``, a copy of the network's own.

    Raises:
        ValueError: If a part of a branch lies in a module that has to stay.
    """
    gone = {name for branch in cut for name in branch.tensors}
    places = _places(module, network, cut)
    for place in _product_places(network, cut):
        if not any(place == path or place.startswith(f"{path}.") for path in places):
            raise ValueError(f"{_said(place)} goes on computing what only a branch needs")
    tuples = _tuples(module, network, places)
    for path, is_block in places.items():
        parent, _, leaf = path.rpartition(".")
        new = Skipped() if is_block else Silent(tuples.get(path))
        setattr(module.get_submodule(parent), leaf, new.eval())
    left = sorted(gone & _tensors(module).keys())
    if left:
        raise ValueError(f"{_said(_owner(left[0]))} stays and holds '{left[0]}'")


def _said(path: str) -> str:
    return f"'{path}'" if path else "the model itself"


def _owner(tensor: str) -> str:
    return tensor.rpartition(".")[0]


def _product_places(network: Network, cut: Sequence[Branch]) -> list[str]:
    """Return where the costly operators of the branches run."""
    analysis = network.analysis
    numbers = [number for branch in cut for number in branch.products]
    return [analysis.capture.owner[analysis.products[number].node] for number in numbers]


def _places(module: nn.Module, network: Network, cut: Sequence[Branch]) -> dict[str, bool]:
    """Return the outermost modules that can go, and whether they hold the sum of a branch."""
    dead = frozenset(step for branch in cut for step in branch.nodes)
    sums = frozenset(branch.add for branch in cut) - dead
    gone = {name for branch in cut for name in branch.tensors}
    inside, tensors = nodes_of(network.analysis.capture), _tensors(module)
    places: dict[str, bool] = {}
    for path, _ in module.named_modules():
        steps = inside.get(path, frozenset())
        nested = any(path.startswith(f"{outer}.") for outer in places)
        if not path or nested or not steps or not steps <= dead | sums:
            continue
        if all(name in gone for name in tensors if name.startswith(f"{path}.")):
            places[path] = bool(steps & sums)
    return places


def _tensors(module: nn.Module) -> dict[str, Tensor]:
    """Return all parameters and buffers, tied ones under each of their names."""
    parameters = module.named_parameters(remove_duplicate=False)
    return {**dict(parameters), **dict(module.named_buffers(remove_duplicate=False))}


def _tuples(module: nn.Module, network: Network, paths: Iterable[str]) -> dict[str, Any]:
    """Return what the modules among ``paths`` yield that yield tuples, in one run of the model."""
    asked = [path for path in paths if path not in network.analysis.capture.output_shapes]
    found: dict[str, Any] = {}
    if asked:
        hooks = [
            module.get_submodule(path).register_forward_hook(
                lambda _module, _inputs, output, path=path: found.setdefault(path, output)
            )
            for path in asked
        ]
        with torch.no_grad():
            module(*network.inputs.args, **network.inputs.kwargs)
        for hook in hooks:
            hook.remove()
    return found
