"""Synaptic flow (SynFlow)."""

import torch
from torch import Tensor

from pruning_core.errors import UnsupportedModelError, first_line
from pruning_core.granularities import ElementValues
from pruning_core.scoring.criterion import (
    CRITERIA,
    Criterion,
    Evidence,
    PerElementOfNetwork,
    Rates,
)
from pruning_core.scoring.gradients import differentiated, leaves
from pruning_core.scoring.material import Material
from pruning_core.tasks.output import tensor_in
from pruning_core.tracing.network import Network


def flows(material: Material) -> ElementValues:
    """Return by parameter its magnitude times the gradient of the summed output."""
    network = material.network
    parameters = {
        name: tensor.detach().abs().double().requires_grad_(tensor.is_floating_point())
        for name, tensor in leaves(network.module).items()
    }
    gradients = dict(
        zip(parameters, differentiated(_output(network, parameters), parameters), strict=True)
    )

    def values(name: str) -> Tensor:
        gradient = gradients[name]
        magnitude = parameters[name].detach()
        return torch.zeros_like(magnitude) if gradient is None else magnitude * gradient

    return values


def _output(network: Network, parameters: dict[str, Tensor]) -> Tensor:
    """Return the summed output for an input of ones; running means are 0, as in a fresh network."""
    buffers = {name: _neutral(name, buffer) for name, buffer in network.module.named_buffers()}
    ones = network.inputs.with_tensors(
        torch.ones_like(x, dtype=torch.float64 if x.is_floating_point() else x.dtype)
        for x in network.inputs.tensors
    )
    try:
        with torch.enable_grad():
            output = torch.func.functional_call(
                network.module, {**parameters, **buffers}, ones.args, dict(ones.kwargs)
            )
    except RuntimeError as error:
        raise UnsupportedModelError(
            f"The model does not run in double precision on an input of ones: {first_line(error)} "
            "Choose another criterion than 'synflow'."
        ) from error
    logits = tensor_in(output)
    if logits is None:
        raise UnsupportedModelError(
            "The model returns no floating-point tensor, so nothing flows through it. Choose "
            "another criterion than 'synflow'."
        )
    return logits.sum()


def _neutral(name: str, buffer: Tensor) -> Tensor:
    if name.endswith("running_mean"):
        return torch.zeros_like(buffer, dtype=torch.float64)
    return buffer.double() if buffer.is_floating_point() else buffer


CRITERIA.add(
    "synflow",
    Criterion(
        key="synflow",
        title="Synaptic flow (SynFlow)",
        formula=r"s_u = \sum_{e \in u} |w_e| \, \frac{\partial R}{\partial |w_e|}, \quad "
        r"R = \sum_k f_k(\mathbf{1}; |w|)",
        description="How much of an all-ones input flows through the unit to the output when all "
        "weights are positive; reads no data. The paper rates anew in 100 rounds; here each round "
        "of the schedule does. Running means of batch norms count as 0.",
        source="Tanaka et al. 2020, arXiv:2006.05467",
        needs=frozenset({Evidence.WEIGHTS, Evidence.GRADIENTS}),
        rates=Rates.ELEMENTS,
        rule=PerElementOfNetwork(flows),
        data_free=True,
    ),
)
