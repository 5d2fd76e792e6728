"""Activation times gradient: the first-order change of the loss when the unit falls silent."""

import torch
from torch import Tensor

from pruning_core.scoring.criterion import CRITERIA, Criterion, Evidence, PerUnit, Rates
from pruning_core.scoring.material import Batch, Material
from pruning_core.scoring.reading import Read, Reader, batch_axes, reader, see_gradients
from pruning_core.tasks.registry import Task


def mean_loss_change(material: Material) -> list[Tensor | None]:
    """Return the mean over samples of the absolute mean of activation times gradient.

    What several layers read from one unit is added up before the absolute value is taken. Where
    the axis of the samples cannot be told, they go through the network one by one.
    """
    read_by = reader(material.network, lambda read: read.has_units, gradients=True)
    sizes = [site.n_units for site in material.sites]
    total = torch.zeros(sum(sizes), dtype=torch.float64)
    axes: dict[Read, int] | None = None
    n_samples = 0
    for inputs, labels in material.batches():
        if not n_samples:
            axes = batch_axes(read_by, inputs)
        size = len(inputs) if axes else 1
        for batch in zip(torch.split(inputs, size), torch.split(labels, size), strict=True):
            total += _of_batch(read_by, batch, axes or {}, len(total), material.task)
        n_samples += len(inputs)
    by_site = torch.split(total / n_samples, sizes)
    return [None if scores.isnan().any() else scores for scores in by_site]


def _of_batch(
    read_by: Reader, batch: Batch, axes: dict[Read, int], n_units: int, task: Task
) -> Tensor:
    """Return ``[n_units]`` sums over the samples; NaN for units that nothing reads."""
    products = torch.zeros(n_units, len(batch[1]), dtype=torch.float64)
    counts = torch.zeros(n_units, 1, dtype=torch.float64)

    def see(read: Read, activation: Tensor, gradient: Tensor, axis: int) -> None:
        by_sample = _by_sample(activation * gradient, axis, axes.get(read))
        live = read.units >= 0
        units, of_units = read.units[live], by_sample[live].double()
        products.index_add_(0, units, of_units)
        n_each = activation.numel() / by_sample.numel()
        counts.index_add_(0, units, torch.full_like(of_units[:, :1], n_each))

    see_gradients(read_by, batch, see, task)
    return (products.abs() / counts).sum(dim=1)


def _by_sample(values: Tensor, axis: int, sample_axis: int | None) -> Tensor:
    """Return ``[C, B]`` sums over all axes but these two; all is one sample when there is none."""
    if sample_axis is None:
        return values.movedim(axis, 0).reshape(values.shape[axis], 1, -1).sum(dim=2)
    rows = values.movedim((axis, sample_axis), (0, 1))
    return rows.reshape(*rows.shape[:2], -1).sum(dim=2)


CRITERIA.add(
    "activation_gradient",
    Criterion(
        key="activation_gradient",
        title="Activation x gradient",
        formula=r"s_u = \frac{1}{N} \sum_{n=1}^{N} \left| \frac{1}{M} \sum_{m=1}^{M} "
        r"a_{u,m}^{(n)} \frac{\partial L_n}{\partial a_{u,m}^{(n)}} \right|",
        description="The change of each sample's loss, to first order, when what the next layers "
        "read from the unit (M numbers) becomes zero; averaged over N samples.",
        source="Molchanov et al. 2017, arXiv:1611.06440",
        needs=frozenset({Evidence.ACTIVATIONS, Evidence.GRADIENTS}),
        rates=Rates.UNITS,
        rule=PerUnit(mean_loss_change),
    ),
)
