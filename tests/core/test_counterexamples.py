"""Every kind of network on which random graphs once found the preview or the result wrong."""

import random
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from tests.core.random_graphs import Program, Step, program
from tests.core.test_random_graphs import check


def convolution_over_a_pruned_axis() -> list[Step]:
    """The width of the image is the output of a linear layer, so the kernel runs over units."""
    conv = nn.Conv2d(3, 4, 3, padding=1)
    return [
        Step("linear", (0,), lambda m, x: m.f(x), {"f": nn.Linear(4, 6)}),
        Step("conv", (1,), lambda m, x: m.f(x), {"f": conv}),
        Step("linear", (2,), lambda m, x: m.f(x), {"f": nn.Linear(6, 3)}),
    ]


def group_norm_over_a_pruned_axis() -> list[Step]:
    return [
        Step("linear", (0,), lambda m, x: m.f(x), {"f": nn.Linear(4, 6)}),
        Step("norm", (1,), lambda m, x: m.f(x), {"f": nn.GroupNorm(3, 3)}),
        Step("linear", (2,), lambda m, x: m.f(x), {"f": nn.Linear(6, 3)}),
    ]


def instance_norm_over_a_pruned_axis() -> list[Step]:
    steps = group_norm_over_a_pruned_axis()
    steps[1] = Step("norm", (1,), lambda m, x: m.f(x), {"f": nn.InstanceNorm2d(3)})
    return steps


def every_second_unit() -> list[Step]:
    """A slice with a step picks other units when some before them left."""
    return [
        Step("linear", (0,), lambda m, x: m.f(x), {"f": nn.Linear(4, 6)}),
        Step("step", (1,), lambda _, x: x[..., ::2]),
        Step("linear", (2,), lambda m, x: m.f(x), {"f": nn.Linear(3, 3)}),
    ]


def a_relu_hides_a_wrong_cut() -> list[Step]:
    return [
        Step("linear", (0,), lambda m, x: m.f(x), {"f": nn.Linear(4, 4, bias=False)}),
        Step("step", (1,), lambda _, x: x[..., ::2].relu()),
        Step("linear", (2,), lambda m, x: m.f(x), {"f": nn.Linear(2, 3)}),
    ]


def heads_counted_in_the_class() -> list[Step]:
    """With one head gone, the class would cut what is left into two heads of half the width."""

    def attend(m: Any, x: Tensor) -> Tensor:
        q, k, v = (p.unflatten(-1, (2, -1)).transpose(1, 2) for p in m.qkv(x).chunk(3, -1))
        mixed = functional.scaled_dot_product_attention(q, k, v, scale=0.5)
        return mixed.transpose(1, 2).flatten(2)

    return [
        Step("flatten", (0,), lambda _, x: x.flatten(1, 2)),
        Step("attention", (1,), attend, {"qkv": nn.Linear(4, 24)}),
        Step("norm", (2,), lambda m, x: m.f(x), {"f": nn.LayerNorm(8)}),
        Step("linear", (3,), lambda m, x: m.f(x), {"f": nn.Linear(8, 3)}),
    ]


def sum_of_what_is_not_zero() -> list[Step]:
    """A zeroed unit is a half behind a sigmoid, and adds to the sum."""
    return [
        Step("linear", (0,), lambda m, x: m.f(x), {"f": nn.Linear(4, 6)}),
        Step("sigmoid", (1,), lambda _, x: x.sigmoid()),
        Step("sum", (2,), lambda _, x: x.sum(-1)),
        Step("linear", (3,), lambda m, x: m.f(x), {"f": nn.Linear(4, 3)}),
    ]


def a_mean_over_every_second_unit() -> list[Step]:
    """With only the units that the mean leaves out, it would be one over nothing."""
    return [
        Step("linear", (0,), lambda m, x: m.f(x), {"f": nn.Linear(4, 2)}),
        Step("step", (1,), lambda _, x: x[..., ::2]),
        Step("mean", (2,), lambda _, x: x.mean(-1)),
        Step("linear", (3,), lambda m, x: m.f(x), {"f": nn.Linear(4, 3)}),
    ]


NETWORKS = (
    a_mean_over_every_second_unit,
    convolution_over_a_pruned_axis,
    group_norm_over_a_pruned_axis,
    instance_norm_over_a_pruned_axis,
    every_second_unit,
    a_relu_hides_a_wrong_cut,
    heads_counted_in_the_class,
    sum_of_what_is_not_zero,
)


@pytest.mark.parametrize("build", NETWORKS, ids=lambda build: build.__name__)
@pytest.mark.parametrize("seed", range(4))
def test_a_counterexample_stays_solved(build: Callable[[], list[Step]], seed: int) -> None:
    torch.manual_seed(seed)
    steps = build()
    check(Program(steps, (len(steps),)).double().eval(), (3, 4, 4), seed)


@pytest.mark.parametrize("seed", [20431, 20961, 32195, 33016, 101895])
def test_a_drawn_counterexample_stays_solved(seed: int) -> None:
    drawn, shape = program(random.Random(seed).choice)
    check(drawn, shape, seed)
