"""Units page by page are in the order of a stable sort."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from pruning_core.planning.listing import listed, n_pages, page_with

SCORES = hnp.arrays(np.float32, st.integers(1, 60), elements=st.sampled_from([0, 1, 1.5, 2, 9]))


@given(SCORES, st.integers(1, 9), st.sampled_from(["score", "index"]))
def test_pages_together_are_all_units_in_order(scores, size, order):
    pages = [listed(scores, order, page, size) for page in range(n_pages(len(scores), size))]
    expected = np.argsort(scores, kind="stable") if order == "score" else np.arange(len(scores))
    assert np.array_equal(np.concatenate(pages), expected)
    assert {len(page) for page in pages[:-1]} <= {size}
    for number, page in enumerate(pages):
        assert {page_with(scores, order, unit, size) for unit in page.tolist()} == {number}


def test_pages_of_many_units_need_no_sort_of_all():
    scores = np.random.default_rng(0).random(100_000, np.float32)
    expected = np.argsort(scores, kind="stable")
    assert np.array_equal(listed(scores, "score", 3), expected[3 * 512 : 4 * 512])


@pytest.mark.parametrize(("n_units", "pages"), [(1, 1), (512, 1), (513, 2)])
def test_512_units_fit_on_a_page(n_units, pages):
    assert n_pages(n_units) == pages
