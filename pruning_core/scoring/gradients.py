"""Gradients of the loss on calibration data; the module's own ``grad`` stays untouched."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from pruning_core.errors import PruningError, UnsupportedModelError, first_line
from pruning_core.scoring.loss import task_loss
from pruning_core.scoring.material import Material
from pruning_core.switches import decomposed_operators
from pruning_core.tasks.registry import CLASSIFICATION, Task

Gradients = dict[str, Tensor | None]
Named = Mapping[str, Tensor]


def batch_gradients(material: Material) -> Iterator[Gradients]:
    """Yield, for each batch, the gradient of its mean loss by parameter name.

    A parameter that the loss does not reach has None.
    """
    module = material.network.module
    for inputs, labels in material.batches():
        parameters = leaves(module)
        loss = loss_of(module, parameters, inputs, labels, task=material.task)
        found = differentiated(loss, parameters)
        yield dict(zip(parameters, found, strict=True))


def mean_gradient(material: Material, temperature: float = 1.0) -> dict[str, Tensor]:
    """Return the gradient of the mean loss over all samples; zero where the loss does not reach.

    Args:
        material: Network and data.
        temperature: What the logits are divided by.
    """
    return _mean_over_samples(material, differentiated, temperature)


def hessian_times(material: Material, vector: Named, temperature: float = 1.0) -> dict[str, Tensor]:
    """Return the Hessian of the mean loss over all samples times ``vector``.

    It is the gradient of ``gradient . vector``, with the vector held still (Pearlmutter 1994).
    Attention and recurrent layers are opened up, since the fused ones have no second derivative.
    """

    def product(loss: Tensor, parameters: Named) -> list[Tensor | None]:
        gradients = torch.autograd.grad(
            loss, list(parameters.values()), create_graph=True, allow_unused=True
        )
        pairs = zip(gradients, parameters, strict=True)
        terms = [(g * vector[name]).sum() for g, name in pairs if g is not None]
        return differentiated(torch.stack(terms).sum(), parameters)

    with decomposed_operators():
        return _mean_over_samples(material, product, temperature)


def leaves(module: nn.Module) -> dict[str, Tensor]:
    """Return fresh leaves that share the parameters' values and collect no ``grad`` of theirs."""
    return {
        name: parameter.detach().requires_grad_(parameter.is_floating_point())
        for name, parameter in module.named_parameters()
    }


def loss_of(
    module: nn.Module,
    parameters: Named,
    inputs: Tensor,
    labels: Tensor,
    temperature: float = 1.0,
    task: Task = CLASSIFICATION,
) -> Tensor:
    """Return the mean loss of one batch under other ``parameters``.

    Raises:
        DataError: If the loss of the task is not known.
    """
    with torch.enable_grad():
        output = torch.func.functional_call(module, dict(parameters), (inputs,))
        return task_loss(output, labels, temperature, task)


def differentiated(scalar: Tensor, parameters: Named) -> list[Tensor | None]:
    """Return the gradients of ``scalar``, None where it does not reach.

    Raises:
        UnsupportedModelError: If there is no way back through the model.
    """
    try:
        wanted = [tensor for tensor in parameters.values() if tensor.requires_grad]
        found = iter(torch.autograd.grad(scalar, wanted, allow_unused=True))
    except RuntimeError as error:
        raise no_gradient(error) from error
    return [next(found) if tensor.requires_grad else None for tensor in parameters.values()]


def no_gradient(error: RuntimeError) -> PruningError:
    """Return what to say when backpropagation fails."""
    return UnsupportedModelError(
        f"The model's loss cannot be differentiated: {first_line(error)} Choose a criterion that "
        "reads no gradients, e.g. l1."
    )


def _mean_over_samples(
    material: Material,
    derivative: Callable[[Tensor, Named], list[Tensor | None]],
    temperature: float,
) -> dict[str, Tensor]:
    module = material.network.module
    totals: dict[str, Any] = {
        name: torch.zeros_like(tensor) for name, tensor in leaves(module).items()
    }
    n_samples = 0
    for inputs, labels in material.batches():
        parameters = leaves(module)
        loss = loss_of(module, parameters, inputs, labels, temperature, material.task)
        for name, found in zip(parameters, derivative(loss, parameters), strict=True):
            if found is not None:
                totals[name].add_(found, alpha=len(inputs))
        n_samples += len(inputs)
    return {name: total.div_(n_samples) for name, total in totals.items()}
