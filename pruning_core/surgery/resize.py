"""What known module types store about their sizes, set anew from the sliced tensors."""

from collections.abc import Callable
from typing import Any

from torch import nn

Resizer = Callable[[Any], None]
RESIZERS: dict[type[nn.Module], Resizer] = {}


def resizes(*kinds: type[nn.Module]) -> Callable[[Resizer], Resizer]:
    """Register the function that makes modules of these types agree with their tensors."""

    def register(function: Resizer) -> Resizer:
        RESIZERS.update(dict.fromkeys(kinds, function))
        return function

    return register


def resize(module: nn.Module) -> None:
    """Make the stored sizes of ``module`` (not its children) agree with its tensors."""
    for kind in type(module).__mro__:
        if kind in RESIZERS:
            RESIZERS[kind](module)
            return


@resizes(nn.Linear)
def _linear(module: nn.Linear) -> None:
    module.out_features, module.in_features = module.weight.shape


@resizes(nn.modules.conv._ConvNd)
def _convolution(module: nn.modules.conv._ConvNd) -> None:
    first, second = module.weight.shape[:2]
    if module.transposed:
        module.in_channels, module.out_channels = first, second * module.groups
        return
    if module.groups > 1:  # whole groups leave: outputs for each group stay as they were
        module.groups = module.groups * first // module.out_channels
    module.out_channels, module.in_channels = first, second * module.groups


@resizes(nn.modules.batchnorm._NormBase)
def _batch_norm(module: nn.modules.batchnorm._NormBase) -> None:
    sized = module.weight if module.weight is not None else module.running_mean
    if sized is not None:
        module.num_features = len(sized)


@resizes(nn.LayerNorm, nn.RMSNorm)
def _layer_norm(module: nn.LayerNorm) -> None:
    if module.weight is not None:
        module.normalized_shape = tuple(module.weight.shape)


@resizes(nn.GroupNorm)
def _group_norm(module: nn.GroupNorm) -> None:
    if module.weight is not None:
        module.num_groups = module.num_groups * len(module.weight) // module.num_channels
        module.num_channels = len(module.weight)


@resizes(nn.Embedding)
def _embedding(module: nn.Embedding) -> None:
    module.num_embeddings, module.embedding_dim = module.weight.shape


@resizes(nn.RNNCellBase)
def _recurrent_cell(module: nn.RNNCellBase) -> None:
    module.hidden_size, module.input_size = module.weight_hh.shape[1], module.weight_ih.shape[1]


_GATES = {"LSTM": 4, "GRU": 3}


@resizes(nn.RNNBase)
def _recurrent(module: nn.RNNBase) -> None:
    module.input_size = module.get_parameter("weight_ih_l0").shape[1]
    n_rows = module.get_parameter("weight_hh_l0").shape[0]
    module.hidden_size = n_rows // _GATES.get(module.mode, 1)
    if module.proj_size:
        module.proj_size = module.get_parameter("weight_hr_l0").shape[0]
    module._flat_weights = [getattr(module, name) for name in module._flat_weights_names]
