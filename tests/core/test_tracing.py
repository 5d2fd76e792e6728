"""Tracing on models made to contain one difficulty each."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from safetensors.torch import save
from torch import Tensor, nn
from torch.nn import functional

from pruning_core.errors import UnsupportedModelError
from pruning_core.surgery.unit import remove_units, zero_units
from pruning_core.tracing.rebuild import rebuild
from pruning_core.tracing.trace import trace
from tests.core.oracles import counted_macs, counted_params, relative_difference


class Small(nn.Module):
    """A model given by its layers and a forward function."""

    def __init__(self, forward: Callable[..., Tensor], **layers: nn.Module | nn.Parameter) -> None:
        super().__init__()
        for name, layer in layers.items():
            setattr(self, name, layer)
        self._forward = forward

    def forward(self, *inputs: Tensor) -> Tensor:
        return self._forward(self, *inputs)


def images(*channels: int, size: int = 8) -> Tensor:
    return torch.randn(1, *channels, size, size, generator=torch.Generator().manual_seed(1))


def grouped() -> Small:
    return Small(
        lambda m, x: m.fc(m.b(torch.relu(m.a(x))).mean((2, 3))),
        a=nn.Conv2d(3, 8, 3),
        b=nn.Conv2d(8, 16, 3, groups=4),
        fc=nn.Linear(16, 5),
    )


def depthwise() -> Small:
    return Small(
        lambda m, x: m.fc(m.c(torch.relu(m.b(m.a(x)))).mean((2, 3))),
        a=nn.Conv2d(3, 8, 3),
        b=nn.Conv2d(8, 16, 3, groups=8),
        c=nn.Conv2d(16, 6, 1),
        fc=nn.Linear(6, 5),
    )


def transposed() -> Small:
    return Small(
        lambda m, x: m.fc(m.b(m.a(x)).mean((2, 3))),
        a=nn.Conv2d(3, 8, 3),
        b=nn.ConvTranspose2d(8, 12, 3, stride=2),
        fc=nn.Linear(12, 5),
    )


def concatenated() -> Small:
    return Small(
        lambda m, x: m.c(torch.cat([m.a(x), torch.relu(m.b(x))], 1)).flatten(1).relu() @ m.w,
        a=nn.Conv2d(3, 4, 3),
        b=nn.Conv2d(3, 6, 3),
        c=nn.Conv2d(10, 5, 3),
        w=nn.Parameter(torch.randn(5 * 16, 3)),
    )


def residual_in_place() -> Small:
    def forward(m: Small, x: Tensor) -> Tensor:
        y = m.bn(m.a(x)).relu_()
        z = m.b(y)
        z += y
        return m.fc(z.mean((2, 3)))

    return Small(
        forward,
        a=nn.Conv2d(3, 8, 3),
        bn=nn.BatchNorm2d(8),
        b=nn.Conv2d(8, 8, 3, padding=1),
        fc=nn.Linear(8, 5),
    )


def group_normalised() -> Small:
    return Small(
        lambda m, x: m.fc(torch.relu(m.gn(m.a(x))).mean((2, 3))),
        a=nn.Conv2d(3, 12, 3),
        gn=nn.GroupNorm(4, 12),
        fc=nn.Linear(12, 5),
    )


def channel_shuffle() -> Small:
    def forward(m: Small, x: Tensor) -> Tensor:
        y = m.a(x)
        batch, channels, height, width = y.shape
        y = y.view(batch, 2, channels // 2, height, width).transpose(1, 2).reshape(y.shape)
        return m.fc(m.b(y).mean((2, 3)))

    return Small(forward, a=nn.Conv2d(3, 8, 3), b=nn.Conv2d(8, 6, 3), fc=nn.Linear(6, 5))


def two_layer_bidirectional_lstm() -> Small:
    return Small(
        lambda m, x: m.fc(m.rnn(x.flatten(1, 2))[0][:, -1]),
        rnn=nn.LSTM(8, 6, num_layers=2, bidirectional=True, batch_first=True),
        fc=nn.Linear(12, 5),
    )


def squeeze_excite() -> Small:
    def forward(m: Small, x: Tensor) -> Tensor:
        y = torch.relu(m.a(x))
        gate = torch.sigmoid(m.up(torch.relu(m.down(y.mean((2, 3), keepdim=True)))))
        return m.fc((y * gate).mean((2, 3)))

    return Small(
        forward,
        a=nn.Conv2d(3, 8, 3),
        down=nn.Conv2d(8, 4, 1),
        up=nn.Conv2d(4, 8, 1),
        fc=nn.Linear(8, 5),
    )


def chunked_gate() -> Small:
    def forward(m: Small, x: Tensor) -> Tensor:
        left, right = m.a(x.flatten(1)).chunk(2, dim=1)
        return m.fc(left * torch.sigmoid(right))

    return Small(forward, a=nn.Linear(3 * 64, 16), fc=nn.Linear(8, 5))


def multihead_attention() -> Small:
    def forward(m: Small, x: Tensor) -> Tensor:
        tokens = m.embed(x.flatten(2).transpose(1, 2))
        return m.fc(m.mha(tokens, tokens, tokens, need_weights=False)[0][:, 0])

    return Small(
        forward,
        embed=nn.Linear(3, 16),
        mha=nn.MultiheadAttention(16, 4, batch_first=True),
        fc=nn.Linear(16, 5),
    )


def tied() -> Small:
    def forward(m: Small, x: Tensor) -> Tensor:
        hidden = torch.relu(functional.linear(x.flatten(1), m.w))
        return m.fc(torch.relu(functional.linear(hidden, m.w.t())) + x.flatten(1))

    return Small(forward, w=nn.Parameter(torch.randn(10, 192) / 14), fc=nn.Linear(192, 5))


MODELS = (
    grouped,
    depthwise,
    transposed,
    concatenated,
    residual_in_place,
    group_normalised,
    channel_shuffle,
    two_layer_bidirectional_lstm,
    squeeze_excite,
    chunked_gate,
    multihead_attention,
    tied,
)


@pytest.mark.parametrize("build", MODELS, ids=lambda build: build.__name__)
def test_predicted_counts_and_outputs_hold_for_random_removals(build: Callable[[], Small]) -> None:
    torch.manual_seed(0)
    model, inputs = build().eval(), images(3)
    if isinstance(getattr(model, "rnn", None), nn.LSTM):
        inputs = images(1)
    network = trace(model, inputs)
    assert not network.unknown_operators
    assert network.groups
    batch = inputs.repeat(3, 1, 1, 1) + torch.randn(3, *inputs.shape[1:]) / 10
    for seed in range(8):
        rng = np.random.default_rng(seed)
        parts = []
        for group in network.groups:
            keep = rng.random(group.n_units) < 0.6
            keep[0] = True
            parts.append(keep)
        keep = np.concatenate(parts)
        predicted = network.cost.query(keep)
        removal = remove_units(network, keep)
        assert counted_params(removal.module) == predicted.params.sum()
        assert counted_macs(removal.module, inputs) == predicted.macs.sum()
        zeroed = zero_units(network, keep)
        with torch.no_grad():
            assert relative_difference(removal.module(batch), zeroed(batch)) <= 1e-5


@pytest.mark.parametrize("build", MODELS, ids=lambda build: build.__name__)
def test_the_rebuilt_graph_equals_the_model_at_any_batch_size(build: Callable[[], Small]) -> None:
    torch.manual_seed(0)
    model = build().eval()
    inputs = images(1) if isinstance(getattr(model, "rnn", None), nn.LSTM) else images(3)
    network = trace(model, inputs)
    graph = rebuild(network, np.ones(network.cost.n_units, np.bool_))
    for size in (1, 2, 5):
        batch = torch.randn(size, *inputs.shape[1:])
        with torch.no_grad():
            assert relative_difference(graph(batch), model(batch)) <= 1e-5


def test_a_class_that_cannot_lose_a_head_is_given_back_as_a_graph_with_the_reason() -> None:
    network = trace(multihead_attention().eval(), images(3))
    heads = network.group("mha")
    assert (heads.kind, heads.n_units) == ("head", 4)
    keep = np.ones(network.cost.n_units, np.bool_)
    keep[network.first_unit(heads)] = False
    removal = remove_units(network, keep)
    assert "class" in removal.graph_reason


def test_the_units_of_a_residual_stage_leave_together_and_say_why() -> None:
    network = trace(residual_in_place().eval(), images(3))
    (group,) = network.groups
    assert (group.name, group.kind, group.n_units) == ("a", "channel", 8)
    assert group.layers == ("a", "bn", "b", "fc")
    assert any("addition" in reason for reason in group.reasons)
    touched = {(member.parameter, member.axis) for member in group.members}
    assert {("a.weight", 0), ("b.weight", 0), ("b.weight", 1), ("bn.running_mean", 0)} <= touched


def test_an_unknown_operator_locks_what_it_touches_and_is_named() -> None:
    def forward(m: Small, x: Tensor) -> Tensor:
        return m.b(torch.cumsum(m.a(x.flatten(1)), dim=1))

    model = Small(forward, a=nn.Linear(192, 8), b=nn.Linear(8, 5)).eval()
    network = trace(model, images(3))
    assert dict(network.unknown_operators) == {"cumsum": 1}
    assert not network.groups


def test_layers_report_the_cost_worked_out_by_hand() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 2)).eval()
    network = trace(model, images(3))
    conv, linear = network.layers
    assert (conv.name, conv.kind, conv.n_params, conv.macs) == ("0", "Conv2d", 112, 3888)
    assert (linear.name, linear.n_params, linear.macs, linear.n_bytes) == ("3", 290, 288, 1160)
    assert network.weights == ("0.weight", "3.weight")


def test_tracing_leaves_modes_hooks_and_gradients_alone() -> None:
    model = residual_in_place()
    model.train()
    model.bn.eval()
    trace(model, images(3))
    assert model.training
    assert not model.bn.training
    assert not any(child._forward_hooks or child._forward_pre_hooks for child in model.modules())
    assert all(parameter.grad is None for parameter in model.parameters())


@pytest.mark.parametrize(
    ("model", "inputs", "words"),
    [
        (nn.Linear(4, 2), torch.randn(1, 5), "could not be run on an input of shape [1, 5]"),
        (nn.ReLU(), torch.randn(1, 5), "no parameters"),
        (nn.Linear(4, 2), (), "example input"),
    ],
)
def test_what_cannot_be_traced_is_said_in_a_sentence(
    model: nn.Module, inputs: Tensor, words: str
) -> None:
    with pytest.raises(UnsupportedModelError) as caught:
        trace(model, inputs)
    assert words in str(caught.value)


def test_a_tied_weight_counts_once_as_parameter_and_is_stored_under_each_name() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table = nn.Embedding(11, 6)
            self.head = nn.Linear(6, 11, bias=False)
            self.head.weight = self.table.weight

        def forward(self, tokens: Tensor) -> Tensor:
            return self.head(torch.relu(self.table(tokens)))

    model = Tied().eval()
    network = trace(model, torch.zeros(1, 4, dtype=torch.int64))
    keep = np.array([True, False, True, True, False, True])
    costs = network.cost.query(keep)
    small = remove_units(network, keep).module
    assert costs.params.sum() == counted_params(small) == 44
    state = {name: value.clone() for name, value in small.state_dict().items()}
    assert len(save(state)) == costs.n_bytes[0]
    assert small.head.weight is small.table.weight
