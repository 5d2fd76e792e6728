"""Reductions and pooling."""

import re

from torch import Tensor, fx

from pruning_core.tracing.labels import LabelArray, Labelled, combine, fixed
from pruning_core.tracing.walk import (
    Value,
    Walk,
    argument,
    operator_name,
    output_shape,
    output_shapes,
    rule,
)


@rule("sum")
def total(walk: Walk, node: fx.Node) -> Value:
    """A zero adds nothing to a sum: removing equals zeroing where zeroed units are zero."""
    tensor = walk.tensor(node, 0)
    for labels in _reduced_labels(node, tensor):
        walk.contract(labels, node.args[0])
    return _reduced(walk, node)


@rule(
    *("mean", "amax", "amin", "var", "std", "linalg_vector_norm", "logsumexp", "prod"),
    *("any", "all", "count_nonzero", "nansum"),
)
def statistic(walk: Walk, node: fx.Node) -> Value:
    """A statistic over labelled positions changes when some leave."""
    tensor = walk.tensor(node, 0)
    walk.links.renormalised += _reduced_labels(node, tensor)
    return _reduced(walk, node)


@rule("var_mean", "std_mean", "aminmax")
def two_statistics(walk: Walk, node: fx.Node) -> Value:
    """Two statistics at once."""
    both = statistic(walk, node)
    return [both, both]


@rule("max", "min", "median", "mode", "kthvalue")
def value_and_place(walk: Walk, node: fx.Node) -> Value:
    """The extreme of two tensors, of all positions, or of an axis with the place it stands at."""
    if isinstance(node.meta["val"], Tensor):
        several = walk.optional(node, 1) is not None
        return walk.pointwise(node) if several else statistic(walk, node)
    both = _by_place(walk, node, 2 if operator_name(node) == "kthvalue" else 1)
    return [both, both]


@rule("argmax", "argmin")
def place(walk: Walk, node: fx.Node) -> Value:
    """A place on an axis, which must stay whole; without an axis, on all of them."""
    return _by_place(walk, node, 1)


def _by_place(walk: Walk, node: fx.Node, position: int) -> Labelled:
    tensor = walk.tensor(node, 0)
    axes = walk.links.axes(tensor)
    named = argument(node, position, "dim")
    gone = range(tensor.ndim) if named is None else [int(named) % tensor.ndim]
    for axis in gone:
        walk.links.lock_labels(axes[axis])
    keeps_axes = len(output_shape(node)) == tensor.ndim
    return Labelled.of_axes(
        [
            fixed(1) if axis in gone else labels
            for axis, labels in enumerate(axes)
            if keeps_axes or axis not in gone
        ]
    )


@rule("sort", "topk", "argsort", "cummax", "cummin")
def ranked(walk: Walk, node: fx.Node) -> Value:
    """Positions along the axis change their meaning: it must stay whole."""
    tensor = walk.tensor(node, 0)
    axes = walk.links.axes(tensor)
    with_dim = [item for item in node.args[1:] if type(item) is int]
    at = {"topk": 1}.get(operator_name(node), 0)
    named = node.kwargs.get("dim", with_dim[at] if len(with_dim) > at else -1)
    axis = int(named) % tensor.ndim  # type: ignore[arg-type]
    walk.links.lock_labels(axes[axis])
    several = not isinstance(node.meta["val"], Tensor)
    shape = output_shapes(node)[0] if several else output_shape(node)
    axes[axis] = fixed(shape[axis])
    both = Labelled.of_axes(axes)
    return [both, both] if several else both


@rule("cumsum", "cumprod", "logcumsumexp")
def running(walk: Walk, node: fx.Node) -> Value:
    """What comes later depends on what comes before; zeros add nothing to a running sum."""
    tensor = walk.tensor(node, 0)
    axis = walk.axis(node, 1, tensor)
    labels = [block.labels for block in tensor.blocks if axis in block.axes]
    if operator_name(node) == "cumsum":
        for vector in labels:
            walk.contract(vector, node.args[0])
    else:
        walk.links.renormalised += labels
    return tensor


def _reduced_labels(node: fx.Node, tensor: Labelled) -> list[LabelArray]:
    gone = set(_reduced_axes(node, tensor))
    return [block.labels for block in tensor.blocks if set(block.axes) & gone]


def _reduced_axes(node: fx.Node, tensor: Labelled) -> list[int]:
    position = 2 if "norm" in str(node.target) else 1
    named = argument(node, position, "dim")
    if named is None or named == []:
        return list(range(tensor.ndim))
    listed = [named] if isinstance(named, int) else list(named)
    return [int(axis) % tensor.ndim for axis in listed]


def _reduced(walk: Walk, node: fx.Node) -> Labelled:
    tensor = walk.tensor(node, 0)
    axes = walk.links.axes(tensor)
    gone = _reduced_axes(node, tensor)
    keeps_axes = len(output_shape(node)) == tensor.ndim
    vectors = [
        fixed(1) if axis in gone else labels
        for axis, labels in enumerate(axes)
        if keeps_axes or axis not in gone
    ]
    return Labelled.of_axes(vectors)


@rule(
    "max_pool2d_with_indices",
    "max_pool3d_with_indices",
    "avg_pool1d",
    "avg_pool2d",
    "avg_pool3d",
    "adaptive_avg_pool1d",
    "adaptive_avg_pool2d",
    "adaptive_avg_pool3d",
    "adaptive_max_pool2d",
    "max_pool1d",
    "adaptive_max_pool3d",
    "lp_pool2d",
    "upsample_nearest1d",
    "upsample_nearest2d",
    "upsample_nearest3d",
    "upsample_linear1d",
    "upsample_bilinear2d",
    "upsample_bicubic2d",
    "upsample_trilinear3d",
    "reflection_pad1d",
    "reflection_pad2d",
    "reflection_pad3d",
    "replication_pad1d",
    "replication_pad2d",
    "replication_pad3d",
    "upsample_nearest_exact1d",
    "upsample_nearest_exact2d",
    "upsample_nearest_exact3d",
    "upsample_bilinear2d_aa",
    "upsample_bicubic2d_aa",
    "max_unpool2d",
    "max_unpool3d",
    "fractional_max_pool2d",
    "fractional_max_pool3d",
    "grid_sampler_2d",
    "grid_sampler_3d",
)
def pool(walk: Walk, node: fx.Node) -> Value:
    """Pooling works on each channel by itself, as do the places of what it took; space is fixed."""
    tensor = walk.tensor(node, 0)
    if "unpool" in operator_name(node):  # the places that it fills belong to the same channels
        tensor = combine(walk.links, [tensor, walk.tensor(node, 1)], tensor.shape)
    axes = walk.links.axes(tensor)
    several = not isinstance(node.meta["val"], Tensor)
    shape = output_shapes(node)[0] if several else output_shape(node)
    n_spatial = re.findall(r"(\d)d", operator_name(node))[0]
    kept = len(shape) - int(n_spatial)
    for labels in axes[kept:]:
        walk.links.lock_labels(labels)
    pooled = Labelled.of_axes([*axes[:kept], *(fixed(size) for size in shape[kept:])])
    return [pooled, pooled] if several else pooled
