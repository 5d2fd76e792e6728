"""A layer as it is looked at: orders, windows and pooled cells are exact."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from pruning_core import load_model, trace
from pruning_core.figures.matrix import form_of, gates, kernel_of, layer_matrix, line_order
from pruning_core.figures.portrait import Look, largest, portrait
from pruning_core.figures.raster import Arrangement, Window, covered, rasterise
from pruning_core.inputs import Inputs
from pruning_core.tracing.network import Network

RNG = np.random.default_rng(0)


class Mixture(nn.Module):
    """An embedding, a transposed convolution, an LSTM and a parameter of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(11, 6)
        self.up = nn.ConvTranspose1d(6, 8, 3)
        self.lstm = nn.LSTM(8, 5, batch_first=True)
        self.scale = nn.Parameter(torch.randn(1, 5))
        self.head = nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.up(self.table(x).transpose(1, 2)).transpose(1, 2)
        return self.head(self.lstm(hidden)[0][:, -1] * self.scale)


@pytest.fixture(scope="module")
def mixture() -> Network:
    torch.manual_seed(0)
    return trace(Mixture().eval(), Inputs.of((torch.zeros(1, 4, dtype=torch.long),)))


@pytest.fixture(scope="module")
def lenet() -> Network:
    model = load_model("bundled:lenet_5")
    return trace(model.module, model.inputs)


def test_a_transposed_convolution_has_outputs_as_rows(mixture: Network) -> None:
    weight = mixture.tensor("up.weight").detach().numpy()  # [in, out, kernel]
    form = form_of(mixture, "up.weight", single_weights=False)
    assert (form.shape, form.kernel, form.sums_kernels) == ((8, 6), (3,), True)
    matrix = layer_matrix(mixture, "up.weight", single_weights=False)
    assert np.allclose(matrix.values, np.abs(weight).sum(axis=2).T)
    assert np.array_equal(kernel_of(mixture, form, 7, 2), weight[2, 7])
    signed = layer_matrix(mixture, "up.weight", single_weights=False, signed=True)
    assert np.array_equal(signed.values, weight.transpose(1, 0, 2).reshape(8, 18))


@pytest.mark.parametrize(
    ("parameter", "shape", "words"),
    [
        ("table.weight", (11, 6), ("entry", "feature")),
        ("scale", (1, 5), ("row", "column")),
        ("head.weight", (3, 5), ("output", "input")),
    ],
)
def test_every_kind_of_parameter_can_be_drawn(
    mixture: Network, parameter: str, shape: tuple[int, int], words: tuple[str, str]
) -> None:
    form = form_of(mixture, parameter, single_weights=False)
    assert (form.shape, form.words) == (shape, words)
    drawn = portrait(mixture, parameter, Look(rows="sum", columns="sum"), {})
    assert drawn.raster.cells.shape == shape


def test_gates_are_named_in_the_order_of_pytorch(mixture: Network) -> None:
    assert gates(mixture, "lstm.weight_ih_l0") == ("i", "f", "g", "o")
    assert gates(mixture, "lstm.bias_ih_l0") == ()
    assert gates(mixture, "head.weight") == ()
    gru = load_model("bundled:gru_128")
    assert gates(trace(gru.module, gru.inputs), "gru.weight_hh_l0") == ("r", "z", "n")


def test_rows_of_a_hidden_unit_keep_their_gates(mixture: Network) -> None:
    form = form_of(mixture, "lstm.weight_hh_l0", single_weights=False)
    sums = RNG.random(20).astype(np.float32)
    order = line_order(mixture, form, 0, "sum", sums, {})
    first = np.argsort(-sums.reshape(4, 5).sum(axis=0))
    assert order.tolist() == [gate * 5 + unit for gate in range(4) for unit in first]


def test_rows_and_columns_follow_the_scores_of_their_units(lenet: Network) -> None:
    scores = {g.name: RNG.random(g.n_units).astype(np.float32) for g in lenet.groups}
    drawn = portrait(lenet, "conv2.weight", Look(rows="score", columns="score"), scores)
    rows, columns = drawn.arrangement.rows, drawn.arrangement.columns
    assert rows is not None
    assert columns is not None
    assert rows.tolist() == np.argsort(-scores["conv2"], kind="stable").tolist()
    assert columns.tolist() == np.argsort(-scores["conv1"], kind="stable").tolist()
    norms = np.abs(lenet.tensor("conv2.weight").detach().numpy()).sum(axis=(2, 3))
    assert np.allclose(drawn.raster.cells, norms[rows][:, columns], rtol=1e-6)
    flat = portrait(lenet, "fc1.weight", Look(columns="score"), scores).arrangement.columns
    assert flat is not None
    assert [c // 16 for c in flat[::16].tolist()] == rows.tolist()


def test_one_scale_for_the_model_holds_its_largest_value(lenet: Network) -> None:
    weights = [lenet.tensor(name).detach().numpy() for name in lenet.weights]
    assert largest(lenet, kernels=False) == max(float(np.abs(w).max()) for w in weights)
    conv2 = lenet.tensor("conv2.weight").detach().numpy()
    expected = np.abs(conv2).sum(axis=(2, 3)).max()
    assert largest(lenet, kernels=True) == pytest.approx(float(expected), rel=1e-6)


def spans(length: int, n_blocks: int) -> list[tuple[int, int]]:
    starts = [i * length // n_blocks for i in range(n_blocks + 1)]
    return list(pairwise(starts))


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_a_window_holds_the_exact_values_of_its_blocks(data: st.DataObject) -> None:
    shape = data.draw(st.tuples(st.integers(1, 700), st.integers(1, 300)))
    matrix = np.random.default_rng(data.draw(st.integers(0, 99))).normal(size=shape)
    matrix = matrix.astype(np.float32)
    arrangement = Arrangement(
        np.random.default_rng(1).permutation(shape[0]) if data.draw(st.booleans()) else None,
        np.random.default_rng(2).permutation(shape[1]) if data.draw(st.booleans()) else None,
    )
    edges = [data.draw(st.integers(-5, 800)) for _ in range(4)]
    window = Window.within(shape, (edges[0], edges[1]), (edges[2], edges[3]))
    drawn = rasterise(matrix, "weight", arrangement, window)
    rows = np.arange(shape[0]) if arrangement.rows is None else arrangement.rows
    columns = np.arange(shape[1]) if arrangement.columns is None else arrangement.columns
    part = matrix[rows[slice(*window.rows)]][:, columns[slice(*window.columns)]]
    assert 0 < part.shape[0] <= shape[0]
    assert max(drawn.cells.shape) <= 256
    assert min(part.shape[0], 128) <= drawn.cells.shape[0]
    for (top, bottom), row, total in zip(
        spans(len(part), len(drawn.cells)), drawn.cells, drawn.row_sums, strict=True
    ):
        inside = np.abs(matrix[rows[slice(*window.rows)]][top:bottom]).sum(axis=1).mean()
        assert total == pytest.approx(float(inside), rel=1e-5)
        for (left, right), cell in zip(spans(part.shape[1], len(row)), row, strict=True):
            block = part[top:bottom, left:right]
            assert abs(cell) == np.abs(block).max()
            assert cell in block
    gone = covered(matrix > 0, arrangement, window)
    if drawn.cells.shape == part.shape and gone is not None:
        assert np.array_equal(gone == 255, part > 0)
