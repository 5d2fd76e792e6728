"""Matrix products, convolutions and look-ups: the operators that cost MACs or read tables."""

import numpy as np
from torch import fx

from pruning_core.tracing.labels import LabelArray, Labelled, combine, fixed
from pruning_core.tracing.walk import Product, Value, Walk, output_shape, rule


@rule("mm")
def mm(walk: Walk, node: fx.Node) -> Value:
    """``[n, k] @ [k, m]``: the contracted axes shrink together."""
    return _matmul(walk, node, 0, 1)


@rule("addmm")
def addmm(walk: Walk, node: fx.Node) -> Value:
    """A matrix product plus a bias."""
    product = _matmul(walk, node, 1, 2)
    return combine(walk.links, [product, walk.tensor(node, 0)], output_shape(node))


@rule("bmm")
def bmm(walk: Walk, node: fx.Node) -> Value:
    """A stack of matrix products; what is stacked (attention heads) shrinks in both operands."""
    return _matmul(walk, node, 0, 1)


@rule("baddbmm")
def baddbmm(walk: Walk, node: fx.Node) -> Value:
    """A stack of matrix products plus a bias."""
    product = _matmul(walk, node, 1, 2)
    return combine(walk.links, [product, walk.tensor(node, 0)], output_shape(node))


def _matmul(walk: Walk, node: fx.Node, left: int, right: int) -> Labelled:
    links = walk.links
    x, w = links.axes(walk.tensor(node, left)), links.axes(walk.tensor(node, right))
    contracted = links.link(x[-1], w[-2])
    stacked: list[LabelArray] = []
    if len(x) == 3:
        stacked = [links.link(x[0], w[0])]
        links.stacked.append(stacked[0])
    walk.contract(contracted, node.args[left], node.args[right])
    operands = ((node.args[left], len(x) - 1), (node.args[right], len(w) - 2))
    walk.products.append(
        Product(node, (*stacked, x[-2], w[-1], x[-1]), w[-1], contracted, operands)  # type: ignore[arg-type]
    )
    return Labelled.of_axes([*stacked, x[-2], w[-1]])


@rule("convolution")
def convolution(walk: Walk, node: fx.Node) -> Value:
    """Convolution of any rank, grouped, depthwise or transposed."""
    links = walk.links
    x, w = links.axes(walk.tensor(node, 0)), links.axes(walk.tensor(node, 1))
    transposed, groups = bool(node.args[6]), int(node.args[8])  # type: ignore[arg-type]
    for kernel_axis in w[2:]:
        links.lock_labels(kernel_axis)
    made, read = (w[1], w[0]) if transposed else (w[0], w[1])
    if groups == 1:
        contracted = links.link(x[1], read)
    elif not transposed and len(read) == 1:
        links.lock_labels(read)
        links.link(np.repeat(x[1], len(made) // groups), made)
        contracted = x[1]
    elif not transposed:
        made, contracted = _whole_groups(walk, x[1], made, read, groups), x[1]
    else:
        for tensor in (walk.tensor(node, 0), walk.tensor(node, 1)):
            links.lock(tensor)
        made, contracted = fixed(output_shape(node)[1]), x[1]
    walk.contract(contracted, node.args[0], node.args[1])
    bias = walk.optional(node, 2)
    if bias is not None:
        made = links.link(made, links.axes(bias)[0])
    spatial = [fixed(size) for size in output_shape(node)[2:]]
    for axis in x[2:]:
        links.lock_labels(axis)
    kernel = [fixed(len(axis)) for axis in w[2:]]
    positions = [fixed(len(axis)) for axis in x[2:]] if transposed else spatial
    walk.products.append(
        Product(
            node,
            (x[0], made, *positions, read, *kernel),
            made,
            contracted,
            ((node.args[0], 1), (node.args[1], 0 if transposed else 1)),  # type: ignore[arg-type]
        )
    )
    return Labelled.of_axes([x[0], made, *spatial])


def _whole_groups(
    walk: Walk, x: LabelArray, made: LabelArray, read: LabelArray, groups: int
) -> LabelArray:
    """Couple the channels of each convolution group, in and out: a group leaves as a whole."""
    inputs = walk.links.couple_rows(x.reshape(groups, -1))
    outputs = walk.links.couple_rows(made.reshape(groups, -1))
    walk.links.link(inputs, outputs)
    walk.links.lock_labels(read)
    return made


@rule("embedding")
def embedding(walk: Walk, node: fx.Node) -> Value:
    """Rows are looked up by number and stay; columns are features."""
    table = walk.links.axes(walk.tensor(node, 0))
    walk.links.lock_labels(table[0])
    return Labelled.of_axes([*walk.links.axes(walk.tensor(node, 1)), table[1]])
