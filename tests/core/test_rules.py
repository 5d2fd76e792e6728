"""Every operator rule against the operator itself, on tensors of a few elements.

Each row is a function of parameters. All its results are multiplied by a parameter of their own
shape and summed, so that nothing is fixed but what the rule fixes. Then every unit is removed once,
and the function of the remaining slices must equal the function of the zeroed ones.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from pruning_core.surgery.unit import remove_units
from pruning_core.tracing.network import Network
from pruning_core.tracing.trace import trace
from tests.core.oracles import counted_macs, counted_params, zero_units

Shape = tuple[int, ...]


class Row(NamedTuple):
    """A function, the shapes of its parameters and the sizes of the groups that may shrink."""

    name: str
    function: Callable[..., Any]
    shapes: tuple[Shape, ...]
    groups: tuple[int, ...]
    marked: bool = False  # a statistic runs over some units
    graph: bool = False  # the function itself cannot express the result


class Operator(nn.Module):
    """``sum(function(parameters) * parameter)``, added to the input."""

    def __init__(self, row: Row) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.function = row.function
        self.n = len(row.shapes)
        for number, shape in enumerate(row.shapes):
            self.register_parameter(f"a{number}", nn.Parameter(torch.randn(shape).double()))
        with torch.no_grad():
            for number, result in enumerate(self.results()):
                weight = torch.randn(result.shape).to(result.dtype)
                self.register_parameter(f"p{number}", nn.Parameter(weight.double()))

    def results(self) -> list[Tensor]:
        result = self.function(*(getattr(self, f"a{number}") for number in range(self.n)))
        return list(result) if isinstance(result, list | tuple) else [result]

    def forward(self, x: Tensor) -> Tensor:
        total = x.sum(1)
        for number, result in enumerate(self.results()):
            total = total + (result * getattr(self, f"p{number}")).sum()
        return total


ROWS = (
    # pointwise, with and without broadcasting
    Row("relu", torch.relu, ((3, 4),), (4, 3)),
    Row("add", torch.add, ((3, 4), (3, 4)), (4, 3)),
    Row("add a row", torch.add, ((3, 4), (4,)), (4, 3)),
    Row("multiply by a column", torch.mul, ((3, 4), (3, 1)), (4, 3)),
    Row("divide", lambda a, b: a / (b.abs() + 1), ((3, 4), (3, 4)), (4, 3)),
    Row("power", lambda a: a.abs() ** 1.5, ((3, 4),), (4, 3)),
    Row("sigmoid", torch.sigmoid, ((3, 4),), (4, 3)),
    Row("hardswish", functional.hardswish, ((3, 4),), (4, 3)),
    Row("hardtanh", functional.hardtanh, ((3, 4),), (4, 3)),
    Row("log sigmoid", functional.logsigmoid, ((3, 4),), (4, 3)),
    Row("where", lambda a, b: torch.where(a > 0, a, b), ((3, 4), (3, 4)), (4, 3)),
    Row("masked fill", lambda a: a.masked_fill(a > 0, 2.0), ((3, 4),), (4, 3)),
    Row("clamp", lambda a: a.clamp(-1, 1), ((3, 4),), (4, 3)),
    Row("prelu", functional.prelu, ((2, 3, 4), (3,)), (4, 3, 2)),
    Row("threshold", lambda a: functional.threshold(a, 0.1, 0.0), ((3, 4),), (4, 3)),
    Row("maximum", torch.maximum, ((3, 4), (3, 4)), (4, 3)),
    Row("in place", lambda a: a.clone().mul_(2).relu_(), ((3, 4),), (4, 3)),
    Row("zero in place", lambda a: a * a.clone().zero_().add(1), ((3, 4),), (4, 3)),
    # products
    Row("matrix product", torch.mm, ((3, 4), (4, 5)), (5, 4, 3)),
    Row("matrix product and bias", torch.addmm, ((5,), (3, 4), (4, 5)), (5, 4, 3)),
    Row("stack of products", torch.bmm, ((2, 3, 4), (2, 4, 5)), (5, 4, 3, 2)),
    Row("stack and bias", torch.baddbmm, ((2, 3, 5), (2, 3, 4), (2, 4, 5)), (5, 4, 3, 2)),
    Row("einsum", lambda a, b: torch.einsum("ij,kj->ik", a, b), ((3, 4), (5, 4)), (5, 4, 3)),
    Row(
        "einsum of four",
        lambda a, b: torch.einsum("bhd,bhe->bde", a, b),
        ((3, 3, 4), (3, 3, 5)),
        (5, 4, 3, 3),
    ),
    Row("bilinear", functional.bilinear, ((2, 3), (2, 4), (5, 3, 4)), (5, 4, 3, 2)),
    Row("matrix and vector", torch.mv, ((3, 4), (4,)), (4, 3)),
    Row("inner product", torch.dot, ((4,), (4,)), (4,)),
    Row("outer product", torch.outer, ((3,), (4,)), (4, 3)),
    Row("product of computed", lambda a, b: a.tanh() @ b.tanh().T, ((3, 4), (5, 4)), (5, 4, 3)),
    Row(
        "product of sigmoids",
        lambda a, b: a.sigmoid() @ b.sigmoid().T,
        ((3, 4), (5, 4)),
        (5, 4, 3),
        True,
    ),
    Row("distances", lambda a, b: torch.cdist(a, b), ((3, 4), (5, 4)), (5, 4, 3)),
    Row("convolution", functional.conv2d, ((1, 3, 4, 4), (5, 3, 3, 3), (5,)), (5, 3)),
    Row("convolution 1-D", functional.conv1d, ((1, 3, 6), (5, 3, 3)), (5, 3)),
    Row("convolution 3-D", functional.conv3d, ((1, 2, 3, 3, 3), (4, 2, 2, 2, 2)), (4, 2)),
    Row(
        "grouped",
        lambda a, w: functional.conv2d(a, w, groups=len(w) // 3),
        ((1, 4, 3, 3), (6, 2, 3, 3)),
        (2,),
    ),
    Row(
        "depthwise",
        lambda a, w: functional.conv2d(a, w, groups=len(w)),
        ((1, 4, 3, 3), (4, 1, 3, 3)),
        (4,),
    ),
    Row(
        "two groups of three",
        lambda a, w: functional.conv2d(a, w, groups=2),
        ((1, 6, 3, 3), (4, 3, 3, 3)),
        (3, 2),
    ),
    Row("transposed", functional.conv_transpose2d, ((1, 3, 2, 2), (3, 5, 3, 3), (5,)), (5, 3)),
    Row(
        "transposed depthwise",
        lambda a, w: functional.conv_transpose2d(a, w, groups=len(w)),
        ((1, 4, 3, 3), (4, 1, 3, 3)),
        (4,),
    ),
    Row("embedding", lambda w: functional.embedding(torch.tensor([1, 0, 1]), w), ((3, 4),), (4,)),
    Row(
        "embedding bag",
        lambda w: functional.embedding_bag(torch.tensor([[1, 0], [2, 1]]), w, mode="sum"),
        ((3, 4),),
        (4,),
    ),
    # movement
    Row("view", lambda a: a.reshape(-1), ((3, 4),), (4,)),
    Row("split an axis", lambda a: a.unflatten(0, (2, -1)), ((6, 3),), (3, 2), graph=True),
    Row("permute", lambda a: a.permute(2, 0, 1), ((2, 3, 4),), (4, 3, 2)),
    Row("transpose", lambda a: a.transpose(0, 1), ((3, 4),), (4, 3)),
    Row("expand", lambda a: a.expand(3, -1), ((1, 4),), (4, 3), graph=True),
    Row("repeat", lambda a: a.repeat(1, 2), ((3, 4),), (4, 3)),
    Row("repeat each", lambda a: a.repeat_interleave(2, 1), ((3, 4),), (4, 3)),
    Row("insert and drop", lambda a: a.unsqueeze(1).squeeze(1), ((3, 4),), (4, 3)),
    # what no operator reaches is no unit: a longer input may reach it
    Row("select", lambda a: a[1], ((3, 4),), (4,), graph=True),
    Row("slice", lambda a: a[:, 1:3], ((3, 4),), (3, 2), graph=True),
    Row("every second", lambda a: a[:, ::2], ((3, 4),), (3, 2), graph=True),
    Row("chunk", lambda a: a.chunk(2, 1), ((3, 4),), (3, 2, 2), graph=True),
    Row("unbind", lambda a: a.unbind(0), ((2, 4),), (4,)),
    Row("join", lambda a, b: torch.cat([a, b], 1), ((3, 4), (3, 2)), (4, 3, 2)),
    Row("stack", lambda a, b: torch.stack([a, b], 0), ((3, 4), (3, 4)), (4, 3)),
    Row("flip", lambda a: a.flip(1), ((3, 4),), (4, 3)),
    Row("roll", lambda a: a.roll(1, 1), ((3, 4),), (3,)),
    Row("pad", lambda a: functional.pad(a, (1, 2)), ((3, 4),), (4, 3), graph=True),
    Row("gated halves", lambda a: functional.glu(a, 1), ((3, 4),), (3, 2)),
    Row("channel shuffle", lambda a: functional.channel_shuffle(a, 2), ((1, 4, 2, 2),), (2, 2, 2)),
    Row("pixel shuffle", lambda a: functional.pixel_shuffle(a, 2), ((1, 8, 2, 2),), (2,)),
    Row("pixel unshuffle", lambda a: functional.pixel_unshuffle(a, 2), ((1, 3, 4, 4),), (3,)),
    Row("unfold", lambda a: functional.unfold(a, 2), ((1, 3, 3, 3),), (3,)),
    Row("fold", lambda a: functional.fold(a, (3, 3), 2), ((1, 12, 4),), (3,)),
    Row("windows", lambda a: a.unfold(1, 2, 1), ((3, 4),), (3,)),
    Row("diagonal", lambda a: a.diagonal(0, 1, 2), ((2, 3, 3),), (2,)),
    Row("triangle", lambda a: a.tril(), ((2, 3, 3),), (2,)),
    Row("index a row", lambda a: a[torch.tensor([0, 2])], ((3, 4),), (4,)),
    Row("index by tensor", lambda a: a.index_select(0, torch.tensor([0, 2])), ((3, 4),), (4,)),
    Row(
        "gather",
        lambda a: a.gather(1, torch.zeros(3, 2, dtype=torch.long)),
        ((3, 4),),
        (3,),
        graph=True,
    ),
    Row("fourier", lambda a: torch.fft.rfft(a, dim=1).abs(), ((3, 4),), (3,)),
    Row(
        "complex", lambda a: torch.view_as_real(torch.view_as_complex(a) * 2j), ((3, 4, 2),), (4, 3)
    ),
    # reductions
    Row("sum", lambda a: a.sum(1), ((3, 4),), (4, 3)),
    Row("sum of sigmoids", lambda a: a.sigmoid().sum(1), ((3, 4),), (4, 3), True),
    Row("mean", lambda a: a.mean(1), ((3, 4),), (4, 3), True),
    Row("largest", lambda a: a.amax(1), ((3, 4),), (4, 3), True),
    Row("largest and place", lambda a: a.max(1)[0], ((3, 4),), (3,)),
    Row("norm", lambda a: torch.linalg.vector_norm(a, dim=1), ((3, 4),), (4, 3), True),
    Row("variance", lambda a: a.var(1), ((3, 4),), (4, 3), True),
    Row("variance and mean", lambda a: torch.var_mean(a, 1), ((3, 4),), (4, 3), True),
    Row("product", lambda a: a.prod(1), ((3, 4),), (4, 3), True),
    Row("softmax", lambda a: a.softmax(1), ((3, 4),), (4, 3), True),
    Row("log softmax", lambda a: a.log_softmax(1), ((3, 4),), (4, 3), True),
    Row("log of sum", lambda a: a.logsumexp(1), ((3, 4),), (4, 3), True),
    Row("running sum", lambda a: a.cumsum(1), ((3, 4),), (4, 3)),
    Row("running product", lambda a: a.cumprod(1), ((3, 4),), (4, 3), True),
    Row("sorted", lambda a: a.sort(1)[0], ((3, 4),), (3,)),
    Row("largest two", lambda a: a.topk(2, 1)[0], ((3, 4),), (3,)),
    # normalisation and pooling
    Row(
        "layer norm",
        lambda a, w, b: functional.layer_norm(a, w.shape, w, b),
        ((3, 4), (4,), (4,)),
        (4, 3),
        True,
    ),
    Row("rms norm", lambda a, w: functional.rms_norm(a, w.shape, w), ((3, 4), (4,)), (4, 3), True),
    Row(
        "group norm",
        lambda a, w: functional.group_norm(a, len(w) // 2, w),
        ((1, 6, 2), (6,)),
        (2, 3),
        True,
    ),
    Row("average pool", lambda a: functional.avg_pool2d(a, 2), ((1, 3, 4, 4),), (3,)),
    Row("largest pool", lambda a: functional.max_pool2d(a, 2), ((1, 3, 4, 4),), (3,)),
    Row("largest pool of sound", lambda a: functional.max_pool1d(a, 2), ((1, 3, 4),), (3,)),
    Row("adaptive largest", lambda a: functional.adaptive_max_pool1d(a, 2), ((1, 3, 4),), (3,)),
    Row(
        "put back",
        lambda a, b: functional.max_unpool2d(a, functional.max_pool2d_with_indices(b, 2)[1], 2),
        ((1, 3, 2, 2), (1, 3, 4, 4)),
        (3,),
    ),
    Row("adaptive pool", lambda a: functional.adaptive_avg_pool2d(a, 2), ((1, 3, 5, 5),), (3,)),
    Row("nearest", lambda a: functional.interpolate(a, scale_factor=2), ((1, 3, 2, 2),), (3,)),
    Row(
        "bicubic",
        lambda a: functional.interpolate(a, (3, 3), mode="bicubic"),
        ((1, 3, 2, 2),),
        (3,),
    ),
    Row("reflect", lambda a: functional.pad(a, (1, 1, 1, 1), "reflect"), ((1, 3, 3, 3),), (3,)),
    Row("local response", lambda a: functional.local_response_norm(a, 2), ((1, 3, 2, 2),), ()),
    Row(
        "attention",
        lambda q, k, v: functional.scaled_dot_product_attention(q, k, v, scale=1.0),
        ((2, 3, 4), (2, 3, 4), (2, 3, 5)),
        (5, 4, 3, 3, 2),
        True,
    ),
)


def traced(row: Row) -> Network:
    return trace(Operator(row).eval(), torch.zeros(1, 2, dtype=torch.float64))


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_removing_equals_the_operator_on_what_is_left(row: Row) -> None:
    network = traced(row)
    assert not network.unknown_operators
    sizes = [group.n_units for group in network.groups if group.n_units > 1]
    assert sorted(sizes) == sorted(row.groups)
    assert any(group.changes_normalisation for group in network.groups) == row.marked
    x = torch.randn(1, 2, dtype=torch.float64)
    of_unit = np.repeat(
        [group.n_units for group in network.groups], [g.n_units for g in network.groups]
    )
    for unit in np.flatnonzero(of_unit > 1):
        keep = np.ones(network.cost.n_units, np.bool_)
        keep[unit] = False
        predicted = network.cost.query(keep)
        removal = remove_units(network, keep)
        assert bool(removal.graph_reason) <= row.graph, removal.graph_reason
        assert counted_params(removal.module) == predicted.params.sum()
        assert counted_macs(removal.module, x) == predicted.macs.sum()
        if not network.analysis.renormalised[unit]:
            with torch.no_grad():
                expected = zero_units(network, keep)(x)
                assert torch.allclose(removal.module(x), expected, rtol=1e-10, atol=1e-10)
