"""Operators that only move positions: views, permutations, slices, joins."""

from typing import Any

import numpy as np
from torch import fx

from pruning_core.tracing.labels import (
    Block,
    LabelArray,
    Labelled,
    combine,
    fixed,
    pick,
    pick_one,
    reshape,
)
from pruning_core.tracing.walk import (
    Value,
    Walk,
    argument,
    lock_unknown,
    output_shape,
    output_shapes,
    rule,
)


@rule("view", "reshape", "unsafe_view", "reshape_alias")
def view(walk: Walk, node: fx.Node) -> Value:
    """Carry labels to the new shape, jointly where axes split or merge."""
    return reshape(walk.links, walk.tensor(node, 0), output_shape(node))


@rule("permute")
def permute(walk: Walk, node: fx.Node) -> Value:
    """Reorder axes."""
    tensor = walk.tensor(node, 0)
    return tensor.permuted([int(axis) % tensor.ndim for axis in node.args[1]])  # type: ignore[union-attr, arg-type]


@rule("t")
def t(walk: Walk, node: fx.Node) -> Value:
    """Swap the two axes of a matrix."""
    tensor = walk.tensor(node, 0)
    return tensor.permuted(range(tensor.ndim)[::-1])


@rule("transpose")
def transpose(walk: Walk, node: fx.Node) -> Value:
    """Swap two axes."""
    tensor = walk.tensor(node, 0)
    order = list(range(tensor.ndim))
    first, second = walk.axis(node, 1, tensor), walk.axis(node, 2, tensor)
    order[first], order[second] = order[second], order[first]
    return tensor.permuted(order)


@rule(
    *("clone", "alias", "detach", "contiguous", "to_copy", "lift_fresh_copy", "lift_fresh"),
    *("dropout", "conj", "resolve_conj", "resolve_neg", "lazy_clone"),
)
def same(walk: Walk, node: fx.Node) -> Value:
    """Pass labels on unchanged."""
    return walk.tensor(node, 0)


@rule("zeros_like", "ones_like", "full_like", "empty_like", "rand_like", "randn_like")
def like(walk: Walk, node: fx.Node) -> Value:
    """A new tensor of the same shape shrinks with the old one."""
    return walk.tensor(node, 0)


@rule("expand")
def expand(walk: Walk, node: fx.Node) -> Value:
    """Repeat axes of size 1: copies are alike, so any of them may leave, but not the original."""
    tensor, shape = walk.tensor(node, 0), output_shape(node)
    while tensor.ndim < len(shape):
        tensor = tensor.with_axis(0)
    blocks = []
    for block in tensor.blocks:
        if len(block.axes) == 1 and tensor.shape[block.axes[0]] != shape[block.axes[0]]:
            walk.links.lock_labels(block.labels)
            blocks.append(Block(block.axes, walk.links.fresh(shape[block.axes[0]])))
        else:
            blocks.append(block)
    return Labelled(shape, tuple(blocks))


@rule("unsqueeze")
def unsqueeze(walk: Walk, node: fx.Node) -> Value:
    """Insert an axis of size 1."""
    tensor = walk.tensor(node, 0)
    return tensor.with_axis(int(node.args[1]) % (tensor.ndim + 1))  # type: ignore[arg-type]


@rule("squeeze")
def squeeze(walk: Walk, node: fx.Node) -> Value:
    """Drop axes of size 1: all of them, or those named."""
    tensor = walk.tensor(node, 0)
    named = argument(node, 1, "dim")
    if named is None:
        axes = list(range(tensor.ndim))
    else:
        listed = [named] if isinstance(named, int) else list(named)
        axes = [axis % tensor.ndim for axis in listed]
    for axis in sorted(axes, reverse=True):
        if tensor.shape[axis] == 1:
            tensor = pick_one(walk.links, tensor, axis, 0)
    return tensor


@rule("select")
def select(walk: Walk, node: fx.Node) -> Value:
    """Take one index of an axis."""
    tensor = walk.tensor(node, 0)
    axis = walk.axis(node, 1, tensor)
    return pick_one(walk.links, tensor, axis, int(node.args[2]) % tensor.shape[axis])  # type: ignore[arg-type]


@rule("slice")
def slice_(walk: Walk, node: fx.Node) -> Value:
    """Take a range of an axis."""
    tensor = walk.tensor(node, 0)
    axis = walk.axis(node, 1, tensor)
    start, end = argument(node, 2, "start"), argument(node, 3, "end")
    step = argument(node, 4, "step", 1)
    return pick(tensor, axis, slice(start, end, step))


@rule("split", "split_with_sizes", "unsafe_split", "unsafe_split_with_sizes", "chunk")
def split(walk: Walk, node: fx.Node) -> Value:
    """Cut an axis into consecutive parts."""
    tensor = walk.tensor(node, 0)
    axis = walk.axis(node, 2, tensor)
    parts, start = [], 0
    for shape in output_shapes(node):
        parts.append(pick(tensor, axis, slice(start, start + shape[axis])))
        start += shape[axis]
    return parts


@rule("unbind")
def unbind(walk: Walk, node: fx.Node) -> Value:
    """Take an axis apart, one tensor for each index."""
    tensor = walk.tensor(node, 0)
    axis = walk.axis(node, 1, tensor)
    return [pick_one(walk.links, tensor, axis, index) for index in range(tensor.shape[axis])]


@rule("cat")
def cat(walk: Walk, node: fx.Node) -> Value:
    """Join along an axis; all other axes must stay equal."""
    return _join(walk, node, [walk.values[part] for part in node.args[0]])  # type: ignore[union-attr, index]


@rule("stack")
def stack(walk: Walk, node: fx.Node) -> Value:
    """Join along a new axis."""
    axis = int(argument(node, 1, "dim", 0)) % len(output_shape(node))
    parts = [walk.values[part] for part in node.args[0]]  # type: ignore[union-attr, index]
    return _join(walk, node, [p.with_axis(axis) for p in parts if isinstance(p, Labelled)])


def _join(walk: Walk, node: fx.Node, parts: list[Any]) -> Labelled:
    shape = output_shape(node)
    joined = int(argument(node, 1, "dim", 0)) % len(shape)
    tensors = [part for part in parts if isinstance(part, Labelled) and part.shape != (0,)]
    if not tensors:  # nothing was found, so nothing is joined
        return Labelled.fixed(shape)
    vectors = [walk.links.axes(tensor) for tensor in tensors]
    axes: list[LabelArray] = []
    for axis in range(len(shape)):
        columns = [vector[axis] for vector in vectors]
        if axis == joined:
            axes.append(np.concatenate(columns))
            continue
        labels = columns[0]
        for column in columns[1:]:
            labels = walk.links.link(labels, column)
        axes.append(labels)
    return Labelled.of_axes(axes)


@rule("repeat")
def repeat(walk: Walk, node: fx.Node) -> Value:
    """Lay copies one after the other; the copies of an index leave together."""
    times = [int(n) for n in node.args[1]]  # type: ignore[union-attr, arg-type]
    tensor = walk.tensor(node, 0)
    while tensor.ndim < len(times):
        tensor = tensor.with_axis(0)
    axes = walk.links.axes(tensor)
    return Labelled.of_axes([np.tile(v, n) for v, n in zip(axes, times, strict=True)])


@rule("glu")
def glu(walk: Walk, node: fx.Node) -> Value:
    """One half of the axis gates the other: an index leaves with its partner."""
    tensor = walk.tensor(node, 0)
    axis = walk.axis(node, 1, tensor, default=-1)
    half = tensor.shape[axis] // 2
    left = pick(tensor, axis, slice(0, half))
    right = pick(tensor, axis, slice(half, 2 * half))
    return combine(walk.links, [left, right], output_shape(node))


@rule("pixel_shuffle")
def pixel_shuffle(walk: Walk, node: fx.Node) -> Value:
    """Consecutive channels become one channel's pixels; they leave together."""
    axes = walk.links.axes(walk.tensor(node, 0))
    for labels in axes[-2:]:
        walk.links.lock_labels(labels)
    factor = int(node.args[1])  # type: ignore[arg-type]
    axes[-3] = walk.links.couple_rows(axes[-3].reshape(-1, factor * factor))
    shape = output_shape(node)
    return Labelled.of_axes([*axes[:-2], *(fixed(size) for size in shape[-2:])])


@rule("constant_pad_nd")
def constant_pad(walk: Walk, node: fx.Node) -> Value:
    """Add (or crop) constant positions at both ends of the last axes."""
    axes = walk.links.axes(walk.tensor(node, 0))
    pads = [int(pad) for pad in node.args[1]]  # type: ignore[union-attr, arg-type]
    for number in range(len(pads) // 2):
        axis = len(axes) - 1 - number
        low, high = pads[2 * number], pads[2 * number + 1]
        labels = axes[axis][max(-low, 0) : len(axes[axis]) - max(-high, 0)]
        axes[axis] = np.concatenate([fixed(max(low, 0)), labels, fixed(max(high, 0))])
    return Labelled.of_axes(axes)


@rule("flip")
def flip(walk: Walk, node: fx.Node) -> Value:
    """Reverse axes: the positions keep their labels."""
    axes = walk.links.axes(walk.tensor(node, 0))
    for axis in node.args[1]:  # type: ignore[union-attr]
        axes[axis] = axes[axis][::-1]  # type: ignore[index]
    return Labelled.of_axes(axes)


@rule("roll")
def roll(walk: Walk, node: fx.Node) -> Value:
    """Positions along a rolled axis keep their meaning only when none leaves."""
    tensor = walk.tensor(node, 0)
    axes = walk.links.axes(tensor)
    named = argument(node, 2, "dims", ()) or range(tensor.ndim)
    for axis in named:
        walk.links.lock_labels(axes[axis])
    return Labelled.of_axes([fixed(len(v)) if a in named else v for a, v in enumerate(axes)])


@rule("as_strided")
def as_strided(walk: Walk, node: fx.Node) -> Value:
    """Only the form that changes the memory layout and nothing else is followed."""
    tensor = walk.tensor(node, 0)
    return tensor if tensor.shape == output_shape(node) else lock_unknown(walk, node)


@rule("native_dropout")
def native_dropout(walk: Walk, node: fx.Node) -> Value:
    """The values and the mask have the labels of the input."""
    tensor = walk.tensor(node, 0)
    return [tensor, tensor]


@rule("native_channel_shuffle", "channel_shuffle")
def channel_shuffle(walk: Walk, node: fx.Node) -> Value:
    """Interleave the groups of channels; the channels at one place of all groups leave together."""
    axes = walk.links.axes(walk.tensor(node, 0))
    places = axes[1].reshape(int(node.args[1]), -1).T  # type: ignore[arg-type]
    walk.links.couple_rows(places)
    axes[1] = places.ravel()
    return Labelled.of_axes(axes)


@rule("pixel_unshuffle")
def pixel_unshuffle(walk: Walk, node: fx.Node) -> Value:
    """The pixels of a channel become consecutive channels; they leave together."""
    axes = walk.links.axes(walk.tensor(node, 0))
    for labels in axes[-2:]:
        walk.links.lock_labels(labels)
    factor = int(node.args[1])  # type: ignore[arg-type]
    shape = output_shape(node)
    channels = np.repeat(axes[-3], factor * factor)
    return Labelled.of_axes([*axes[:-3], channels, *(fixed(size) for size in shape[-2:])])


@rule("im2col")
def im2col(walk: Walk, node: fx.Node) -> Value:
    """The pixels under the kernel become consecutive channels; they leave together."""
    axes = walk.links.axes(walk.tensor(node, 0))
    for labels in axes[-2:]:
        walk.links.lock_labels(labels)
    *_, channels, n_positions = output_shape(node)
    repeated = np.repeat(axes[-3], channels // len(axes[-3]))
    return Labelled.of_axes([*axes[:-3], repeated, fixed(n_positions)])


@rule("col2im")
def col2im(walk: Walk, node: fx.Node) -> Value:
    """Consecutive channels become the pixels of one channel; they leave together."""
    axes = walk.links.axes(walk.tensor(node, 0))
    walk.links.lock_labels(axes[-1])
    *_, n_channels, height, width = output_shape(node)
    channels = walk.links.couple_rows(axes[-2].reshape(n_channels, -1))
    return Labelled.of_axes([*axes[:-2], channels, fixed(height), fixed(width)])


@rule("unfold")
def unfold(walk: Walk, node: fx.Node) -> Value:
    """Windows over an axis, which must stay whole, become a new last axis."""
    tensor = walk.tensor(node, 0)
    axes = walk.links.axes(tensor)
    axis = walk.axis(node, 1, tensor)
    walk.links.lock_labels(axes[axis])
    shape = output_shape(node)
    axes[axis] = fixed(shape[axis])
    return Labelled.of_axes([*axes, fixed(shape[-1])])


@rule("diagonal")
def diagonal(walk: Walk, node: fx.Node) -> Value:
    """Two axes that must stay whole become one."""
    axes = walk.links.axes(walk.tensor(node, 0))
    pair = {int(argument(node, place, "", place - 2)) % len(axes) for place in (2, 3)}
    for axis in pair:
        walk.links.lock_labels(axes[axis])
    rest = [labels for axis, labels in enumerate(axes) if axis not in pair]
    return Labelled.of_axes([*rest, fixed(output_shape(node)[-1])])


@rule("tril", "triu")
def triangle(walk: Walk, node: fx.Node) -> Value:
    """What becomes zero depends on the position: the last two axes must stay whole."""
    axes = walk.links.axes(walk.tensor(node, 0))
    for labels in axes[-2:]:
        walk.links.lock_labels(labels)
    return Labelled.of_axes([*axes[:-2], *(fixed(len(labels)) for labels in axes[-2:])])


@rule("view_as_real")
def view_as_real(walk: Walk, node: fx.Node) -> Value:
    """A new last axis holds the real and the imaginary part."""
    return Labelled.of_axes([*walk.links.axes(walk.tensor(node, 0)), fixed(2)])


@rule("view_as_complex")
def view_as_complex(walk: Walk, node: fx.Node) -> Value:
    """The last axis holds the real and the imaginary part and disappears."""
    *axes, parts = walk.links.axes(walk.tensor(node, 0))
    walk.links.lock_labels(parts)
    return Labelled.of_axes(axes)


@rule("fft_r2c", "fft_c2r", "fft_c2c")
def fourier(walk: Walk, node: fx.Node) -> Value:
    """The transformed axes must stay whole."""
    axes = walk.links.axes(walk.tensor(node, 0))
    for axis in node.args[1]:  # type: ignore[union-attr]
        walk.links.lock_labels(axes[axis])  # type: ignore[index]
        axes[axis] = fixed(output_shape(node)[axis])  # type: ignore[index]
    return Labelled.of_axes(axes)
