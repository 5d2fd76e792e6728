"""Operators that make tensors, pick by index, or mask."""

from torch import fx

from pruning_core.tracing.labels import Labelled, fixed
from pruning_core.tracing.walk import Value, Walk, output_shape, rule


@rule(
    *("zeros", "ones", "empty", "full", "new_zeros", "new_ones", "new_full", "new_empty"),
    *("rand", "randn", "empty_strided", "new_empty_strided"),
)
def uniform(walk: Walk, node: fx.Node) -> Value:
    """A uniform constant (the zero state of an RNN) can shrink with whatever it meets."""
    return Labelled.of_axes(
        [walk.links.fresh(size) if size > 1 else fixed(size) for size in output_shape(node)]
    )


@rule(
    "arange", "scalar_tensor", "linspace", "eye", "randint", "randperm", "tril_indices", "one_hot"
)
def ordered(_walk: Walk, node: fx.Node) -> Value:
    """Each position has a value of its own: nothing can leave."""
    return Labelled.fixed(output_shape(node))


@rule(
    *("hardtanh", "hardswish", "prelu_kernel", "where", "masked_fill", "fill", "clamp", "copy"),
    *("threshold", "heaviside", "zero", "bernoulli", "uniform", "normal", "exponential"),
    *("complex", "polar", "isclose"),
)
def elementwise(walk: Walk, node: fx.Node) -> Value:
    """Element-wise operators that torch does not tag as such."""
    return walk.pointwise(node)


@rule("index")
def index(walk: Walk, node: fx.Node) -> Value:
    """Indexed axes are locked; the others are carried along."""
    tensor = walk.tensor(node, 0)
    axes = walk.links.axes(tensor)
    indices = list(node.args[1])  # type: ignore[arg-type]
    indexed = [axis for axis, entry in enumerate(indices) if entry is not None]
    for axis in indexed:
        walk.links.lock_labels(axes[axis])
        value = walk.values.get(indices[axis])
        if isinstance(value, Labelled):
            walk.links.lock(value)
    shape = output_shape(node)
    rest = [labels for axis, labels in enumerate(axes) if axis not in indexed]
    adjacent = indexed == list(range(indexed[0], indexed[-1] + 1))
    n_lead = indexed[0] if adjacent else 0
    n_new = len(shape) - len(rest)
    new = [fixed(size) for size in shape[n_lead : n_lead + n_new]]
    return Labelled.of_axes([*rest[:n_lead], *new, *rest[n_lead:]])


@rule("log_sigmoid_forward")
def log_sigmoid(walk: Walk, node: fx.Node) -> Value:
    """Element-wise, with a second output for the backward pass."""
    tensor = walk.tensor(node, 0)
    return [tensor, None]


@rule("affine_grid_generator")
def affine_grid(walk: Walk, node: fx.Node) -> Value:
    """Positions computed from a matrix, which must stay whole."""
    walk.links.lock(walk.tensor(node, 0))
    return Labelled.fixed(output_shape(node))


@rule("index_select")
def index_select(walk: Walk, node: fx.Node) -> Value:
    """Take positions of one axis by number: they keep their meaning only when none leaves."""
    tensor = walk.tensor(node, 0)
    axes = walk.links.axes(tensor)
    axis = walk.axis(node, 1, tensor)
    walk.links.lock_labels(axes[axis])
    axes[axis] = fixed(output_shape(node)[axis])
    return Labelled.of_axes(axes)


@rule("gather")
def gather(walk: Walk, node: fx.Node) -> Value:
    """Take positions of one axis by number, others being told by the index tensor's own shape."""
    tensor, indices = walk.tensor(node, 0), walk.tensor(node, 2)
    gathered = walk.axis(node, 1, tensor)
    axes, own = walk.links.axes(tensor), walk.links.axes(indices)
    for axis, labels in enumerate(axes):
        if axis != gathered and len(labels) == len(own[axis]):
            own[axis] = walk.links.link(labels, own[axis])
        else:
            walk.links.lock_labels(labels)
            walk.links.lock_labels(own[axis])
            own[axis] = fixed(len(own[axis]))
    return Labelled.of_axes(own)


@rule("embedding_bag", "embedding_bag_forward_only")
def embedding_bag(walk: Walk, node: fx.Node) -> Value:
    """Rows are looked up by number and summed; columns are features."""
    table = walk.links.axes(walk.tensor(node, 0))
    walk.links.lock_labels(table[0])
    return [Labelled.of_axes([fixed(len(node.meta["val"][0])), table[1]]), None, None, None]
