"""Ways to count and compare that are not the product's own code."""

import copy

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from pruning_core.surgery.unit import kept_indices
from pruning_core.switches import decomposed_operators
from pruning_core.tracing.network import Network

BUNDLED = (
    "mlp_digits",
    "cnn_digits",
    "lenet_300_100",
    "lenet_5",
    "resnet_8",
    "gru_128",
    "vit_tiny",
)


def counted_macs(module: nn.Module, *inputs: Tensor) -> int:
    """MACs of one forward pass by torch's own counter, which counts two FLOPs for each."""
    with torch.no_grad(), decomposed_operators(), FlopCounterMode(display=False) as counter:
        module(*inputs)
    total = counter.get_total_flops()
    assert total % 2 == 0
    return total // 2


def counted_params(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def counted_nonzero(module: nn.Module) -> int:
    return sum(int(parameter.count_nonzero()) for parameter in module.parameters())


def relative_difference(left: Tensor, right: Tensor) -> float:
    return float((left - right).abs().max() / right.abs().max().clamp_min(1e-12))


def zero_units(network: Network, keep: np.ndarray) -> nn.Module:
    module = copy.deepcopy(network.module).eval()
    tensors = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    with torch.no_grad():
        for name, axes in kept_indices(network, keep).items():
            for axis, indices in enumerate(axes):
                if indices is not None:
                    gone = np.setdiff1d(np.arange(tensors[name].shape[axis]), indices)
                    tensors[name].index_fill_(axis, torch.from_numpy(gone), 0)
    return module
