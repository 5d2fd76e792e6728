"""Weights of any size in blocks: the same cuts and masks as torch.nn.utils.prune makes at once."""

import itertools
import math

import numpy as np
import pytest
import safetensors.torch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pruning_core import streaming
from pruning_core.command_line import main
from pruning_core.errors import InvalidRecipeError
from pruning_core.figures.histogram import merge_bins
from pruning_core.figures.raster import rasterise_pieces
from pruning_core.loading.weights import read_weights


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    monkeypatch.setattr(streaming, "_BLOCK", 7)


def stored(tmp_path, state):
    path = tmp_path / "w.safetensors"
    safetensors.torch.save_file(state, path)
    return path


def many():
    draw = torch.Generator().manual_seed(3)
    return {
        "a.weight": torch.randn(9, 5, generator=draw),
        "b.weight": torch.randn(4, 3, 2, 2, generator=draw).half(),
        "c.weight": torch.randn(6, 6, generator=draw).bfloat16(),
        "ties.weight": torch.tensor([[0.5, -0.5, 0.5, 0.0], [0.5, 0.25, -0.25, 0.5]]),
        "a.bias": torch.randn(9, generator=draw),
    }


@pytest.mark.parametrize("ratio", [0.0, 0.1, 0.5, 0.77, 0.95])
@pytest.mark.parametrize("scope", ["global", "local"])
def test_a_masked_file_has_zeros_where_a_sort_of_all_magnitudes_puts_them(tmp_path, ratio, scope):
    state = many()
    path, out = stored(tmp_path, state), tmp_path / "out.safetensors"
    tensors = streaming.weights_of(path)
    surveys = [streaming.survey(each) for each in tensors]
    found = streaming.cuts(tensors, surveys, ratio, scope)
    written = streaming.write_masked(path, out, found)
    assert out.stat().st_size == path.stat().st_size
    masked = read_weights(out)
    names = [each.name for each in tensors]
    groups = [names] if scope == "global" else [[name] for name in names]
    total = 0
    for group in groups:
        flat = torch.cat([state[name].float().abs().flatten() for name in group]).numpy()
        gone = np.zeros(len(flat), bool)
        gone[
            np.argsort(flat, kind="stable")[
                : min(math.floor(ratio * len(flat) + 0.5), len(flat) - 1)
            ]
        ] = True
        values = torch.cat([state[name].float().flatten() for name in group]).numpy()
        expected = np.where(gone, 0, values)
        assert np.array_equal(
            torch.cat([masked[name].float().flatten() for name in group]).numpy(), expected
        )
        total += int(gone.sum())
    assert written == total == sum(cut.removed for cut in found.values())
    assert torch.equal(masked["a.bias"], state["a.bias"])


def test_a_masked_file_that_is_given_up_leaves_nothing(tmp_path):
    path, out = stored(tmp_path, many()), tmp_path / "out.safetensors"
    tensors = streaming.weights_of(path)
    found = streaming.cuts(tensors, [streaming.survey(each) for each in tensors], 0.5, "global")
    steps = streaming.masking(path, out, found)
    shares = [next(steps), next(steps)]
    assert len(list(tmp_path.iterdir())) == 2  # the part
    steps.close()
    assert list(tmp_path.iterdir()) == [path]
    shares = list(streaming.masking(path, out, found))
    assert shares == sorted(shares)
    assert 0 < shares[0] <= shares[-1] <= 1
    assert out.is_file()


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.floats(-(2.0**100), 2.0**100, width=32), min_size=1, max_size=60),
    st.floats(0, 0.99),
)
def test_the_threshold_is_the_k_th_smallest_magnitude(values, ratio):
    tensor = torch.tensor([values], dtype=torch.float32)
    one = streaming.Stored("w", torch.float32, tuple(tensor.shape), lambda: tensor)
    seen = streaming.survey(one)
    cut = streaming.cuts([one], [seen], ratio, "global")["w"]
    k = min(math.floor(ratio * len(values) + 0.5), len(values) - 1)  # never all
    assert cut.removed == k
    assert cut.threshold == float(np.sort(tensor.abs().numpy().ravel())[k])
    assert seen.counts.sum() == len(values)
    assert seen.zeros == int((tensor == 0).sum())


def test_values_without_a_rank_are_refused(tmp_path):
    path = stored(tmp_path, {"w": torch.tensor([[1.0, float("nan")]])})
    tensors = streaming.weights_of(path)
    with pytest.raises(InvalidRecipeError, match="1 NaN or infinite"):
        streaming.cuts(tensors, [streaming.survey(each) for each in tensors], 0.5, "global")


@pytest.mark.parametrize("threshold", [0.0, 0.25, 0.5, 0.7310001, 3.0])
def test_a_threshold_takes_what_is_smaller(tmp_path, threshold):
    state = many()
    tensors = streaming.weights_of(stored(tmp_path, state))
    surveys = [streaming.survey(each) for each in tensors]
    found = streaming.below(tensors, surveys, threshold)
    for name, cut in found.items():
        assert cut.removed == int((state[name].float().abs() < np.float32(threshold)).sum())


@pytest.mark.parametrize("shape", [(9, 5), (5, 3, 2, 2), (2, 40), (1, 7), (30, 1), (3, 7)])
@pytest.mark.parametrize("cells", [2, 3, 256])
def test_a_picture_in_parts_is_that_of_the_whole(tmp_path, shape, cells):
    """Blocks of 7 values: rows longer than one come in parts."""
    weights = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    (one,) = streaming.weights_of(stored(tmp_path, {"w": weights}))
    matrix = weights.abs().reshape(shape[0], -1).numpy()
    found = rasterise_pieces(streaming.pieces(one), matrix.shape, cells)
    blocks = [
        np.array_split(
            np.arange(n), np.floor(np.arange(1, min(n, cells)) * n / min(n, cells)).astype(int)
        )
        for n in matrix.shape
    ]
    expected = [[matrix[np.ix_(r, c)].max() for c in blocks[1]] for r in blocks[0]]
    assert np.array_equal(found.cells, np.float32(expected))
    rows, columns = matrix.sum(axis=1, dtype=float), matrix.sum(axis=0, dtype=float)
    assert np.allclose(found.row_sums, [rows[r].mean() for r in blocks[0]])
    assert np.allclose(found.column_sums, [columns[c].mean() for c in blocks[1]])
    row, column = np.unravel_index(matrix.argmax(), matrix.shape)
    assert found.title.endswith(f"at output {row}, input {column}")


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(-100, 100, width=32), min_size=1, max_size=200), st.integers(1, 12))
def test_merged_bins_count_every_magnitude_where_it_lies(values, n_bins):
    tensor = torch.tensor([values], dtype=torch.float32)
    one = streaming.Stored("w", torch.float32, tuple(tensor.shape), lambda: tensor)
    bins = merge_bins(streaming.bin_edges(), streaming.survey(one).counts, n_bins)
    sizes = tensor.abs().numpy().ravel()
    assert bins.counts.sum() == len(values)
    assert len(bins.counts) <= n_bins
    inside = [(low <= sizes) & (sizes < high) for low, high in itertools.pairwise(bins.edges)]
    assert bins.counts.tolist() == [int(each.sum()) for each in inside]


def test_the_command_looks_cuts_and_compares(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("PRUNING_STUDIO_STATE", str(tmp_path / "state"))
    path, out = stored(tmp_path, many()), tmp_path / "cut.safetensors"
    assert main(["weights", str(path), "--ratio", "0.5", "--out", str(out)]) == 0
    assert "(exact)" in capsys.readouterr().out
    assert int((read_weights(out)["c.weight"] == 0).sum()) > 0
    assert main(["weights", str(path), "--into", "bundled:lenet_5"]) == 0
    assert "They do not fit" in capsys.readouterr().out
    assert main(["weights", str(tmp_path / "none.pth")]) == 2
    assert main(["weights", str(path), "--threshold", "0.5", "--out", str(out)]) == 0
    for name, tensor in read_weights(out).items():
        assert tensor.ndim < 2 or not bool(((tensor.abs() < 0.5) & (tensor != 0)).any()), name


def test_the_edge_near_a_ratio_removes_the_share_next_to_it() -> None:
    counts = np.array([2, 0, 5, 3], np.int64)  # thresholds at the edges remove 0, 2, 2, 7 of 10
    assert [streaming.edge_near(counts, ratio) for ratio in (0, 0.15, 0.4, 0.6, 1)] == [
        0,
        1,
        1,
        3,
        3,
    ]
