"""Operators that make tensors, pick by index, or mask."""

from torch import fx

from pruning_core.tracing.labels import Labelled, fixed
from pruning_core.tracing.walk import Value, Walk, output_shape, rule


@rule("zeros", "ones", "empty", "full", "new_zeros", "new_ones", "new_full", "new_empty")
def uniform(walk: Walk, node: fx.Node) -> Value:
    """A uniform constant (the zero state of an RNN) can shrink with whatever it meets."""
    return Labelled.of_axes(
        [walk.links.fresh(size) if size > 1 else fixed(size) for size in output_shape(node)]
    )


@rule("arange", "scalar_tensor", "linspace", "eye")
def ordered(_walk: Walk, node: fx.Node) -> Value:
    """Each position has a value of its own: nothing can leave."""
    return Labelled.fixed(output_shape(node))


@rule("hardtanh", "prelu_kernel", "where", "masked_fill", "fill", "clamp", "copy")
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
