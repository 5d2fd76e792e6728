"""One order for counting and removing: that of a stable argsort, whatever the numbers are."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import nn

from pruning_core.granularities import Pattern
from pruning_core.loading.model import LoadedModel
from pruning_core.planning.order import PickedRanking
from pruning_core.planning.recipe import Picks, Recipe, Threshold
from pruning_core.planning.resolve import resolve
from pruning_core.scoring import keys, ranking
from pruning_core.scoring.ranking import GlobalRanking, KeyTable, PatternRanking, SiteRanking
from pruning_core.scoring.score import score
from pruning_core.surgery.prune import prune
from pruning_core.tracing.trace import trace

Scores32 = NDArray[np.float32]
SPECIAL = (0.0, -0.0, 1.0, -1.0, 0.1, 1e-45, -1e-45, float("inf"), float("-inf"), float("nan"))
numbers = st.sampled_from(SPECIAL) | st.floats(width=32, allow_nan=True)
scores = st.lists(numbers, min_size=1, max_size=40).map(lambda x: np.array(x, np.float32))


@pytest.fixture(params=["few", "many"])
def size(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Take the way for few scores (sort them), or the one for many (histogram of keys)."""
    if request.param == "many":
        monkeypatch.setattr(ranking, "_FEW", 0)
        monkeypatch.setattr(ranking, "_FEW_TOGETHER", 0)
        monkeypatch.setattr(keys, "CHUNK", 7)


def first(order: NDArray[np.int64], count: int) -> NDArray[np.bool_]:
    goes = np.zeros(len(order), np.bool_)
    goes[order[:count]] = True
    return goes


@pytest.mark.usefixtures("size")
@settings(deadline=None)
@given(scores, st.data())
def test_the_first_to_go_are_those_of_a_stable_argsort(
    values: Scores32, data: st.DataObject
) -> None:
    ranked = SiteRanking(values)
    order = np.argsort(values, kind="stable")
    count = data.draw(st.integers(0, len(values)))
    np.testing.assert_array_equal(ranked.lowest(count), first(order, count))
    np.testing.assert_array_equal(ranked.order, order)
    if count < len(values):
        np.testing.assert_array_equal(ranked.threshold(count), values[order[count]])


@pytest.mark.usefixtures("size")
@settings(deadline=None)
@given(st.lists(scores, min_size=1, max_size=4), st.data())
def test_sites_that_compete_go_in_the_order_of_score_then_site_then_index(
    sites: list[Scores32], data: st.DataObject
) -> None:
    most = [data.draw(st.integers(0, len(values))) for values in sites]
    allowed = [np.argsort(v, kind="stable")[:m] for v, m in zip(sites, most, strict=True)]
    joined = np.concatenate([v[order] for v, order in zip(sites, allowed, strict=True)])
    site_of = np.repeat(np.arange(len(sites)), most)[np.argsort(joined, kind="stable")]
    together = GlobalRanking([SiteRanking(values) for values in sites], most)
    for count in {data.draw(st.integers(0, len(joined) + 2)) for _ in range(3)}:
        expected = np.bincount(site_of[:count], minlength=len(sites))
        np.testing.assert_array_equal(together.counts(count), expected)


@pytest.mark.usefixtures("size")
@settings(deadline=None)
@given(scores, st.floats(allow_nan=False) | st.sampled_from(SPECIAL[:7]))
def test_what_is_counted_below_a_threshold_is_what_goes(values: Scores32, threshold: float) -> None:
    ranked = SiteRanking(values)
    count = ranked.count_below(threshold)
    limit = np.float32(np.clip(threshold, -3.4028234663852886e38, 3.4028234663852886e38))
    assert count == int((values < limit).sum())
    np.testing.assert_array_equal(ranked.lowest(count), values < limit)
    snapped = keys.snapped(threshold)
    assert snapped <= limit
    below = KeyTable([SiteRanking(values), SiteRanking(values[:1])]).counts_below(snapped)
    assert below.tolist() == [(v < np.float32(snapped)).sum() for v in (values, values[:1])]


def by_pattern(values: Scores32, pattern: Pattern) -> NDArray[np.int64]:
    """All units in the order they go, group by group as the definition says."""
    first: list[int] = []
    for start in range(0, len(values), pattern.m):
        group = np.argsort(values[start : start + pattern.m], kind="stable")
        first += sorted(int(start + unit) for unit in group[: pattern.m - pattern.n])
    rest = [unit for unit in range(len(values)) if unit not in first]
    parts = [sorted(part, key=lambda u: (np.isnan(values[u]), values[u])) for part in (first, rest)]
    return np.array([*parts[0], *parts[1]], np.int64)


@pytest.mark.usefixtures("size")
@settings(deadline=None)
@given(st.sampled_from([(2, 4), (1, 4), (4, 8), (3, 4)]), st.data())
def test_a_pattern_takes_the_lowest_of_each_group_then_the_rest(
    n_of_m: tuple[int, int], data: st.DataObject
) -> None:
    pattern = Pattern(*n_of_m)
    n_groups = data.draw(st.integers(1, 6))
    size = n_groups * pattern.m
    values = np.array(data.draw(st.lists(numbers, min_size=size, max_size=size)), np.float32)
    order = by_pattern(values, pattern)
    ranked = PatternRanking(values, pattern)
    np.testing.assert_array_equal(ranked.order, order)
    for count in {0, pattern.most(size), data.draw(st.integers(0, size))}:
        np.testing.assert_array_equal(ranked.lowest(count), first(order, count))
        if count < size:
            np.testing.assert_array_equal(ranked.threshold(count), values[order[count]])


@pytest.mark.usefixtures("size")
@settings(deadline=None)
@given(st.data())
def test_marked_units_are_counted_along_the_order(data: st.DataObject) -> None:
    values = np.array(data.draw(st.lists(numbers, min_size=4, max_size=40)), np.float32)
    values = values[: len(values) // 4 * 4]
    flags = np.array(data.draw(st.lists(st.booleans(), min_size=len(values), max_size=len(values))))
    counts = np.arange(len(values))
    picks = Picks(prune=(1,), keep=(2,))
    rankings = (SiteRanking(values), PatternRanking(values, Pattern(2, 4)))
    for ranked in (*rankings, PickedRanking(values, picks)):
        expected = np.append(0, np.cumsum(flags[ranked.order]))[counts]
        np.testing.assert_array_equal(ranked.among_first(flags, counts), expected)


@settings(deadline=None)
@given(numbers, numbers)
def test_keys_ascend_as_numbers_do(left: float, right: float) -> None:
    left, right = np.array([left, right], np.float32).tolist()  # scores are stored so
    low, high = keys.keys(np.array([left, right], np.float32)).tolist()
    if np.isnan(left) or np.isnan(right):
        assert (low < high) == (not np.isnan(left) and np.isnan(right))
    else:
        assert (low < high, low == high) == (left < right, left == right)
        assert keys.value_of(low) == np.float32(left)


def test_a_threshold_equal_to_a_weight_keeps_it_although_doubles_differ() -> None:
    weight = np.float32(0.7)  # as a double it is a little less than 0.7
    assert SiteRanking(np.array([weight], np.float32)).count_below(0.7) == 0


def test_equal_scores_go_in_a_fixed_order_and_never_one_too_many() -> None:
    together = GlobalRanking([SiteRanking(np.ones(4, np.float32)) for _ in range(2)], [3, 3])
    assert [together.counts(k).tolist() for k in (0, 1, 3, 4, 6, 9)] == [
        [0, 0], [1, 0], [3, 0], [3, 1], [3, 3], [3, 3],
    ]  # fmt: skip


@pytest.mark.usefixtures("size")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_half_precision_ties_are_split_by_index(dtype: Any) -> None:
    torch.manual_seed(0)
    weight = torch.randn(5_000).to(dtype)
    weight[::50], weight[1::50] = 0.0, -0.0
    values = weight.abs().float().numpy()
    ranked = SiteRanking(values)
    for count in (0, 1, 150, 200, 201, 2_500, 4_999):
        goes = ranked.lowest(count)
        assert goes.sum() == count
        assert values[goes].max(initial=0) <= values[~goes].min()
        tied = np.flatnonzero(values == values[~goes].min())
        assert (np.diff(goes[tied].astype(int)) <= 0).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_the_weights_that_were_counted_are_the_ones_that_are_set_to_zero(dtype: Any) -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(48, 64), nn.ReLU(), nn.Linear(64, 10)).to(dtype).eval()
    with torch.no_grad():
        module[0].weight[::7] = -0.0
        module[2].weight[::2] = module[2].weight[1, 0]  # one half of the layer is tied
    network = trace(module, torch.zeros(1, 48, dtype=dtype))
    model = LoadedModel("test:half", module, network.inputs, None, None, "")
    bits = torch.int32 if dtype == torch.float32 else torch.int16
    tie = float(module[2].weight[1, 0].detach().abs())
    for value in (0.0, tie, 0.05, 0.0500001):
        recipe = Recipe(model="m", target=Threshold(value=value), scope="local")
        scores = score(model, network, recipe)
        plan = resolve(recipe, network, scores)
        pruned = prune(model, network, plan)
        for site, name in (("0", "0.weight"), ("2", "2.weight")):
            weight = network.tensor(name).detach()
            magnitude = weight.view(bits) & torch.iinfo(bits).max
            stored = torch.tensor(value, dtype=torch.float32)
            limit = stored.to(dtype).abs().view(bits)
            if stored > stored.to(dtype).float():  # the next number that the weights can be
                limit = limit + 1
            below = magnitude < limit
            assert scores.ranking(site).count_below(value) == int(below.sum())
            assert torch.equal(pruned.masks[name], ~below)
            assert not (pruned.module.get_parameter(name)[below].view(bits) != 0).any()
            assert torch.equal(pruned.module.get_parameter(name)[~below], weight[~below])
