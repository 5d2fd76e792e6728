"""Accuracy drop: leave one unit out and measure."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from pruning_core.granularities.unit import Slice, slices
from pruning_core.scoring.criterion import CRITERIA, Criterion, Evidence, PerUnit, Rates
from pruning_core.scoring.loss import task_loss
from pruning_core.scoring.material import Batch, Material
from pruning_core.tasks.registry import Task
from pruning_core.tracing.network import Network

State = dict[str, Tensor]


def measured_drops(material: Material) -> list[Tensor | None]:
    """Return how much of the accuracy on the calibration data each unit is worth.

    All slices of the unit become zero, among them those of the layers that read it. The change of
    the loss decides between units with the same accuracy: it is squeezed into less than half of
    what one sample is worth, so that it never outweighs a sample. Where no answer is right or
    wrong, as in regression, the loss alone decides.
    """
    network = material.network
    tensors = network.analysis.tensors
    groups = [network.group(site.name) for site in material.sites]
    parts = [list(slices(network, group)) for group in groups]
    drops = [torch.zeros(group.n_units, 2, dtype=torch.float64) for group in groups]
    n_labels = 0
    for batch in material.batches():
        whole = _right_and_loss(network, {}, batch, material.task)
        for part, drop in zip(parts, drops, strict=True):
            state = {name: tensors[name].detach().clone() for name, *_ in part}
            for unit in range(len(drop)):
                with _silenced(part, unit, state):
                    drop[unit] += whole - _right_and_loss(network, state, batch, material.task)
        n_labels += len(batch[1]) if batch[1].is_floating_point() else batch[1].numel()
    return [_squeezed(drop, n_labels) for drop in drops]


def _squeezed(drop: Tensor, n_labels: int) -> Tensor:
    right, loss = drop.unbind(dim=1)
    rise = -loss / n_labels
    return (right + rise / (1 + rise.abs()) / 2) / n_labels


@contextmanager
def _silenced(part: Sequence[Slice], unit: int, state: State) -> Iterator[None]:
    """Set every slice of the unit in ``state`` to zero, and put it back."""
    saved = []
    for name, axis, indices, units, _ in part:
        own = indices[units == unit]
        saved.append((name, axis, own, state[name].index_select(axis, own)))
        state[name].index_fill_(axis, own, 0)
    try:
        yield
    finally:
        for name, axis, own, values in reversed(saved):
            state[name].index_copy_(axis, own, values)


def _right_and_loss(network: Network, state: State, batch: Batch, task: Task) -> Tensor:
    """Return the right answers and the summed loss of one batch under other tensors: ``[2]``."""
    inputs, labels = batch
    with torch.no_grad():
        output = torch.func.functional_call(network.module, state, (inputs,))
        answer = task.answer(output, labels)
        n_labels = labels.numel() if task.has_classes else len(labels)
        loss = task_loss(answer, labels, task=task) * n_labels
    right = torch.zeros(())
    if task.has_classes:
        right = (answer.argmax(dim=1 if task.moves_with_pixels else -1) == labels).sum()
    return torch.stack([right.double(), loss.double()])


CRITERIA.add(
    "accuracy_drop",
    Criterion(
        key="accuracy_drop",
        title="Accuracy drop (leave one out)",
        formula=r"s_u = \mathrm{acc}(w) - \mathrm{acc}(w \mid u = 0) + "
        r"\varepsilon(L(w \mid u = 0) - L(w)), \quad |\varepsilon| < \tfrac{1}{2N}",
        description="The accuracy on the calibration data that is really lost when the unit alone "
        "is set to zero; the loss decides between equals, and alone where no answer is right or "
        "wrong (regression). Slow: every unit costs a pass over the "
        "data.",
        source="Mozer and Smolensky 1989 (relevance by removal); the oracle of Molchanov et al. "
        "2017, arXiv:1611.06440",
        needs=frozenset({Evidence.ACCURACY}),
        rates=Rates.UNITS,
        rule=PerUnit(measured_drops),
    ),
)
