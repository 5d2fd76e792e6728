"""Figures over all layers: what they say, that nothing is lost, and that they stay small."""

import json

import numpy as np
import pytest

from pruning_core.figures.bars import MAX_LAYERS, bar_places, share_bars
from pruning_core.figures.canvas import alt_text
from pruning_core.figures.palette import DARK, LIGHT
from pruning_core.figures.treemap import module_totals, module_treemap
from pruning_core.figures.waterfall import MAX_STEPS, gather, waterfall

RNG = np.random.default_rng(0)
MANY = [f"stage.{i // 50}.blocks.{i % 50 // 5}.conv{i % 5}" for i in range(500)]
SIZES = RNG.integers(1, 10**6, 500)
SAVED = SIZES // 3
BEFORE = int(SIZES.sum())
SAVING = gather(MANY, SAVED, 7)
FIGURES = {
    "waterfall": lambda c: waterfall(
        SAVING, BEFORE, BEFORE - int(SAVED.sum()) - 7, c, quantity="file bytes", unit="B"
    ),
    "treemap": lambda c: module_treemap(MANY, SIZES, c, quantity="parameters"),
    "sorted bars": lambda c: share_bars(MANY, SIZES, c, quantity="parameters", falling=True),
}


@pytest.mark.parametrize("colours", [LIGHT, DARK], ids=["light", "dark"])
@pytest.mark.parametrize("name", FIGURES)
def test_every_figure_of_500_layers_is_small_and_says_what_it_shows(name, colours):
    figure = FIGURES[name](colours)
    assert len(figure.to_json()) < 500_000
    assert figure.layout.title.text
    assert alt_text(figure).endswith(".")
    for drawn in figure.data:
        if drawn.type in {"bar", "waterfall"}:
            assert len(drawn.y) <= 512


class TestWaterfall:
    def test_few_parts_are_all_steps_in_their_order(self):
        steps = gather(["a", "b", "c"], np.array([5, 0, 7]), 0)
        assert (steps.labels, steps.saved, steps.places) == (("a", "c"), (5, 7), (0, 2))

    def test_many_parts_become_the_largest_and_one_sum(self):
        steps = gather(MANY, SAVED, 7, word="layers")
        assert len(steps.labels) == MAX_STEPS + 1
        assert steps.labels[-2:] == (f"other {500 - MAX_STEPS + 1} layers", "header and buffers")
        assert sum(steps.saved) == SAVED.sum() + 7
        assert list(steps.places[:-2]) == sorted(np.argsort(-SAVED)[: MAX_STEPS - 1])

    def test_exactly_as_many_parts_as_fit_are_not_gathered(self):
        assert len(gather(MANY[:MAX_STEPS], SAVED[:MAX_STEPS], 0).labels) == MAX_STEPS

    def test_bars_go_from_dense_to_planned(self):
        figure = waterfall(
            gather(["a", "b"], np.array([20, 30]), 0), 100, 50, LIGHT, quantity="parameters"
        )
        assert list(figure.data[0].x) == [100, -20, -30, 50]
        assert list(figure.layout.yaxis.ticktext) == ["dense", "a", "b", "planned"]
        assert figure.layout.title.text == "b saves 30 parameters, 60 % of the cut"
        assert "from 100 dense to 50 planned" in alt_text(figure)

    def test_steps_that_do_not_add_up_are_refused(self):
        with pytest.raises(ValueError, match="add up"):
            waterfall(gather(["a"], np.array([20]), 0), 100, 50, LIGHT, quantity="parameters")

    def test_the_selected_layer_is_marked_in_words_not_colour(self):
        steps = gather(["a", "b"], np.array([20, 30]), 0)
        figure = waterfall(steps, 100, 50, LIGHT, quantity="MACs", selected=1)
        assert list(figure.layout.yaxis.ticktext) == ["dense", "a", "<b>▸ b</b>", "planned"]


class TestTreemap:
    def test_modules_hold_the_sum_of_their_layers(self):
        names = ["stem", "blocks.0.a", "blocks.0.b", "blocks.1.a", ""]
        totals = module_totals(names, np.array([1, 2, 3, 4, 5]))
        assert totals == {
            "": 15,
            "stem": 1,
            "blocks": 9,
            "blocks.0": 5,
            "blocks.0.a": 2,
            "blocks.0.b": 3,
            "blocks.1": 4,
            "blocks.1.a": 4,
        }

    def test_areas_are_nested_by_path_and_their_parents_exist(self):
        drawn = FIGURES["treemap"](LIGHT).data[0]
        parents = dict(zip(drawn.ids, drawn.parents, strict=True))
        assert parents["/stage.0.blocks.0.conv1"] == "/stage.0.blocks.0"
        assert parents["/stage"] == "/"
        assert parents["/"] == ""
        assert set(drawn.parents) - {""} <= set(drawn.ids)
        values = dict(zip(drawn.ids, drawn.values, strict=True))
        assert values["/"] == SIZES.sum()

    def test_of_thousands_of_layers_the_smallest_have_no_area(self):
        names = [f"m{i // 60}.layer{i}" for i in range(3000)]
        figure = module_treemap(names, np.arange(3000) + 1, LIGHT, quantity="MACs")
        values = dict(zip(figure.data[0].ids, figure.data[0].values, strict=True))
        assert values["/"] == 3000 * 3001 // 2
        assert "/m49.layer2999" in values
        assert "/m0.layer0" not in values

    def test_the_title_names_the_largest_outer_part(self):
        figure = module_treemap(["a.x", "a.y", "b"], np.array([4, 4, 2]), LIGHT, quantity="MACs")
        assert figure.layout.title.text == "The part a holds 80 % of the MACs"


class TestBars:
    def test_the_largest_come_first_when_asked_for(self):
        shown, rest = bar_places(np.array([3, 9, 5]), falling=True)
        assert (shown.tolist(), rest.tolist()) == ([1, 2, 0], [])

    def test_deep_names_that_end_differently_stay_apart(self):
        names = [f"{'vision_model.encoder.' * 3}layers.{i}.proj" for i in range(3)]
        figure = share_bars(names, np.array([1, 2, 3]), LIGHT, quantity="MACs")
        assert len(set(figure.layout.yaxis.ticktext)) == 3
        assert len(set(np.asarray(figure.data[0].y).tolist())) == 3
        assert figure.layout.yaxis.ticktext[2].endswith("layers.2.proj")

    def test_names_are_not_markup(self):
        evil = '<b onclick="x">conv</b>'
        for figure in (
            module_treemap([evil], np.array([1]), LIGHT, quantity="MACs"),
            waterfall(gather([evil], np.array([1]), 0), 2, 1, LIGHT, quantity="MACs"),
        ):
            assert "<b on" not in json.dumps(figure.to_dict(), default=str)


def test_500_bars_are_gathered():
    assert len(FIGURES["sorted bars"](LIGHT).data[0].y) == MAX_LAYERS
