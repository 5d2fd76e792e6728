"""The short form of the accuracy benchmark: peers, controls, a file that goes on, honest tables."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn.utils import prune as torch_prune

from benchmarks.accuracy import fingerprint, rows_of, run
from benchmarks.accuracy_cells import (
    DENSE,
    RANDOM,
    RECOMMENDED,
    SETTINGS,
    SHORT,
    UNPRUNED,
    Cell,
    Grid,
    Point,
    is_default,
)
from benchmarks.accuracy_peers import _global_l1
from benchmarks.accuracy_rows import Row, append, read
from benchmarks.accuracy_table import Found, difference, report

METHODS = {"one-shot", RECOMMENDED, "torch L1", "TP L2", "TP Taylor global", RANDOM, DENSE}


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with the telling cells of the short form."""
    path = tmp_path_factory.mktemp("accuracy") / "rows.jsonl"
    torch.set_num_threads(1)
    cells = [cell for cell in Grid(SHORT, (0,)).cells() if cell.method in METHODS]
    assert len(list(run(cells, path))) == len(cells) == 11
    return path


def test_every_cell_is_measured_once_and_a_line_cut_off_is_measured_again(measured: Path) -> None:
    cells = [row.cell for row in read(measured)]
    assert list(run(cells, measured)) == []
    whole = measured.read_text()
    cut = measured.with_name("cut.jsonl")
    cut.write_text(whole[:-40])
    assert list(run(cells, cut, minutes=0)) == [], "no cell is begun when the time is over"
    again = [row.cell for row in run(cells, cut)]
    assert again == cells[-1:]
    assert {row.cell for row in read(cut)} == set(cells)


def test_methods_get_to_their_points_and_the_controls_stay_behind(measured: Path) -> None:
    rows = {(row.cell.network, row.cell.method): row for row in read(measured)}
    for method in ("one-shot", RECOMMENDED, "TP L2", "TP Taylor global"):
        row = rows["cnn_digits", method]
        assert row.macs <= 1 / 3
        assert row.n == 500
    ours, peer = rows["mlp_digits", "one-shot"], rows["mlp_digits", "torch L1"]
    assert ours.nonzero == pytest.approx(peer.nonzero, abs=1e-4)
    assert ours.pruned == pytest.approx(peer.pruned, abs=0.01), "global L1 by two programs"
    assert rows["mlp_digits", RANDOM].tuned < ours.tuned
    assert rows["mlp_digits", DENSE].nonzero == 1


def test_the_peer_masks_are_those_of_torch_in_every_round() -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(20, 30), nn.ReLU(), nn.Linear(30, 10))
    weights = torch.cat([module[0].weight.detach().flatten(), module[2].weight.detach().flatten()])
    masks = _global_l1(module, 0.5)
    expected = weights.abs() > weights.abs().sort().values[len(weights) // 2 - 1]
    assert torch.equal(
        torch.cat([masks["0.weight"].flatten(), masks["2.weight"].flatten()]), expected
    )
    assert not torch_prune.is_pruned(module)
    further = _global_l1(module, 0.75)
    assert all(bool((masks[name] | ~further[name]).all()) for name in masks), "zeros stay zeros"


def test_rows_of_another_recipe_are_not_current(measured: Path) -> None:
    row = next(row for row in read(measured) if row.cell.method == RECOMMENDED)
    assert rows_of([row.cell], [row]) == [row]
    assert rows_of([row.cell], [replace(row, recipe="0" * 64)]) == []
    peer = Cell("mlp_digits", Point("weights", 0.9), "torch L1", 0, 2)
    assert fingerprint(peer, SHORT["mlp_digits"].tuning) == ""


FEW = Point("weights", 0.98)
FOURTH = Point("channels", 4)


def _row(method: str, seed: int, tuned: float, point: Point = FEW) -> Row:
    cell = Cell("lenet_5", point, method, seed, SETTINGS["lenet_5"].tuning.epochs)
    return Row(cell, "", 0.02, 1.0, 0.91, 0.5, tuned, 0.9, 10_000, 1.0)


def test_tables_count_seeds_and_compare_the_same_ones() -> None:
    cells = Grid({"lenet_5": SETTINGS["lenet_5"]}).cells()
    assert len(cells) == len(set(cells)) == 3 * (1 + 6 * 11 + 4 * 13)
    # At four of the points, for one seed: the recommended way and two peers; the dense control.
    assert sum(map(is_default, cells)) == 1 + 4 * 3
    rows = [
        *(_row(RECOMMENDED, seed, tuned) for seed, tuned in ((0, 0.9), (1, 0.88))),
        *(_row("torch L1", seed, tuned) for seed, tuned in ((0, 0.885), (1, 0.881), (2, 0.7))),
        _row(DENSE, 0, 0.915, UNPRUNED),
    ]
    found = Found(cells, rows)
    ours = found.seeds("lenet_5", Point("weights", 0.98), RECOMMENDED)
    peer = found.seeds("lenet_5", Point("weights", 0.98), "torch L1")
    # (90 - 88.5 + 88 - 88.1) / 2; the third seed of the peer has no partner.
    both = difference(ours, peer)
    assert both is not None
    assert both.pairs == pytest.approx((1.5, -0.1))
    assert both.mean == pytest.approx(0.7)
    assert ours.shown() == "89.00 ± 1.41 (n = 2)"
    text = report(cells, rows, {})
    assert "| +0.70 ± 1.13 (n = 2) | >= 1 | 0.30 short |" in text
    assert "Measured: 6 of 357 cells, and 3 of the 13 of a run without flags." in text
    assert "control, dense + the same extra epochs: 91.50 (n = 1)." in text
    assert "Not run at any of these points: one-shot, iterative, gradual" in text
    assert text.count("not run") > 30
    rows = [_row("TP L2", 0, 0.906, FOURTH), _row(RECOMMENDED, 0, 0.907, FOURTH)]
    text = report(cells, rows, {})
    assert "| +0.10 (n = 1) | >= 1 | 0.90 short (the peer is 0.40 below dense) |" in text


def test_one_way_under_two_names_is_measured_once(measured: Path, tmp_path: Path) -> None:
    row = next(row for row in read(measured) if row.cell.method == "one-shot")
    path = tmp_path / "rows.jsonl"
    other = replace(row, cell=replace(row.cell, method="gradual"))
    append(path, other)
    assert list(run([row.cell], path)) == []
    assert rows_of([row.cell], read(path)) == [row]


def test_a_line_after_one_that_was_cut_off_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    append(path, _row("torch L1", 0, 0.9))
    path.write_text(path.read_text()[:-10])
    append(path, _row("torch L1", 1, 0.9))
    assert [row.cell.seed for row in read(path)] == [1]
