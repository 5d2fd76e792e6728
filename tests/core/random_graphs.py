"""Random small networks: programs of operators drawn step by step, run by one module class."""

import itertools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any

import torch
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional

Pick = Callable[[Sequence[Any]], Any]
Shape = tuple[int, ...]
_SIZES = (2, 3, 4, 6)


@dataclass
class Step:
    """One operator: ``run(module, *operands) -> tensor or list of tensors``, with its layers."""

    name: str
    operands: tuple[int, ...]
    run: Callable[..., Any]
    layers: dict[str, nn.Module | nn.Parameter] = field(default_factory=dict)


class Program(nn.Module):
    """Runs its steps in order; every tensor made so far can be an operand."""

    def __init__(self, steps: list[Step], outputs: tuple[int, ...]) -> None:
        super().__init__()
        self.steps, self.outputs = steps, outputs
        for number, step in enumerate(steps):
            holder = nn.Module()
            for name, layer in step.layers.items():
                setattr(holder, name, layer)
            self.add_module(f"s{number}", holder)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        values = [x]
        for number, step in enumerate(self.steps):
            result = step.run(getattr(self, f"s{number}"), *(values[i] for i in step.operands))
            values += result if isinstance(result, list | tuple) else [result]
        return tuple(values[i] for i in self.outputs)

    def __repr__(self) -> str:
        lines = [f"{step.name}{list(step.operands)} {step.layers or ''}" for step in self.steps]
        return "\n".join([*lines, f"-> {self.outputs}"])


class Builder:
    """Draws steps and keeps the shapes (without batch) of all values so far."""

    def __init__(self, pick: Pick, shape: Shape) -> None:
        self._pick = pick
        self.steps: list[Step] = []
        self.shapes: list[Shape] = [shape]

    def pick(self, options: Iterable[Any]) -> Any:
        return self._pick(list(options))

    def coin(self) -> bool:
        return bool(self.pick((False, True)))

    def add(
        self, name: str, operands: tuple[int, ...], run: Any, *shapes: Shape, **layers: Any
    ) -> None:
        self.steps.append(Step(name, operands, run, layers))
        self.shapes += shapes

    def value(self, *, ndim: int | None = None) -> int | None:
        """Draw a value, preferring late ones."""
        found = [i for i, s in enumerate(self.shapes) if ndim is None or len(s) == ndim]
        found += found[-2:] * 3
        return self.pick(found) if found else None

    def pair(self) -> tuple[int, int] | None:
        """Draw two different values of one shape."""
        first = self.value()
        same = [i for i, s in enumerate(self.shapes) if s == self.shapes[first] and i != first]
        return (first, self.pick(same)) if same else None


def convolution(b: Builder) -> None:
    """Plain, grouped, depthwise, strided."""
    i = b.value(ndim=3)
    if i is None:
        return
    c, h, w = b.shapes[i]
    out = b.pick(_SIZES)
    groups = b.pick([1, 1, *(g for g in (2, 3, c) if c % g == 0 and out % g == 0)])
    if b.coin() and groups == 1:
        groups, out = c, c * b.pick((1, 2))
    k = b.pick([1, *([3] if min(h, w) >= 3 else [])])
    layer = nn.Conv2d(c, out, k, groups=groups, padding=k // 2, bias=b.coin())
    b.add("conv", (i,), lambda m, x: m.f(x), (out, h, w), f=layer)


def transposed_convolution(b: Builder) -> None:
    i = b.value(ndim=3)
    if i is None:
        return
    c, h, w = b.shapes[i]
    out = b.pick(_SIZES)
    layer = nn.ConvTranspose2d(c, out, 1, bias=b.coin())
    b.add("convT", (i,), lambda m, x: m.f(x), (out, h, w), f=layer)


def linear(b: Builder) -> None:
    i = b.value()
    *rest, c = b.shapes[i]
    out = b.pick(_SIZES)
    layer = nn.Linear(c, out, bias=b.coin())
    b.add("linear", (i,), lambda m, x: m.f(x), (*rest, out), f=layer)


def normalisation(b: Builder) -> None:
    i = b.value()
    shape = b.shapes[i]
    # Of a single number torch takes no statistics.
    area = prod(shape[1:])
    image = ["batch", *(["group"] if prod(shape) > 1 else [])]
    image += ["instance"] if area > 1 else []
    kind = b.pick(["layer", "rms", *(image if len(shape) == 3 else [])])
    c = shape[0]
    layer: nn.Module
    if kind == "layer":
        layer = nn.LayerNorm(shape[-1])
    elif kind == "rms":
        layer = nn.RMSNorm(shape[-1], eps=1e-5)
    elif kind == "batch":
        layer = nn.BatchNorm2d(c)
        layer.running_mean = torch.randn(c)
        layer.running_var = torch.rand(c) + 0.5
    elif kind == "group":
        sizes = [g for g in (1, 2, 3, c) if c % g == 0 and c // g * area > 1]
        layer = nn.GroupNorm(b.pick(sizes), c)
    else:
        layer = nn.InstanceNorm2d(c, affine=b.coin())
    for parameter in layer.parameters():
        nn.init.normal_(parameter)
    b.add(kind, (i,), lambda m, x: m.f(x), shape, f=layer)


def elementwise(b: Builder) -> None:
    i = b.value()
    name, run = b.pick(
        [
            ("relu", torch.relu),
            ("tanh", torch.tanh),
            ("gelu", functional.gelu),
            ("sigmoid", torch.sigmoid),
            ("scale", lambda x: x * 0.5),
            ("relu_", lambda x: x.clone().relu_()),
        ]
    )
    b.add(name, (i,), lambda _, x: run(x), b.shapes[i])


def two(b: Builder) -> None:
    """Add, multiply or subtract two values of one shape."""
    pair = b.pair()
    if pair is None:
        return
    name, run = b.pick(
        [("add", torch.add), ("mul", torch.mul), ("sub", torch.sub), ("maximum", torch.maximum)]
    )
    b.add(name, pair, lambda _, x, y: run(x, y), b.shapes[pair[0]])


def scale_parameter(b: Builder) -> None:
    """A raw parameter, broadcast over some axes."""
    i = b.value()
    shape = b.shapes[i]
    own = tuple(size if b.coin() else 1 for size in shape)
    p = nn.Parameter(torch.randn(own))
    run = b.pick([lambda m, x: x * m.p, lambda m, x: x + m.p])
    b.add(f"parameter{own}", (i,), run, shape, p=p)


def squeeze_excite(b: Builder) -> None:
    i = b.value(ndim=3)
    if i is None:
        return
    c = b.shapes[i][0]
    layers = {"a": nn.Linear(c, 2), "b": nn.Linear(2, c)}

    def run(m: Any, x: Tensor) -> Tensor:
        gate = torch.sigmoid(m.b(torch.relu(m.a(x.mean((2, 3))))))
        return x * gate[:, :, None, None]

    b.add("se", (i,), run, b.shapes[i], **layers)


def concatenate(b: Builder) -> None:
    i = b.value()
    axis = b.pick(range(len(b.shapes[i])))

    def rest(shape: Shape) -> Shape:
        return (*shape[:axis], *shape[axis + 1 :])

    j = b.pick(
        k
        for k, s in enumerate(b.shapes)
        if len(s) == len(b.shapes[i]) and rest(s) == rest(b.shapes[i])
    )
    left, right = b.shapes[i], b.shapes[j]
    size = left[axis] + right[axis]
    if size > 16:
        return
    shape = (*left[:axis], size, *left[axis + 1 :])
    b.add(f"cat{axis}", (i, j), lambda _, x, y: torch.cat([x, y], axis + 1), shape)


def divide(b: Builder) -> None:
    """Chunk, slice, split or select along an axis."""
    i = b.value()
    shape = b.shapes[i]
    axis = b.pick(range(len(shape)))
    size = shape[axis]
    kind = b.pick(["chunk", "slice", "step", "split", "flip", "glu", "roll", "select"])

    def of(n: int) -> Shape:
        return (*shape[:axis], n, *shape[axis + 1 :])

    if kind == "chunk" and size % 2 == 0:
        b.add("chunk", (i,), lambda _, x: list(x.chunk(2, axis + 1)), of(size // 2), of(size // 2))
    elif kind == "split" and size > 1:
        at = b.pick(range(1, size))
        b.add(
            f"split{at}",
            (i,),
            lambda _, x: list(x.split([at, size - at], axis + 1)),
            of(at),
            of(size - at),
        )
    elif kind == "slice" and size > 1:
        at = b.pick(range(1, size))
        b.add(f"slice{at}", (i,), lambda _, x: x.narrow(axis + 1, size - at, at), of(at))
    elif kind == "step" and size > 1:
        index = (slice(None),) * (axis + 1) + (slice(0, None, 2),)
        b.add("step", (i,), lambda _, x: x[index], of(-(-size // 2)))
    elif kind == "flip":
        b.add("flip", (i,), lambda _, x: x.flip(axis + 1), shape)
    elif kind == "roll":
        b.add("roll", (i,), lambda _, x: x.roll(1, axis + 1), shape)
    elif kind == "glu" and size % 2 == 0:
        b.add("glu", (i,), lambda _, x: functional.glu(x, axis + 1), of(size // 2))
    elif kind == "select" and len(shape) > 1:
        rest = (*shape[:axis], *shape[axis + 1 :])
        b.add("select", (i,), lambda _, x: x.select(axis + 1, size - 1), rest)


def rearrange(b: Builder) -> None:
    """Split an axis, permute, merge two axes: channel shuffle, heads, flatten."""
    i = b.value()
    shape = b.shapes[i]
    kind = b.pick(["permute", "unflatten", "flatten", "shuffle", "insert"])
    if kind == "permute":
        order = b.pick(itertools.permutations(range(len(shape))))
        full = [0, *(axis + 1 for axis in order)]
        b.add(f"permute{order}", (i,), lambda _, x: x.permute(full), tuple(shape[a] for a in order))
    elif kind == "unflatten" and len(shape) < 4:
        axis = b.pick(range(len(shape)))
        factors = [f for f in (2, 3) if shape[axis] % f == 0]
        if factors:
            f = b.pick(factors)
            parts = b.pick([(f, shape[axis] // f), (shape[axis] // f, f)])
            new = (*shape[:axis], *parts, *shape[axis + 1 :])
            b.add(f"unflatten{parts}", (i,), lambda _, x: x.reshape(x.shape[0], *new), new)
    elif kind == "flatten" and len(shape) > 1:
        axis = b.pick(range(len(shape) - 1))
        merged = shape[axis] * shape[axis + 1]
        if merged <= 24:
            new = (*shape[:axis], merged, *shape[axis + 2 :])
            b.add(f"flatten{axis}", (i,), lambda _, x: x.flatten(axis + 1, axis + 2), new)
    elif kind == "shuffle" and shape[0] % 2 == 0:

        def run(_: Any, x: Tensor) -> Tensor:
            return x.unflatten(1, (2, -1)).transpose(1, 2).flatten(1, 2)

        b.add("shuffle", (i,), run, shape)
    elif kind == "insert" and len(shape) < 4:
        axis = b.pick(range(len(shape) + 1))
        b.add(
            f"insert{axis}",
            (i,),
            lambda _, x: x.unsqueeze(axis + 1),
            (*shape[:axis], 1, *shape[axis:]),
        )


def reduce(b: Builder) -> None:
    i = b.value()
    shape = b.shapes[i]
    if len(shape) < 2:
        return
    axis = b.pick(range(len(shape)))
    name, run = b.pick(
        [
            ("mean", lambda x: x.mean(axis + 1)),
            ("sum", lambda x: x.sum(axis + 1)),
            ("amax", lambda x: x.amax(axis + 1)),
            ("softmax", lambda x: x.softmax(axis + 1)),
        ]
    )
    rest = shape if name == "softmax" else (*shape[:axis], *shape[axis + 1 :])
    b.add(f"{name}{axis}", (i,), lambda _, x: run(x), rest)


def pool(b: Builder) -> None:
    i = b.value(ndim=3)
    if i is None or min(b.shapes[i][1:]) < 2:
        return
    c, h, w = b.shapes[i]
    name, run = b.pick([("maxpool", functional.max_pool2d), ("avgpool", functional.avg_pool2d)])
    b.add(name, (i,), lambda _, x: run(x, 2), (c, h // 2, w // 2))


def attention(b: Builder) -> None:
    """Self-attention with separate or packed projections, one or two heads."""
    i = b.value(ndim=2)
    if i is None:
        return
    t, c = b.shapes[i]
    heads, width = b.pick((1, 2)), 4
    packed = b.coin()
    layers = (
        {"qkv": nn.Linear(c, 3 * width)}
        if packed
        else {"q": nn.Linear(c, width), "k": nn.Linear(c, width), "v": nn.Linear(c, width)}
    )

    def run(m: Any, x: Tensor) -> Tensor:
        parts = m.qkv(x).chunk(3, -1) if packed else (m.q(x), m.k(x), m.v(x))
        q, k, v = (p.unflatten(-1, (heads, -1)).transpose(1, 2) for p in parts)
        return (
            functional.scaled_dot_product_attention(q, k, v, scale=0.5).transpose(1, 2).flatten(2)
        )

    b.add(f"attention{heads}", (i,), run, (t, width), **layers)


def matmul(b: Builder) -> None:
    """A product of two computed values."""
    i = b.value(ndim=2)
    if i is None:
        return
    n, k = b.shapes[i]
    fits = [j for j, s in enumerate(b.shapes) if len(s) == 2 and s[0] == k]
    if fits:
        j = b.pick(fits)
        b.add("matmul", (i, j), lambda _, x, y: x @ y, (n, b.shapes[j][1]))
    else:
        b.add("gram", (i,), lambda _, x: x @ x.transpose(1, 2), (n, n))


_STEPS = (
    [convolution, linear, normalisation, elementwise, two, concatenate, divide, rearrange] * 2
    + [transposed_convolution, scale_parameter, squeeze_excite, reduce, pool, attention, matmul]
    + [convolution, two, linear]
)


def program(pick: Pick) -> tuple[Program, Shape]:
    """Draw a network of up to 12 operators and the shape of its input (without batch)."""
    torch.manual_seed(pick(range(10_000)))
    shape = pick([(3, 4, 4), (2, 6, 4), (4, 3), (6,)])
    builder = Builder(pick, shape)
    {3: convolution, 2: linear, 1: linear}[len(shape)](builder)
    for _ in range(pick(range(2, 12))):
        pick(_STEPS)(builder)
    last = len(builder.shapes) - 1
    head = nn.Linear(builder.shapes[last][-1], 3)
    builder.add("linear", (last,), lambda m, x: m.f(x), (*builder.shapes[last][:-1], 3), f=head)
    outputs = {len(builder.shapes) - 1, *([pick(range(1, last + 1))] if pick([0, 0, 1]) else [])}
    return Program(builder.steps, tuple(outputs)).double().eval(), shape


@st.composite
def programs(draw: Any) -> tuple[Program, Shape]:
    """Draw with hypothesis, which shrinks what fails."""
    return program(lambda options: draw(st.sampled_from(options)))
