"""Modules that store sizes keep their class: stand-ins for timm, transformers and torchvision."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from pruning_core.surgery.resize import RESIZERS
from pruning_core.surgery.unit import remove_units
from pruning_core.tracing.trace import trace
from tests.core.oracles import relative_difference, zero_units

WIDTH, HEADS, SIZE = 24, 4, 6


class PackedAttention(nn.Module):
    """As in timm: one projection, reshaped with stored numbers; the scale is stored."""

    def __init__(self) -> None:
        super().__init__()
        self.num_heads, self.head_dim, self.attn_dim = HEADS, SIZE, HEADS * SIZE
        self.layer_idx = HEADS  # equal by chance
        self.scale = SIZE**-0.5
        self.qkv, self.proj = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        batch, tokens, _ = x.shape
        qkv = self.qkv(x).reshape(batch, tokens, 3, self.num_heads, self.head_dim)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        scores = (q * self.scale) @ k.transpose(-2, -1)
        mixed = (scores.softmax(-1) @ v).transpose(1, 2)
        return self.proj(mixed.reshape(batch, tokens, self.attn_dim))


class SeparateAttention(nn.Module):
    """As in BERT: three projections, the number of heads left to the view."""

    def __init__(self) -> None:
        super().__init__()
        self.num_attention_heads, self.attention_head_size = HEADS, SIZE
        self.all_head_size = HEADS * SIZE
        self.query, self.key = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)
        self.value, self.output = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        def heads(layer: nn.Module) -> Tensor:
            return layer(x).view(*x.shape[:2], -1, self.attention_head_size).transpose(1, 2)

        scores = heads(self.query) @ heads(self.key).transpose(-1, -2)
        mixed = (scores / math.sqrt(self.attention_head_size)).softmax(-1) @ heads(self.value)
        return self.output(mixed.transpose(1, 2).reshape(*x.shape[:2], self.all_head_size))


class GroupedQueries(nn.Module):
    """As in Llama: several query heads share a key head."""

    def __init__(self) -> None:
        super().__init__()
        self.num_heads, self.num_key_value_heads, self.head_dim = HEADS, HEADS // 2, SIZE
        self.num_key_value_groups = 2
        self.q_proj, self.o_proj = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)
        self.k_proj, self.v_proj = nn.Linear(WIDTH, WIDTH // 2), nn.Linear(WIDTH, WIDTH // 2)

    def forward(self, x: Tensor) -> Tensor:
        def heads(layer: nn.Module, count: int) -> Tensor:
            return layer(x).view(*x.shape[:2], count, self.head_dim).transpose(1, 2)

        q = heads(self.q_proj, self.num_heads)
        k, v = (heads(p, self.num_key_value_heads) for p in (self.k_proj, self.v_proj))
        k, v = (y.repeat_interleave(self.num_key_value_groups, 1) for y in (k, v))
        mixed = functional.scaled_dot_product_attention(q, k, v, scale=SIZE**-0.5)
        return self.o_proj(mixed.transpose(1, 2).reshape(*x.shape[:2], -1))


class Conv1D(nn.Module):
    """As in GPT-2: a linear layer with its weight the other way round."""

    def __init__(self, nf: int, nx: int) -> None:
        super().__init__()
        self.nf, self.nx = nf, nx
        self.weight, self.bias = nn.Parameter(torch.randn(nx, nf) / 5), nn.Parameter(torch.ones(nf))

    def forward(self, x: Tensor) -> Tensor:
        shape = (*x.shape[:-1], self.nf)
        return torch.addmm(self.bias, x.view(-1, x.shape[-1]), self.weight).view(shape)


class SplitAttention(nn.Module):
    """As in GPT-2: the packed projection is split by a stored width."""

    def __init__(self) -> None:
        super().__init__()
        self.split_size, self.head_dim = WIDTH, SIZE
        self.c_attn, self.c_proj = Conv1D(3 * WIDTH, WIDTH), Conv1D(WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        parts = self.c_attn(x).split(self.split_size, dim=2)
        q, k, v = (part.view(*x.shape[:2], -1, self.head_dim).transpose(1, 2) for part in parts)
        mixed = functional.scaled_dot_product_attention(q, k, v)
        return self.c_proj(mixed.transpose(1, 2).reshape(*x.shape[:2], -1))


class Bias(nn.Module):
    """As in Swin: a table with a column for each head, asked for by a method."""

    def __init__(self) -> None:
        super().__init__()
        self.bias_shape = (5, 5, HEADS)
        self.table = nn.Parameter(torch.randn(25, HEADS))

    def get_bias(self) -> Tensor:
        return self.table.view(self.bias_shape).permute(2, 0, 1)


class BiasedAttention(PackedAttention):
    def __init__(self) -> None:
        super().__init__()
        self.rel_pos = Bias()

    def forward(self, x: Tensor) -> Tensor:
        batch, tokens, _ = x.shape
        shape = (batch, tokens, 3, self.num_heads, self.head_dim)
        q, k, v = self.qkv(x).view(shape).permute(2, 0, 3, 1, 4).unbind(0)
        scores = (q * self.scale) @ k.transpose(-2, -1) + self.rel_pos.get_bias()
        return self.proj((scores.softmax(-1) @ v).transpose(1, 2).flatten(2))


class Block(nn.Module):
    """A Transformer block around an attention, with a normalisation that has no weights."""

    def __init__(self, attention: nn.Module) -> None:
        super().__init__()
        self.embed = nn.Linear(8, WIDTH)
        self.norm = nn.LayerNorm(WIDTH, elementwise_affine=False)
        self.attention = attention
        self.up, self.down = nn.Linear(WIDTH, 40), nn.Linear(40, WIDTH)
        self.head = nn.Linear(WIDTH, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x)
        x = x + self.attention(self.norm(x))
        return self.head(x + self.down(functional.gelu(self.up(x))))


ATTENTIONS = (PackedAttention, SeparateAttention, GroupedQueries, SplitAttention, BiasedAttention)
INPUTS = torch.randn(1, 5, 8, generator=torch.Generator().manual_seed(1))


def pruned(model: nn.Module, part: str) -> tuple[nn.Module, nn.Module, str]:
    """Return the model without half of the units of one kind, the zeroed one, and the reason."""
    network = trace(model.eval(), INPUTS)
    keep = np.ones(network.cost.n_units, np.bool_)
    for group in network.groups:
        if group.kind == part:
            start = network.first_unit(group)
            keep[start : start + group.n_units // 2] = False
    assert not keep.all()
    removal = remove_units(network, keep)
    return removal.module, zero_units(network, keep), removal.graph_reason


@pytest.fixture(autouse=True)
def conv1d_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(
        RESIZERS, f"{__name__}.Conv1D", RESIZERS["transformers.pytorch_utils.Conv1D"]
    )


@pytest.mark.parametrize("attention", ATTENTIONS)
def test_an_attention_without_some_heads_keeps_its_class_and_its_result(
    attention: type[nn.Module],
) -> None:
    torch.manual_seed(0)
    small, zeroed, reason = pruned(Block(attention()), "head")
    assert reason == ""
    assert type(small) is Block
    assert type(small.attention) is attention
    inputs = torch.randn(3, 5, 8)
    with torch.no_grad():
        assert relative_difference(small(inputs), zeroed(inputs)) <= 1e-5


def test_what_counts_heads_shrinks_and_what_does_not_stays() -> None:
    packed = pruned(Block(PackedAttention()), "head")[0].attention
    assert (packed.num_heads, packed.head_dim, packed.attn_dim) == (2, SIZE, 2 * SIZE)
    assert (packed.layer_idx, packed.scale) == (HEADS, SIZE**-0.5)
    separate = pruned(Block(SeparateAttention()), "head")[0].attention
    assert (separate.num_attention_heads, separate.all_head_size) == (2, 2 * SIZE)
    assert separate.attention_head_size == SIZE
    grouped = pruned(Block(GroupedQueries()), "head")[0].attention
    assert (grouped.num_heads, grouped.num_key_value_heads) == (2, 1)
    assert grouped.num_key_value_groups == 2
    split = pruned(Block(SplitAttention()), "head")[0].attention
    assert (split.split_size, split.c_attn.nf, split.c_proj.nf) == (2 * SIZE, 6 * SIZE, WIDTH)
    assert pruned(Block(BiasedAttention()), "head")[0].attention.rel_pos.bias_shape == (5, 5, 2)


def test_a_normalisation_without_weights_follows_the_stream() -> None:
    small, _, reason = pruned(Block(SeparateAttention()), "feature")
    assert reason == ""
    assert small.norm.normalized_shape == (WIDTH // 2,)
    assert small.embed.out_features == small.head.in_features == WIDTH // 2


def test_a_number_under_an_unknown_name_is_tried_when_the_class_does_not_run_otherwise() -> None:
    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.quux = 12
            self.a, self.b = nn.Linear(8, 12), nn.Linear(12, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.b(self.a(x).reshape(*x.shape[:2], self.quux))

    small, zeroed, reason = pruned(Odd(), "neuron")
    assert (small.quux, reason) == (6, "")
    with torch.no_grad():
        assert relative_difference(small(INPUTS), zeroed(INPUTS)) <= 1e-5


def test_a_stored_list_of_sizes_is_followed_as_a_whole() -> None:
    class Gated(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.split_indexes = [6, 6, 12]
            self.a, self.b = nn.Linear(8, 24), nn.Linear(24, 3)

        def forward(self, x: Tensor) -> Tensor:
            left, middle, right = self.a(x).split(self.split_indexes, dim=-1)
            return self.b(torch.cat([left.relu(), middle.tanh(), right], -1))

    network = trace(Gated().eval(), INPUTS)
    keep = np.arange(network.cost.n_units) % 5 > 1
    keep[:6] = True
    removal = remove_units(network, keep)
    assert removal.graph_reason == ""
    sizes = removal.module.split_indexes
    assert sizes == [int(keep[:6].sum()), int(keep[6:12].sum()), int(keep[12:].sum())]
    assert len(set(sizes)) == 3
    with torch.no_grad():
        zeroed = zero_units(network, keep)
        assert relative_difference(removal.module(INPUTS), zeroed(INPUTS)) <= 1e-5


def test_multihead_attention_keeps_its_class_when_features_and_heads_fit_together() -> None:
    class Attending(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed, self.head = nn.Linear(8, WIDTH), nn.Linear(WIDTH, 3)
            self.attention = nn.MultiheadAttention(WIDTH, HEADS, batch_first=True)

        def forward(self, x: Tensor) -> Tensor:
            x = self.embed(x)
            return self.head(x + self.attention(x, x, x, need_weights=False)[0])

    torch.manual_seed(0)
    network = trace(Attending().eval(), INPUTS)
    keep = np.ones(network.cost.n_units, np.bool_)
    for group in network.groups:
        start = network.first_unit(group)
        keep[start : start + group.n_units // 2] = False
    assert {group.kind for group in network.groups} == {"head", "neuron"}
    removal = remove_units(network, keep)
    assert removal.graph_reason == ""
    attention = removal.module.attention
    assert (attention.num_heads, attention.embed_dim, attention.head_dim) == (2, 12, SIZE)
    with torch.no_grad():
        zeroed = zero_units(network, keep)
        assert relative_difference(removal.module(INPUTS), zeroed(INPUTS)) <= 1e-5


LAYERS = {
    "prelu": (
        nn.Sequential(nn.Linear(8, 12), nn.Flatten(0, 1), nn.PReLU(12)),
        ("2.num_parameters", 6),
    ),
    "rms": (
        nn.Sequential(nn.Linear(8, 12), nn.RMSNorm(12, elementwise_affine=False)),
        ("1.normalized_shape", (6,)),
    ),
    "group": (
        nn.Sequential(nn.Linear(8, 12), nn.Flatten(0, 1), nn.GroupNorm(4, 12, affine=False)),
        ("2.num_groups", 2),
    ),
    "unflatten": (
        nn.Sequential(nn.Linear(8, 12), nn.Unflatten(2, (4, 3)), nn.Softmax(3), nn.Flatten(2)),
        ("1.unflattened_size", (2, 3)),
    ),
}


@pytest.mark.parametrize("name", LAYERS)
def test_layers_of_torch_store_their_new_sizes(name: str) -> None:
    layer, (attribute, expected) = LAYERS[name]

    class Around(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer, self.last = layer, nn.Linear(12, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.last(self.layer(x))

    network = trace(Around().eval(), INPUTS)
    (group,) = network.groups
    removal = remove_units(network, np.arange(group.n_units) >= group.n_units // 2)
    assert removal.graph_reason == ""
    path, _, leaf = f"layer.{attribute}".rpartition(".")
    assert getattr(removal.module.get_submodule(path), leaf) == expected


RECURRENT = {
    "stacked": (nn.LSTM(8, 6, num_layers=2, batch_first=True), {"hidden_size": 3}),
    "bidirectional": (nn.GRU(8, 6, bidirectional=True, batch_first=True), {"hidden_size": 3}),
    "projected": (
        nn.LSTM(8, 6, proj_size=4, batch_first=True),
        {"hidden_size": 3, "proj_size": 2},
    ),
    "plain": (nn.RNN(8, 6, batch_first=True), {"hidden_size": 3}),
}


@pytest.mark.parametrize("name", RECURRENT)
def test_recurrent_layers_keep_their_class_when_all_their_parts_lose_alike(name: str) -> None:
    layer, expected = RECURRENT[name]

    class Reader(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rnn = layer
            self.head = nn.Linear(layer(INPUTS)[0].shape[-1], 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.rnn(x)[0])

    network = trace(Reader().eval(), INPUTS)
    halves = [np.arange(group.n_units) >= group.n_units // 2 for group in network.groups]
    keep = np.concatenate(halves)
    removal = remove_units(network, keep)
    assert removal.graph_reason == ""
    assert {key: getattr(removal.module.rnn, key) for key in expected} == expected
    with torch.no_grad():
        zeroed = zero_units(network, keep)
        assert relative_difference(removal.module(INPUTS), zeroed(INPUTS)) <= 1e-5


@pytest.mark.parametrize("kind", [nn.LSTMCell, nn.GRUCell, nn.RNNCell])
def test_recurrent_cells_keep_their_class(kind: type[nn.RNNCellBase]) -> None:
    class Stepping(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner, self.cell, self.head = nn.Linear(8, 10), kind(10, 6), nn.Linear(6, 3)

        def forward(self, x: Tensor) -> Tensor:
            state = self.cell(self.inner(x[:, 0]))
            state = self.cell(self.inner(x[:, 1]), state)
            return self.head(state[0] if isinstance(state, tuple) else state)

    network = trace(Stepping().eval(), INPUTS)
    assert [group.n_units for group in network.groups] == [10, 6]
    removal = remove_units(network, np.arange(16) % 2 == 0)
    assert removal.graph_reason == ""
    assert (removal.module.cell.input_size, removal.module.cell.hidden_size) == (5, 3)


def test_a_cell_whose_state_has_a_written_size_can_be_trained_as_a_graph() -> None:
    class Counted(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cell, self.head = nn.GRUCell(8, 6), nn.Linear(6, 3)

        def forward(self, x: Tensor) -> Tensor:
            state = x.new_zeros(x.shape[0], 6)
            for step in range(x.shape[1]):
                state = self.cell(x[:, step], state)
            return self.head(state)

    network = trace(Counted().eval(), INPUTS)
    keep = np.arange(6) % 2 == 0
    removal = remove_units(network, keep)
    assert "hidden_size" in removal.graph_reason
    with torch.no_grad():
        zeroed = zero_units(network, keep)
        assert relative_difference(removal.module(INPUTS), zeroed(INPUTS)) <= 1e-5
    removal.module(INPUTS).sum().backward()
    assert all(parameter.grad is not None for parameter in removal.module.parameters())


@pytest.mark.parametrize("groups", [1, 2, 8])
def test_transposed_convolutions_keep_their_class(groups: int) -> None:
    class Up(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.c = nn.Conv1d(5, 8, 1), nn.Conv1d(8, 3, 1)
            self.b = nn.ConvTranspose1d(8, 8, 2, groups=groups)

        def forward(self, x: Tensor) -> Tensor:
            return self.c(self.b(self.a(x)))

    network = trace(Up().eval(), INPUTS)
    keep = np.concatenate(
        [np.arange(group.n_units) >= group.n_units // 2 for group in network.groups]
    )
    removal = remove_units(network, keep)
    assert removal.graph_reason == ""
    if network.groups:
        assert (removal.module.b.in_channels, removal.module.b.out_channels) == (4, 4)
    with torch.no_grad():
        zeroed = zero_units(network, keep)
        assert relative_difference(removal.module(INPUTS), zeroed(INPUTS)) <= 1e-5


def test_a_class_that_draws_noise_is_proven_with_the_same_noise() -> None:
    class Noisy(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(8, 12), nn.Linear(12, 3)

        def forward(self, x: Tensor) -> Tensor:
            noise = torch.rand(x.shape[0], x.shape[1], 1, dtype=x.dtype)
            return self.b(self.a(x + noise))

    network = trace(Noisy().eval(), INPUTS)
    state = torch.get_rng_state()
    assert remove_units(network, np.arange(12) > 4).graph_reason == ""
    assert torch.equal(torch.get_rng_state(), state)
