"""Whether a unit's positions would be zero if its slices were zeroed instead of removed.

Removing equals zeroing as long as every sum over units adds zeros for those that are zeroed. That
holds behind operators that keep zero at zero; behind a sigmoid or a softmax it does not.
"""

from collections.abc import Mapping

from torch import Tensor, fx

from pruning_core.tracing.labels import FIXED, Labelled

_KEEP_ZERO = frozenset(
    {"relu", "gelu", "tanh", "silu", "abs", "neg", "sqrt", "erf", "sign", "hardswish", "leaky_relu"}
    | {"elu", "mish", "sin", "tan", "sinh", "asin", "atan", "asinh", "expm1", "log1p", "floor"}
    | {"ceil", "round", "trunc", "dropout", "native_dropout", "prelu_kernel", "hardshrink"}
    | {"softshrink", "relu6", "square", "nan_to_num", "rrelu_with_noise", "zero"}
    # movement, and statistics over other axes
    | {"view", "reshape", "unsafe_view", "permute", "t", "transpose", "clone", "alias", "detach"}
    | {"contiguous", "to_copy", "lift_fresh_copy", "expand", "unsqueeze", "squeeze", "select"}
    | {"slice", "split", "split_with_sizes", "unsafe_split", "unsafe_split_with_sizes", "chunk"}
    | {"unbind", "cat", "stack", "repeat", "flip", "roll", "constant_pad_nd", "pixel_shuffle"}
    | {"index", "index_select", "gather", "mv", "as_strided", "view_as_real", "view_as_complex"}
    | {"fft_r2c", "fft_c2r", "fft_c2c", "im2col", "col2im", "unfold", "diagonal", "embedding_bag"}
    | {
        "native_channel_shuffle",
        "channel_shuffle",
        "pixel_unshuffle",
        "reshape_alias",
        "conj",
        "lift_fresh",
    }
    | {"embedding", "zeros_like", "new_zeros", "zeros", "sum", "mean"}
    | {"amax", "amin", "max", "min", "linalg_vector_norm", "cumsum", "tril", "triu"}
    | {"max_pool2d_with_indices", "max_pool3d_with_indices", "avg_pool1d", "avg_pool2d"}
    | {"max_pool1d", "adaptive_max_pool2d", "adaptive_max_pool3d"}
    | {"avg_pool3d", "adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_avg_pool3d"}
    | {"upsample_nearest1d", "upsample_nearest2d", "upsample_nearest3d", "upsample_linear1d"}
    | {"upsample_bilinear2d", "upsample_bicubic2d", "upsample_trilinear3d", "native_group_norm"}
    | {"reflection_pad1d", "reflection_pad2d", "reflection_pad3d"}
    | {"replication_pad1d", "replication_pad2d", "replication_pad3d"}
)
_SUMS = frozenset({"add", "sub", "rsub"})
_PRODUCTS = frozenset({"mul", "glu"})
_QUOTIENTS = frozenset({"div", "pow", "max_unpool2d", "max_unpool3d"})  # whatever the second is
_AFFINE_AT = {
    "native_batch_norm": 1,
    "native_batch_norm_legit": 1,
    "native_batch_norm_legit_no_training": 1,
    "cudnn_batch_norm": 1,
    "native_layer_norm": 2,
    "fused_rms_norm": 2,
    "weight_norm_interface": 0,
}
# Operands whose own labels reach the output, and the axes contracted in each.
_MATRIX = {"mm": (0, 1), "bmm": (0, 1), "addmm": (1, 2), "baddbmm": (1, 2), "convolution": (0, 1)}


def vanishes(
    name: str, node: fx.Node, values: Mapping[fx.Node, object], known: Mapping[fx.Node, bool]
) -> bool:
    """Return whether removed positions of the node's output are zero when slices are zeroed.

    Args:
        name: The operator's bare name.
        node: A node whose operands are known.
        values: Labels of every node so far.
        known: The answer for every node so far.
    """
    operands = [source for source in node.all_input_nodes if _is_tensor(source)]
    zero = [source for source in operands if known[source]]
    first = node.args[0] if node.args else None
    if name in _KEEP_ZERO:
        return len(zero) == len(operands)
    if name in _SUMS:
        shifted = any(isinstance(item, int | float) and item != 0 for item in node.args[:2])
        covered = all(_covers(values[source], values[node]) for source in operands)
        return len(zero) == len(operands) and covered and not shifted
    if name in _PRODUCTS:
        return any(_covers(values[source], values[node]) for source in zero)
    if name in _QUOTIENTS:
        exponent = node.args[1]
        return first in zero and not (isinstance(exponent, int | float) and exponent <= 0)
    if name in _AFFINE_AT:
        place = _AFFINE_AT[name]
        scaled = len(node.args) > place and isinstance(node.args[place], fx.Node)
        return scaled or operands[0] in zero
    factors = [node.args[place] for place in _MATRIX.get(name, ())]
    return bool(factors) and all(
        source in zero or (source in factors and not _has_labels(values[source]))
        for source in operands
    )


def _is_tensor(node: fx.Node) -> bool:
    return isinstance(node.meta.get("val"), Tensor | list | tuple) or node.op == "placeholder"


def _has_labels(value: object) -> bool:
    return isinstance(value, Labelled) and any((b.labels != FIXED).any() for b in value.blocks)


def _covers(operand: object, output: object) -> bool:
    """Return whether ``operand`` is broadcast along no labelled axis of ``output``."""
    if not (isinstance(operand, Labelled) and isinstance(output, Labelled)):
        return True
    lead = output.ndim - operand.ndim
    return all(
        axis >= lead and operand.shape[axis - lead] == output.shape[axis]
        for block in output.blocks
        if (block.labels != FIXED).any()
        for axis in block.axes
    )
