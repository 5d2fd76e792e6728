"""Tracing on models made to contain one difficulty each."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from safetensors.torch import save
from torch import Tensor, nn
from torch.nn import functional

from pruning_core.errors import UnknownNameError, UnsupportedModelError
from pruning_core.surgery.unit import remove_units
from pruning_core.tracing.coupling import coupling_path, coupling_paths, lock_path
from pruning_core.tracing.network import Network
from pruning_core.tracing.rebuild import rebuild
from pruning_core.tracing.trace import trace
from tests.core.oracles import counted_macs, counted_params, relative_difference, zero_units


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


def pixel_shuffled() -> Small:
    return Small(
        lambda m, x: m.fc(m.b(functional.pixel_shuffle(m.a(x), 2)).mean((2, 3))),
        a=nn.Conv2d(3, 16, 3, padding=1),
        b=nn.Conv2d(4, 6, 3),
        fc=nn.Linear(6, 5),
    )


def gated_linear_unit() -> Small:
    return Small(
        lambda m, x: m.b(functional.glu(m.a(x.flatten(1)))),
        a=nn.Linear(192, 12),
        b=nn.Linear(6, 4),
    )


def instance_normalised() -> Small:
    return Small(
        lambda m, x: m.b(m.p(m.n(m.a(x)))).mean((2, 3)),
        a=nn.Conv2d(3, 8, 3),
        n=nn.InstanceNorm2d(8, affine=True),
        p=nn.PReLU(8),
        b=nn.Conv2d(8, 4, 3),
    )


def encoder_decoder() -> Small:
    def forward(m: Small, x: Tensor) -> Tensor:
        a = m.a(x).relu()
        b = m.b(functional.max_pool2d(a, 2)).relu()
        c = m.c(functional.interpolate(b, scale_factor=2))
        return m.o(functional.pad(torch.cat([a, c, m.up(b)], 1), (1, 1, 1, 1), mode="reflect"))

    return Small(
        forward,
        a=nn.Conv2d(3, 8, 3, padding=1),
        b=nn.Conv2d(8, 12, 3, padding=1),
        c=nn.Conv2d(12, 8, 1),
        up=nn.ConvTranspose2d(12, 6, 2, stride=2),
        o=nn.Conv2d(22, 2, 1),
    )


def token_mixer() -> Small:
    def forward(m: Small, x: Tensor) -> Tensor:
        tokens = m.embed(x.flatten(2).transpose(1, 2))
        mixed = m.t2(functional.gelu(m.t1(tokens.transpose(1, 2)))).transpose(1, 2)
        return m.fc(torch.einsum("bnd,de->bne", tokens + mixed, m.w).mean(1))

    return Small(
        forward,
        embed=nn.Linear(3, 16),
        t1=nn.Linear(64, 20),
        t2=nn.Linear(20, 64),
        w=nn.Parameter(torch.randn(16, 8)),
        fc=nn.Linear(8, 4),
    )


def projected_lstm() -> Small:
    return Small(
        lambda m, x: m.fc(m.rnn(x.flatten(1, 2))[0][:, -1]),
        rnn=nn.LSTM(8, 12, batch_first=True, proj_size=6),
        fc=nn.Linear(6, 5),
    )


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
    pixel_shuffled,
    gated_linear_unit,
    instance_normalised,
    encoder_decoder,
    token_mixer,
    projected_lstm,
)


@pytest.mark.parametrize("build", MODELS, ids=lambda build: build.__name__)
def test_predicted_counts_and_outputs_hold_for_random_removals(build: Callable[[], Small]) -> None:
    torch.manual_seed(0)
    model, inputs = build().eval(), images(3)
    if isinstance(getattr(model, "rnn", None), nn.LSTM):  # reads the rows of one image
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
        return m.b(torch.renorm(m.a(x.flatten(1)), 2, 0, 1.0))

    model = Small(forward, a=nn.Linear(192, 8), b=nn.Linear(8, 5)).eval()
    network = trace(model, images(3))
    assert dict(network.unknown_operators) == {"renorm": 1}
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


class Deciding(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        hidden: Tensor = self.layer(x)
        return hidden if hidden.sum() > 0 else -hidden


@pytest.mark.parametrize(
    ("model", "inputs", "words"),
    [
        (nn.Linear(4, 2), torch.randn(1, 5), "could not be run on an input of shape [1, 5]"),
        (nn.ReLU(), torch.randn(1, 5), "no parameters"),
        (nn.Linear(4, 2), (), "example input"),
        (Deciding(), torch.randn(1, 4), "`if`"),
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


def test_several_inputs_and_a_dictionary_of_outputs() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.p, self.q, self.head = nn.Linear(6, 8), nn.Linear(4, 5), nn.Linear(13, 3)

        def forward(self, a: Tensor, b: Tensor) -> dict[str, Tensor]:
            joint = torch.cat([self.p(a).relu(), self.q(b).relu()], 1)
            return {"logits": self.head(joint), "joint": joint.sum(1)}

    network = trace(Two().eval(), (torch.randn(1, 6), torch.randn(1, 4)))
    assert [(group.name, group.n_units) for group in network.groups] == [("p", 8), ("q", 5)]
    keep = np.arange(13) % 3 > 0
    small, zeroed = remove_units(network, keep).module, zero_units(network, keep)
    inputs = torch.randn(4, 6), torch.randn(4, 4)
    with torch.no_grad():
        for name, value in zeroed(*inputs).items():
            assert relative_difference(small(*inputs)[name], value) <= 1e-5


def test_parametrised_weights_are_traced_and_pruned() -> None:
    model = nn.Sequential(
        nn.utils.parametrizations.weight_norm(nn.Linear(6, 8)), nn.ReLU(), nn.Linear(8, 2)
    ).eval()
    network = trace(model, torch.randn(1, 6))
    (group,) = network.groups
    assert group.n_units == 8
    keep = np.arange(8) > 2
    small, inputs = remove_units(network, keep).module, torch.randn(3, 6)
    dense = model[0](inputs).relu()[:, 3:]
    with torch.no_grad():
        expected = dense @ model[2].weight[:, 3:].T + model[2].bias
        assert relative_difference(small(inputs), expected) <= 1e-5


@pytest.mark.parametrize("normed", [nn.utils.weight_norm, nn.utils.parametrizations.weight_norm])
@pytest.mark.filterwarnings("ignore:.*weight_norm:FutureWarning")
def test_a_depthwise_convolution_with_a_normed_weight_stays_the_class(normed) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv1d(1, 6, 3), normed(nn.Conv1d(6, 6, 3, groups=6)), nn.ReLU(), nn.Conv1d(6, 2, 1)
    ).eval()
    network = trace(model, torch.randn(1, 1, 12))
    keep = np.ones(network.cost.n_units, np.bool_)
    keep[[1, 4]] = False
    removal = remove_units(network, keep)
    assert not removal.graph_reason
    assert removal.module[1].groups == 4
    sound = torch.randn(3, 1, 12)
    with torch.no_grad():
        left = [0, 2, 3, 5]
        inner = nn.functional.conv1d(model[0](sound)[:, left], model[1].weight[left], groups=4)
        inner = (inner + model[1].bias[left, None]).relu()
        expected = nn.functional.conv1d(inner, model[3].weight[:, left], model[3].bias)
        assert torch.allclose(removal.module(sound), expected, atol=1e-6)


def test_tables_that_are_no_parameters_and_places_not_reached_are_no_units() -> None:
    model = Small(
        lambda m, x: m.b(m.a(((x @ m.into) ** 2) @ m.out + m.places[: x.shape[1]]).relu()),
        a=nn.Linear(4, 5),
        b=nn.Linear(5, 2),
        places=nn.Parameter(torch.randn(50, 1)),
    )
    model.register_buffer("into", torch.randn(4, 9))
    model.register_buffer("out", torch.randn(9, 4))
    network = trace(model, torch.randn(1, 7, 4))
    # 9 columns of a fixed table and 43 places of longer inputs stay
    assert [group.n_units for group in network.groups] == [4, 5]


def test_a_model_that_cannot_be_copied_says_so() -> None:
    class Stubborn(nn.Linear):
        def __deepcopy__(self, memo: object) -> None:
            raise RuntimeError("no copies of me")

    network = trace(Stubborn(4, 2), torch.randn(1, 4))
    with pytest.raises(UnsupportedModelError, match="no copies of me"):
        remove_units(network, np.ones(0, np.bool_))


def test_a_network_in_which_nothing_can_leave_is_left_whole() -> None:
    model = nn.Sequential(nn.Linear(4, 3)).eval()
    network = trace(model, torch.randn(1, 4))
    assert not network.groups
    removal = remove_units(network, np.ones(0, np.bool_))
    assert counted_params(removal.module) == network.cost.query(np.ones(0, np.bool_)).params.sum()


def test_a_single_index_that_serves_every_position_cannot_leave() -> None:
    def forward(m: Small, x: Tensor) -> Tensor:
        hidden = m.a(x.flatten(1))
        return m.b(hidden * torch.sigmoid(m.gate(hidden)))

    model = Small(forward, a=nn.Linear(192, 8), gate=nn.Linear(8, 1), b=nn.Linear(8, 4)).eval()
    network = trace(model, images(3))
    assert [(group.name, group.n_units) for group in network.groups] == [("a", 8)]


def test_padding_of_channels_keeps_its_side() -> None:
    def forward(m: Small, x: Tensor) -> Tensor:
        return m.b(functional.pad(m.a(x), (0, 0, 0, 0, 1, 2))).mean((2, 3))

    torch.manual_seed(0)
    model = Small(forward, a=nn.Conv2d(3, 4, 3), b=nn.Conv2d(7, 5, 3)).eval()
    network = trace(model, images(3))
    keep = np.array([False, True, False, True])
    small, zeroed, inputs = remove_units(network, keep).module, zero_units(network, keep), images(3)
    assert small.b.weight.shape[1] == 5
    with torch.no_grad():
        assert relative_difference(small(inputs), zeroed(inputs)) <= 1e-5


def test_a_softmax_over_units_is_marked_because_removing_differs_from_zeroing() -> None:
    model = Small(
        lambda m, x: m.b(torch.softmax(m.a(x.flatten(1)), dim=1)),
        a=nn.Linear(192, 8),
        b=nn.Linear(8, 4),
    ).eval()
    (group,) = trace(model, images(3)).groups
    assert group.changes_normalisation


def test_known_modules_store_their_new_sizes() -> None:
    layers = {
        "conv": nn.Conv2d(3, 8, 3),
        "batch_norm": nn.BatchNorm2d(8),
        "depthwise": nn.Conv2d(8, 8, 3, groups=8),
        "group_norm": nn.GroupNorm(8, 8),
        "linear": nn.Linear(8, 6),
        "layer_norm": nn.LayerNorm(6),
        "head": nn.Linear(6, 4),
    }

    def forward(m: Small, x: Tensor) -> Tensor:
        y = m.group_norm(m.depthwise(m.batch_norm(m.conv(x)))).mean((2, 3))
        return m.head(m.layer_norm(m.linear(y)))

    model = Small(forward, **layers).eval()
    model.conv.weight.requires_grad_(False)
    network = trace(model, images(3))
    sizes = {group.name: group.n_units for group in network.groups}
    assert sizes == {"conv": 8, "linear": 6}
    small = remove_units(network, np.arange(14) % 2 == 0).module
    assert (small.conv.in_channels, small.conv.out_channels) == (3, 4)
    assert small.batch_norm.num_features == 4
    depthwise = small.depthwise
    assert (depthwise.in_channels, depthwise.out_channels, depthwise.groups) == (4, 4, 4)
    assert (small.group_norm.num_groups, small.group_norm.num_channels) == (4, 4)
    assert (small.linear.in_features, small.linear.out_features) == (4, 3)
    assert small.layer_norm.normalized_shape == (3,)
    assert (small.head.in_features, small.head.out_features) == (3, 4)
    assert not small.conv.weight.requires_grad
    assert small.linear.weight.requires_grad


def test_a_class_that_computes_something_else_becomes_a_graph() -> None:
    model = Small(
        lambda m, x: m.b(m.a(x.flatten(1)) / m.a.out_features),
        a=nn.Linear(192, 8),
        b=nn.Linear(8, 5),
    ).eval()
    network, inputs = trace(model, images(3)), images(3)
    keep = np.arange(8) > 2
    removal = remove_units(network, keep)
    assert "computes something else" in removal.graph_reason
    with torch.no_grad():
        zeroed = zero_units(network, keep)(inputs)
        assert relative_difference(removal.module(inputs), zeroed) <= 1e-5


def test_rolled_positions_stay() -> None:
    model = Small(
        lambda m, x: m.b(torch.roll(m.a(x.flatten(1)), 1, 1)),
        a=nn.Linear(192, 8),
        b=nn.Linear(8, 5),
    ).eval()
    assert not trace(model, images(3)).groups


def test_macs_are_those_of_one_sample_whatever_the_example_batch() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(144, 2)).eval()
    network = trace(model, images(3).repeat(4, 1, 1, 1))
    assert [layer.macs for layer in network.layers] == [3888, 288]


def test_a_class_whose_outputs_are_no_numbers_where_the_graph_has_some_is_not_trusted() -> None:
    model = Small(
        lambda m, x: m.b(m.a(x.flatten(1))),
        a=nn.Linear(192, 8),
        b=nn.Linear(8, 5),
    ).eval()
    model.a.register_forward_hook(lambda m, _, y: y if m.out_features == 8 else y * torch.nan)
    removal = remove_units(trace(model, images(3)), np.arange(8) > 2)
    assert removal.graph_reason


def residual() -> Network:
    model = Small(
        lambda m, x: m.fc((m.a(x) + m.b(x)).mean((2, 3))),
        a=nn.Conv2d(3, 8, 1),
        b=nn.Sequential(nn.Conv2d(3, 8, 1), nn.BatchNorm2d(8)),
        fc=nn.Linear(8, 5),
    )
    return trace(model.eval(), images(3))


def test_the_path_between_two_coupled_tensors_names_every_operator_between_them() -> None:
    network = residual()
    (group,) = network.groups
    path = coupling_path(network, group, "b.1.weight", 0)
    assert [step.operator for step in path] == ["add", "native_batch_norm"]
    assert path[1].sentence == "b.1 (BatchNorm2d) has one scale, shift and running statistic a unit"
    assert coupling_path(network, group, "a.weight", 0) == ()
    assert coupling_paths(network, group) == {
        (member.parameter, member.axis): coupling_path(
            network, group, member.parameter, member.axis
        )
        for member in group.members
    }
    with pytest.raises(UnknownNameError, match=r"a\.weight axis 0"):
        coupling_path(network, group, "a.weight", 1)


@pytest.mark.parametrize(
    ("parameter", "axis", "sentence"),
    [
        ("fc.bias", 0, "it is an output of the model, whose size is fixed"),
        ("a.weight", 1, "what it meets in a (Conv2d) has a fixed size"),
        ("a.weight", 3, "the size of a kernel stays"),
    ],
)
def test_what_cannot_leave_is_explained(parameter: str, axis: int, sentence: str) -> None:
    assert lock_path(residual(), parameter, axis)[-1].sentence == sentence


def test_what_can_leave_has_no_lock() -> None:
    assert lock_path(residual(), "a.weight", 0) == ()


def test_a_size_that_depends_on_values_is_read_off_real_ones() -> None:
    def forward(m: Small, x: Tensor) -> tuple[Tensor, Tensor]:
        hidden = torch.relu(m.a(x.flatten(1)))
        found = torch.cat([torch.zeros(0), torch.zeros(0)])
        return torch.cat([found, m.b(hidden).flatten()]), hidden[hidden[:, 0] > 99].sum(0)

    model = Small(forward, a=nn.Linear(192, 8), b=nn.Linear(8, 5)).eval()
    assert trace(model, images(3)).layers[0].macs == 192 * 8


class FillsATable(nn.Module):
    """Computes a table at its first pass and notes in a number how far it is filled."""

    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(4, 6), nn.Linear(6, 3)
        self.register_buffer("table", torch.zeros(32, 6), persistent=False)
        self.filled = 0

    def forward(self, x):
        if self.filled < x.shape[1]:
            rows = torch.arange(x.shape[1], dtype=torch.float32)[:, None]
            self.table[: x.shape[1]] = (rows + torch.arange(6)).cos()
            self.filled = x.shape[1]
            self.last_shape = x.shape
        return self.last(torch.relu(self.first(x)) * self.table[: x.shape[1]])


def test_a_recorded_pass_leaves_no_number_behind_that_says_a_table_is_filled():
    torch.manual_seed(0)
    module, untouched = FillsATable().eval(), FillsATable().eval()
    untouched.load_state_dict(module.state_dict())
    trace(module, torch.randn(1, 5, 4))
    assert not hasattr(module, "last_shape")
    x = torch.randn(2, 5, 4)
    with torch.no_grad():
        expected = untouched(x)
        assert expected.abs().max() > 0.1
        torch.testing.assert_close(module(x), expected, rtol=0, atol=0)
