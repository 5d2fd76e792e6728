"""Matrix products, convolutions and look-ups: the operators that cost MACs or read tables."""

import numpy as np
from torch import fx

from pruning_core.tracing.groups import leaves_by_groups
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
    output = None
    if groups == 1:
        contracted = links.link(x[1], read)
    elif not transposed and len(read) == 1:
        links.lock_labels(read)
        links.link(np.repeat(x[1], len(made) // groups), made)
        contracted = x[1]
    elif not transposed:
        _couple_groups(walk, x[1], made, read, groups)
        contracted = x[1]
    else:
        contracted = links.link(x[1], read)
        links.lock_labels(made)
        output = np.repeat(links.couple_rows(contracted.reshape(groups, -1)), len(made))
    walk.contract(contracted, node.args[0], node.args[1])
    if output is None:
        output = made
    bias = walk.optional(node, 2)
    if bias is not None:
        output = links.link(output, links.axes(bias)[0])
    spatial = [fixed(size) for size in output_shape(node)[2:]]
    for axis in x[2:]:
        links.lock_labels(axis)
    kernel = [fixed(len(axis)) for axis in w[2:]]
    positions = [fixed(len(axis)) for axis in x[2:]] if transposed else spatial
    walk.products.append(
        Product(
            node,
            (x[0], made, *positions, read, *kernel),
            output,
            contracted,
            ((node.args[0], 1), (node.args[1], 0 if transposed else 1)),  # type: ignore[arg-type]
        )
    )
    return Labelled.of_axes([x[0], output, *spatial])


def _couple_groups(
    walk: Walk, x: LabelArray, made: LabelArray, read: LabelArray, groups: int
) -> None:
    """Keep the groups of a convolution alike: whole groups leave, or one channel of each group."""
    inputs, outputs = x.reshape(groups, -1), made.reshape(groups, -1)
    if leaves_by_groups(groups, len(read)):
        walk.links.link(walk.links.couple_rows(inputs), walk.links.couple_rows(outputs))
        walk.links.lock_labels(read)
    else:
        walk.links.link(walk.links.couple_rows(inputs.T), read)
        walk.links.couple_rows(outputs.T)


@rule("embedding")
def embedding(walk: Walk, node: fx.Node) -> Value:
    """Rows are looked up by number and stay; columns are features."""
    table = walk.links.axes(walk.tensor(node, 0))
    walk.links.lock_labels(table[0])
    return Labelled.of_axes([*walk.links.axes(walk.tensor(node, 1)), table[1]])


@rule("trilinear")
def trilinear(walk: Walk, node: fx.Node) -> Value:
    """Multiply three tensors, each with axes inserted, and sum (``torch.nn.Bilinear``).

    Not counted as MACs, as torch's own counter does not.
    """
    operands = []
    for place in range(3):
        tensor = walk.tensor(node, place)
        for axis in sorted(node.args[3 + place]):  # type: ignore[arg-type]
            tensor = tensor.with_axis(int(axis))
        operands.append(tensor)
    shape = [max(sizes) for sizes in zip(*(tensor.shape for tensor in operands), strict=True)]
    axes = walk.links.axes(combine(walk.links, operands, shape))
    summed = {int(axis) for axis in node.args[6]}  # type: ignore[union-attr, arg-type]
    for axis in summed:
        walk.contract(axes[axis], *node.args[:3])
    return Labelled.of_axes([labels for axis, labels in enumerate(axes) if axis not in summed])


@rule("mv")
def mv(walk: Walk, node: fx.Node) -> Value:
    """``[n, k] @ [k]``; not counted as MACs, as torch's own counter does not."""
    matrix, vector = walk.links.axes(walk.tensor(node, 0)), walk.links.axes(walk.tensor(node, 1))
    walk.contract(walk.links.link(matrix[1], vector[0]), *node.args[:2])
    return Labelled.of_axes([matrix[0]])


@rule("dot", "vdot")
def dot(walk: Walk, node: fx.Node) -> Value:
    """``[k] @ [k]``; not counted as MACs, as torch's own counter does not."""
    left, right = walk.links.axes(walk.tensor(node, 0)), walk.links.axes(walk.tensor(node, 1))
    walk.contract(walk.links.link(left[0], right[0]), *node.args[:2])
    return Labelled.of_axes([])


@rule("cdist_forward", "euclidean_dist")
def distances(walk: Walk, node: fx.Node) -> Value:
    """Distances of all rows of two matrices: their columns shrink together."""
    left, right = walk.links.axes(walk.tensor(node, 0)), walk.links.axes(walk.tensor(node, 1))
    labels = walk.links.link(left[-1], right[-1])
    if not all(walk.vanishing[operand] for operand in node.all_input_nodes[:2]):
        walk.links.renormalised.append(labels)
    lead = [walk.links.link(a, b) for a, b in zip(left[:-2], right[:-2], strict=True)]
    return Labelled.of_axes([*lead, left[-2], right[-2]])
