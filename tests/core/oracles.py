"""Ways to count and compare that are not the product's own code."""

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from pruning_core.switches import decomposed_operators

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
