"""How far criteria agree, against SciPy and counting by hand."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from pruning_core.figures.agreement import overlap_matrix, rank_matrix
from pruning_core.figures.canvas import alt_text
from pruning_core.figures.palette import DARK, LIGHT
from pruning_core.scoring import agreement
from pruning_core.scoring.agreement import (
    correlation,
    disagreements,
    jaccard,
    mean_ranks,
    rank,
    shared,
)
from pruning_core.scoring.score import Scores


def luminance(colour):
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return sum(w * c for w, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def contrast(first, second):
    low, high = sorted((luminance(first), luminance(second)))
    return (high + 0.05) / (low + 0.05)


RNG = np.random.default_rng(0)
TIED = st.lists(st.integers(-3, 3), min_size=3, max_size=40)


def scores(by_site, granularity="unit", unrated=()):
    arrays = {name: np.asarray(values, np.float32) for name, values in by_site.items()}
    return Scores("any", granularity, arrays, frozenset(unrated))


@given(TIED)
def test_ranks_are_those_of_scipy(values):
    found = mean_ranks(np.array(values, np.float32))
    assert found.tolist() == stats.rankdata(values).tolist()


@given(st.integers(0, 10_000), st.integers(2, 6))
@settings(max_examples=50)
def test_rank_correlation_is_that_of_scipy(seed, n_criteria):
    rng = np.random.default_rng(seed)
    values = rng.integers(0, 12, (n_criteria, 30)).astype(np.float32)
    found = correlation(np.stack([mean_ranks(row) for row in values]))
    for one in range(n_criteria):
        for other in range(n_criteria):
            expected = stats.spearmanr(values[one], values[other]).statistic
            assert found[one, other] == pytest.approx(expected, abs=1e-12)


def test_a_criterion_that_rates_all_alike_agrees_with_none():
    found = correlation(np.stack([mean_ranks(row) for row in np.array([[1, 1, 1], [1, 2, 3.0]])]))
    assert np.isnan(found[0]).all()
    assert found[1, 1] == pytest.approx(1)


def test_together_is_one_order_and_apart_is_an_order_for_each_layer():
    one = scores({"a": [1, 2, 3], "b": [30, 20, 10]})
    other = scores({"a": [300, 200, 100], "b": [1, 2, 3]})
    whole = rank({"one": one, "other": other}, together=True)
    pooled = [np.concatenate([s.by_site["a"], s.by_site["b"]]) for s in (one, other)]
    assert whole.correlation[0, 1] == pytest.approx(stats.spearmanr(*pooled).statistic, abs=1e-6)
    apart = rank({"one": one, "other": other}, together=False)
    assert apart.correlation[0, 1] == pytest.approx(-1)
    assert apart.places[0].tolist() == [0, 0.5, 1, 1, 0.5, 0]
    single = rank({"one": one, "other": other}, together=True, sites=["b"])
    assert (single.sites, single.n_units) == (("b",), 3)
    assert single.correlation[0, 1] == pytest.approx(-1)


def test_layers_that_a_criterion_cannot_rate_are_left_out_and_named():
    one = scores({"a": [1, 2, 3], "b": [1, 2, 3]})
    other = scores({"a": [1, 2, 3], "b": [0, 0, 0]}, unrated=["b"])
    found = rank({"one": one, "other": other}, together=True)
    assert (found.sites, found.skipped, found.n_units) == (("a",), ("b",), 3)
    nothing = rank({"one": one, "other": other}, together=False, sites=["b"])
    assert nothing.unit.size == 0
    assert np.isnan(nothing.correlation).all()


@pytest.mark.parametrize("granularity", ["unit", "2:4"])
def test_what_both_prune_is_counted_as_by_hand(granularity):
    by_site = {"a": 40, "b": 8}
    found = {
        key: scores({name: RNG.integers(0, 9, n) for name, n in by_site.items()}, granularity)
        for key in ("one", "other", "third")
    }
    removed = {"a": 17, "b": 3}
    total = shared(found, removed)
    sets = {
        key: {(name, unit) for name, count in removed.items() for unit in each.order(name)[:count]}
        for key, each in found.items()
    }
    for row, one in enumerate(sets.values()):
        for column, other in enumerate(sets.values()):
            assert total[row, column] == len(one & other)
            assert jaccard(total)[row, column] == len(one & other) / len(one | other)
    assert np.isnan(jaccard(shared(found, {"a": 0, "b": 0}))).all()


def test_the_units_that_two_criteria_see_most_differently_come_first():
    one = scores({"a": [1, 2, 3, 4, 5], "b": [6]})
    other = scores({"a": [6, 2, 3, 4, 5], "b": [1]})
    both = {"one": one, "other": other}
    rows = disagreements(
        rank(both, together=True), both, ("one", "other"), {"a": 1, "b": 0}, most=3
    )
    assert [(row.site, row.unit, row.places) for row in rows[:2]] == [
        ("a", 0, (0.0, 1.0)),
        ("b", 0, (1.0, 0.0)),
    ]
    assert rows[0].pruned == (True, False)
    assert rows[1].pruned == (False, False)
    assert [row.gap for row in rows] == sorted([row.gap for row in rows], reverse=True)


def test_gaps_are_the_largest_there_are():
    both = {key: scores({"a": RNG.random(500), "b": RNG.random(300)}) for key in ("x", "y")}
    found = rank(both, together=True)
    gaps = np.abs(found.places[0] - found.places[1])
    assert found.furthest(0, 1, 20).tolist() == np.argsort(-gaps, kind="stable")[:20].tolist()
    assert found.furthest(0, 1, 5000).size == 800


def test_of_very_many_units_a_sample_is_ranked_and_says_so(monkeypatch):
    monkeypatch.setattr(agreement, "MOST_RANKED", 5_000)
    monkeypatch.setattr(agreement, "SAMPLE", 4_000)
    base = {"a": RNG.random(7_000), "b": RNG.random(3_000)}
    noisy = {name: values + RNG.normal(0, 0.3, values.size) for name, values in base.items()}
    found = rank({"one": scores(base), "other": scores(noisy)}, together=True)
    assert found.is_sample
    assert (found.unit.size, found.n_units) == (4_000, 10_000)
    for site, name in enumerate(found.sites):
        units = found.unit[found.site == site]
        assert len(set(units.tolist())) == units.size
        assert units.max() < base[name].size
    whole = [np.concatenate(list(values.values())) for values in (base, noisy)]
    expected = stats.spearmanr(*whole).statistic
    assert found.correlation[0, 1] == pytest.approx(expected, abs=2 / 4_000**0.5)


class TestMatrices:
    NAMES = ("L1 norm", "<b>evil</b>", "Random")
    RANKS = np.array([[1, 0.9, 0.1], [0.9, 1, np.nan], [0.1, np.nan, 1]])
    BOTH = np.array([[40, 30, 10], [30, 40, 8], [10, 8, 40]])

    @pytest.mark.parametrize("colours", [LIGHT, DARK], ids=["light", "dark"])
    def test_the_numbers_are_inside_and_the_title_says_the_finding(self, colours):
        figure = rank_matrix(self.NAMES, self.RANKS, colours)
        assert list(figure.data[0].text[0]) == ["1.00", "0.90", "0.10"]
        assert figure.data[0].text[1][2] == "–"
        assert figure.layout.title.text.endswith("rank most alike: 0.90")
        assert "<b>evil" not in figure.to_json()
        assert alt_text(figure).startswith("Matrix of rank correlations of 3 criteria")

    def test_overlaps_show_share_and_number(self):
        figure = overlap_matrix(self.NAMES, jaccard(self.BOTH), self.BOTH, LIGHT, units="channels")
        assert figure.data[0].text[0][1] == "0.60<br>30"
        assert figure.layout.title.text.endswith("both prune 8 of 40 channels")
        nothing = np.zeros((3, 3), np.int64)
        empty = overlap_matrix(self.NAMES, jaccard(nothing), nothing, LIGHT, units="channels")
        assert empty.layout.title.text == "Nothing leaves here, so nothing overlaps"

    @pytest.mark.parametrize("colours", [LIGHT, DARK], ids=["light", "dark"])
    def test_numbers_have_four_to_one_contrast_in_every_cell(self, colours):
        values = np.linspace(-1, 1, 36).reshape(6, 6)
        figure = rank_matrix([str(i) for i in range(6)], values, colours)
        for value, ink in zip(values.ravel(), figure.data[1].textfont.color, strict=True):
            strong = colours.kept if value > 0 else colours.pruned
            mixed = [
                round(
                    (1 - abs(value)) * int(colours.background[i : i + 2], 16)
                    + abs(value) * int(strong[i : i + 2], 16)
                )
                for i in (1, 3, 5)
            ]
            assert contrast("#" + "".join(f"{part:02x}" for part in mixed), ink) > 3.7

    def test_two_criteria_are_enough(self):
        figure = rank_matrix(self.NAMES[:2], self.RANKS[:2, :2], LIGHT)
        assert len(figure.layout.yaxis.ticktext) == 2
