"""Normalisations: they tie their scale to the axis, and some compute statistics over it."""

from torch import fx

from pruning_core.tracing.labels import Labelled
from pruning_core.tracing.walk import Value, Walk, argument, rule


@rule(
    "native_batch_norm",
    "native_batch_norm_legit",
    "native_batch_norm_legit_no_training",
    "cudnn_batch_norm",
)
def batch_norm(walk: Walk, node: fx.Node) -> Value:
    """Scale, shift and running statistics belong to the channels.

    Without running statistics (instance norm) they are computed over all other axes.
    """
    axes = walk.links.axes(walk.tensor(node, 0))
    if walk.optional(node, 3) is None:
        walk.links.renormalised += [axes[0], *axes[2:]]
    for position in range(1, 5):
        vector = walk.optional(node, position)
        if vector is not None:
            axes[1] = walk.links.link(axes[1], walk.links.axes(vector)[0])
    return [Labelled.of_axes(axes), None, None, None]


@rule("native_layer_norm", "fused_rms_norm")
def layer_norm(walk: Walk, node: fx.Node) -> Value:
    """Statistics run over the last axes: removing a unit there changes them."""
    axes = walk.links.axes(walk.tensor(node, 0))
    n_normalised = len(node.args[1])  # type: ignore[arg-type]
    first = len(axes) - n_normalised
    for position in (2, 3):
        vector = walk.optional(node, position)
        for offset, labels in enumerate(walk.links.axes(vector) if vector else []):
            axes[first + offset] = walk.links.link(axes[first + offset], labels)
    walk.links.renormalised += axes[first:]
    return [Labelled.of_axes(axes), None, None]


@rule("native_group_norm")
def group_norm(walk: Walk, node: fx.Node) -> Value:
    """The channels of one normalisation group leave together, so the statistics of others stay.

    Statistics run over the channels of the group and over all other axes.
    """
    axes = walk.links.axes(walk.tensor(node, 0))
    walk.links.renormalised += axes[2:]
    n_groups = int(node.args[6])  # type: ignore[arg-type]
    walk.links.couple_rows(axes[1].reshape(n_groups, -1))
    for position in (1, 2):
        vector = walk.optional(node, position)
        if vector is not None:
            axes[1] = walk.links.link(axes[1], walk.links.axes(vector)[0])
    return [Labelled.of_axes(axes), None, None]


@rule("weight_norm_interface")
def weight_norm(walk: Walk, node: fx.Node) -> Value:
    """Direction and length of each row belong together; a row of zeros has no direction."""
    direction, length = walk.tensor(node, 0), walk.tensor(node, 1)
    axis = walk.axis(node, 2, direction)
    axes, lengths = walk.links.axes(direction), walk.links.axes(length)
    axes[axis] = walk.links.link(axes[axis], lengths[axis])
    walk.links.renormalised.append(axes[axis])
    for other, labels in enumerate(lengths):
        if other != axis:
            walk.links.lock_labels(labels)
    return [Labelled.of_axes(axes), length]


@rule("softmax", "log_softmax", "safe_softmax")
def softmax(walk: Walk, node: fx.Node) -> Value:
    """Each position is divided by a sum over the axis."""
    tensor = walk.tensor(node, 0)
    axis = int(argument(node, 1, "dim")) % tensor.ndim
    walk.links.renormalised += [b.labels for b in tensor.blocks if axis in b.axes]
    return tensor
