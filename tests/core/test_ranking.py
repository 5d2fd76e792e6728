"""One order for counting and removing: that of a stable argsort, whatever the numbers are."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from pruning_core.scoring.ranking import SiteRanking

SPECIAL = (0.0, -0.0, 1.0, -1.0, 0.1, 1e-45, -1e-45, float("inf"), float("-inf"), float("nan"))
scores = st.lists(
    st.sampled_from(SPECIAL) | st.floats(width=32, allow_nan=True), min_size=1, max_size=40
).map(lambda values: np.array(values, np.float32))


@settings(deadline=None)
@given(scores, st.data())
def test_the_first_to_go_are_those_of_a_stable_argsort(
    values: NDArray[np.float32], data: st.DataObject
) -> None:
    ranking = SiteRanking(values)
    order = np.argsort(values, kind="stable")
    count = data.draw(st.integers(0, len(values)))
    goes = np.zeros(len(values), np.bool_)
    goes[order[:count]] = True
    np.testing.assert_array_equal(ranking.lowest(count), goes)
    np.testing.assert_array_equal(ranking.order, order)
    if count < len(values):
        np.testing.assert_array_equal(ranking.threshold(count), values[order[count]])


@settings(deadline=None)
@given(scores, st.floats(allow_nan=False) | st.sampled_from(SPECIAL[:7]))
def test_what_is_counted_below_a_threshold_is_what_goes(
    values: NDArray[np.float32], threshold: float
) -> None:
    ranking = SiteRanking(values)
    count = ranking.count_below(threshold)
    limit = np.float32(np.clip(threshold, -3.4028234663852886e38, 3.4028234663852886e38))
    assert count == int((values < limit).sum())
    np.testing.assert_array_equal(ranking.lowest(count), values < limit)


def test_a_threshold_equal_to_a_weight_keeps_it_although_doubles_differ() -> None:
    weight = np.float32(0.7)  # as a double it is a little less than 0.7
    assert SiteRanking(np.array([weight], np.float32)).count_below(0.7) == 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_half_precision_ties_are_split_by_index(dtype: Any) -> None:
    torch.manual_seed(0)
    weight = torch.randn(5_000).to(dtype)
    weight[::50], weight[1::50] = 0.0, -0.0
    values = weight.abs().float().numpy()
    ranking = SiteRanking(values)
    for count in (0, 1, 150, 200, 201, 2_500, 4_999):
        goes = ranking.lowest(count)
        assert goes.sum() == count
        assert values[goes].max(initial=0) <= values[~goes].min()
        tied = np.flatnonzero(values == values[~goes].min())
        assert (np.diff(goes[tied].astype(int)) <= 0).all()
