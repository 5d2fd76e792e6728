"""What known layer types store about their sizes, set anew from the sliced tensors.

Layers of other packages are known by name, so that nothing is imported that the model did not
bring. Types that are not listed here keep sizes that were read off the traced graph, see
``stored.py``.
"""

from collections.abc import Callable
from typing import Any

from torch import nn

from pruning_core.tracing.groups import leaves_by_groups

Resizer = Callable[[Any], None]
RESIZERS: dict[str, Resizer] = {}


def resizes(*kinds: type[nn.Module] | str) -> Callable[[Resizer], Resizer]:
    """Register the function that makes modules of these types agree with their tensors.

    Args:
        kinds: Types, or names as :func:`type_name` writes them.
    """
    names = [kind if isinstance(kind, str) else type_name(kind) for kind in kinds]

    def register(function: Resizer) -> Resizer:
        RESIZERS.update(dict.fromkeys(names, function))
        return function

    return register


def type_name(kind: type) -> str:
    """Return the full name of a class, e.g. ``transformers.pytorch_utils.Conv1D``."""
    return f"{kind.__module__}.{kind.__qualname__}"


def resizer(module: nn.Module) -> Resizer | None:
    """Return the function registered for the type of ``module`` or its nearest base."""
    names = map(type_name, type(module).__mro__)
    return next((RESIZERS[name] for name in names if name in RESIZERS), None)


def resize(module: nn.Module) -> None:
    """Make the stored sizes of ``module`` (not its children) agree with its tensors."""
    known = resizer(module)
    if known is not None:
        known(module)


@resizes(nn.Linear)
def _linear(module: nn.Linear) -> None:
    module.out_features, module.in_features = module.weight.shape


@resizes(nn.Bilinear)
def _bilinear(module: nn.Bilinear) -> None:
    module.out_features, module.in1_features, module.in2_features = module.weight.shape


@resizes("transformers.pytorch_utils.Conv1D")
def _transposed_linear(module: Any) -> None:
    module.nx, module.nf = module.weight.shape


@resizes(nn.modules.conv._ConvNd)
def _convolution(module: nn.modules.conv._ConvNd) -> None:
    first, second = module.weight.shape[:2]
    if module.transposed:  # whole groups leave: inputs for each group stay as they were
        if module.groups > 1:
            module.groups = module.groups * first // module.in_channels
        module.in_channels, module.out_channels = first, second * module.groups
        return
    if leaves_by_groups(module.groups, module.in_channels // module.groups) and module.groups > 1:
        module.groups = module.groups * first // module.out_channels
    module.out_channels, module.in_channels = first, second * module.groups


@resizes(nn.modules.batchnorm._NormBase)
def _batch_norm(module: nn.modules.batchnorm._NormBase) -> None:
    sized = module.weight if module.weight is not None else module.running_mean
    if sized is not None:
        module.num_features = len(sized)


@resizes(nn.LayerNorm, nn.RMSNorm)
def _layer_norm(module: nn.LayerNorm) -> None:
    module.normalized_shape = tuple(module.weight.shape)


@resizes(nn.GroupNorm)
def _group_norm(module: nn.GroupNorm) -> None:
    module.num_groups = module.num_groups * len(module.weight) // module.num_channels
    module.num_channels = len(module.weight)


@resizes(nn.PReLU)
def _prelu(module: nn.PReLU) -> None:
    module.num_parameters = len(module.weight)


@resizes(nn.Embedding, nn.EmbeddingBag)
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


@resizes(nn.MultiheadAttention)
def _multihead_attention(module: nn.MultiheadAttention) -> None:
    """Heads keep their size; the class computes only with as many features as all heads have."""
    if module._qkv_same_embed_dim:
        rows, module.embed_dim = module.in_proj_weight.shape
        module.kdim = module.vdim = module.embed_dim
        module.num_heads = rows // 3 // module.head_dim
    else:
        rows, module.embed_dim = module.q_proj_weight.shape
        module.kdim, module.vdim = module.k_proj_weight.shape[1], module.v_proj_weight.shape[1]
        module.num_heads = rows // module.head_dim
