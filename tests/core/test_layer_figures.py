"""Figures over all layers: what they say, that nothing is lost, and that they stay small."""

import json

import numpy as np
import pytest

from pruning_core.figures.bars import MAX_LAYERS, bar_places, share_bars
from pruning_core.figures.canvas import alt_text
from pruning_core.figures.histogram import bin_scores
from pruning_core.figures.palette import DARK, LIGHT
from pruning_core.figures.ribbons import Ribbon, letters, network_ribbons, ribbons_of
from pruning_core.figures.ridgeline import (
    FEW_LAYERS,
    Frame,
    Spread,
    percentile_strip,
    quantiles,
    ridgeline,
)
from pruning_core.figures.treemap import module_totals, module_treemap
from pruning_core.figures.waterfall import MAX_STEPS, gather, waterfall

RNG = np.random.default_rng(0)
MANY = [f"stage.{i // 50}.blocks.{i % 50 // 5}.conv{i % 5}" for i in range(500)]
SIZES = RNG.integers(1, 10**6, 500)
SAVED = SIZES // 3
BEFORE = int(SIZES.sum())
SAVING = gather(MANY, SAVED, 7)
SCORES = [RNG.gamma(2.0, 1.0, 64).astype(np.float32) for _ in MANY]
SPREADS = [
    Spread(name, quantiles(own), float(np.sort(own)[20]), 20, 64)
    for name, own in zip(MANY, SCORES, strict=True)
]
RIBBONS = [
    Ribbon(name, f"{name}.weight", name, 64, 64 - i % 60, f"stage {i // 10}")
    for i, name in enumerate(MANY)
]
FIGURES = {
    "ridges": lambda c: ridgeline(
        SPREADS[:FEW_LAYERS],
        [bin_scores(own) for own in SCORES[:FEW_LAYERS]],
        Frame(c, "channels", "L1", own_scale=True),
    ),
    "percentiles": lambda c: percentile_strip(
        SPREADS, Frame(c, "channels", "L1", own_scale=False, selected=3)
    ),
    "ribbons": lambda c: network_ribbons(RIBBONS, c, log=True, selected=2),
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
    assert len(figure.to_json()) < 300_000
    assert figure.layout.title.text
    assert alt_text(figure).endswith(".")
    assert 4 <= figure.layout.height * (1 - figure.layout.title.y) <= 10
    for drawn in figure.data:
        if drawn.type in {"bar", "scatter"}:
            assert drawn.unselected.marker.opacity == 1
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

    def test_the_title_names_the_largest_part_that_is_not_nearly_all(self):
        names = ["a.x", "a.y", "b"]
        figure = module_treemap(names, np.array([4, 4, 2]), LIGHT, quantity="MACs")
        assert figure.layout.title.text == "a holds 80 % of the MACs"
        figure = module_treemap(names, np.array([60, 39, 1]), LIGHT, quantity="MACs")
        assert figure.layout.title.text == "a.x holds 60 % of the MACs"
        figure = module_treemap(["only"], np.array([3]), LIGHT, quantity="MACs")
        assert figure.layout.title.text == "only holds 100 % of the MACs"


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


def spread(name, scores, n_removed):
    ordered = np.sort(scores)
    return Spread(name, quantiles(scores), float(ordered[n_removed]), n_removed, scores.size)


class TestScoresOfAllLayers:
    SCORES = np.arange(1, 102, dtype=np.float32)

    def test_quantiles_are_scores_by_their_rank(self):
        mixed = RNG.permutation(self.SCORES)
        assert quantiles(mixed).tolist() == [1, 6, 26, 51, 76, 96, 101]
        assert quantiles(np.array([5.0], np.float32)).tolist() == [5.0] * 7

    def frame(self, **changes):
        return Frame(
            **{"colours": LIGHT, "units": "channels", "criterion": "L1", "own_scale": False}
            | changes
        )

    def test_the_area_left_of_the_cut_is_hatched_and_the_rest_filled(self):
        figure = ridgeline(
            [spread("conv", self.SCORES, 25)], [bin_scores(self.SCORES, 10)], self.frame()
        )
        stays, leaves, cut = (
            next(t for t in figure.data if t.name == name) for name in ("stays", "leaves", "cut")
        )
        assert np.nanmin(stays.x) == np.nanmax(leaves.x) == cut.x[0] == 26
        assert leaves.fillpattern.shape
        assert not stays.fillpattern.shape

    def test_on_its_own_scale_every_layer_goes_from_0_to_1(self):
        layers = [spread("a", self.SCORES, 0), spread("b", 100 * self.SCORES, 0)]
        bins = [bin_scores(self.SCORES), bin_scores(100 * self.SCORES)]
        figure = ridgeline(layers, bins, self.frame(own_scale=True))
        (stays,) = [t for t in figure.data if t.name == "stays"]
        assert (np.nanmin(stays.x), np.nanmax(stays.x)) == (0, 1)
        raw = ridgeline(layers, bins, self.frame())
        assert np.nanmax(raw.data[0].x) == 10100

    def test_the_share_that_leaves_is_written_in_each_row(self):
        figure = percentile_strip(
            [spread("a", self.SCORES, 25), spread("b", self.SCORES, 0)], self.frame()
        )
        (texts,) = [t for t in figure.select_traces({"type": "scatter"}) if t.mode == "text"]
        assert list(texts.text) == ["24.8 % leave", "0.0 % leave"]
        assert figure.layout.title.text == "12.4 % of all channels leave, most in a: 24.8 %"
        (cut,) = [t for t in figure.data if t.name == "cut"]
        assert (cut.x.tolist(), cut.y.tolist()) == ([26.0], [0])

    def test_a_window_of_rows_says_what_holds_for_all(self):
        layers = [spread(name, self.SCORES, n) for name, n in (("a", 0), ("b", 25), ("c", 50))]
        whole = percentile_strip(layers, self.frame())
        part = percentile_strip(layers, self.frame(selected=1, rows=range(1, 2)))
        assert part.layout.title.text == whole.layout.title.text
        assert list(part.layout.yaxis.ticktext) == ["<b>▸ b</b>"]

    def test_the_boxes_are_the_middle_half_and_nine_tenths(self):
        figure = percentile_strip([spread("a", self.SCORES, 0)], self.frame())
        wide, half = figure.data[:2]
        assert (np.nanmin(wide.x), np.nanmax(wide.x)) == (6, 96)
        assert (np.nanmin(half.x), np.nanmax(half.x)) == (26, 76)

    def test_equal_scores_and_no_cut_are_drawn(self):
        same = np.ones(5, np.float32)
        one = Spread("a", quantiles(same), None, 2, 5)
        for figure in (
            ridgeline([one], [bin_scores(same)], self.frame(own_scale=True)),
            percentile_strip([one], self.frame(own_scale=True)),
        ):
            assert "leave" in figure.layout.title.text
            assert not [t for t in figure.data if t.name == "cut"]


class TestRibbons:
    def test_widths_are_those_of_the_pruned_modules(self):
        from pruning_core import Recipe, load_model, prune, resolve, score, trace

        for identity in ("bundled:resnet_8", "bundled:vit_tiny", "bundled:gru_128"):
            model = load_model(identity)
            network = trace(model.module, model.inputs)
            recipe = Recipe(
                model=identity, granularity="unit", target={"kind": "ratio", "value": 0.5}
            )
            plan = resolve(recipe, network, score(model, network, recipe))
            pruned = prune(model, network, plan).module.state_dict()
            found = ribbons_of(network, plan)
            assert {r.parameter for r in found} == set(network.weights)
            for ribbon in found:
                assert ribbon.dense == len(network.tensor(ribbon.parameter))
                assert ribbon.kept == len(pruned[ribbon.parameter]), ribbon.parameter

    def test_under_masks_an_output_is_left_while_one_of_its_weights_is(self):
        from pruning_core import Recipe, load_model, prune, resolve, score, trace

        model = load_model("bundled:lenet_5")
        network = trace(model.module, model.inputs)
        recipe = Recipe(model="bundled:lenet_5", target={"kind": "ratio", "value": 0.97})
        plan = resolve(recipe, network, score(model, network, recipe))
        module = prune(model, network, plan).module
        for ribbon in ribbons_of(network, plan):
            weight = module.get_parameter(ribbon.parameter)
            assert ribbon.kept == int((weight.flatten(1) != 0).any(1).sum())

    def test_a_cut_branch_has_no_width(self):
        from pruning_core import Recipe, load_model, resolve, score, trace

        model = load_model("bundled:vit_tiny")
        network = trace(model.module, model.inputs)
        recipe = Recipe(
            model=model.identity, granularity="depth", target={"kind": "count", "value": 1}
        )
        plan = resolve(recipe, network, score(model, network, recipe))
        (gone,) = plan.cut(network)
        widths = {r.parameter: r.kept for r in ribbons_of(network, plan)}
        assert {name for name, kept in widths.items() if not kept} == {
            name for name in gone.tensors if name in widths
        }

    RIBBONS = (
        Ribbon("stem", "stem.weight", "stem", 64, 48, "stem"),
        Ribbon("a", "a.weight", "a", 8, 2, "a"),
        Ribbon("b", "b.weight", "b", 64, 48, "stem"),
        Ribbon("fc", "fc.weight", "fc", 10, 10, ""),
    )

    def test_coupled_layers_share_a_letter(self):
        assert letters(self.RIBBONS) == {"stem": "A"}
        many = [Ribbon(f"{i}", f"{i}", f"{i}", 1, 1, f"g{i // 2}") for i in range(60)]
        assert len(set(letters(many).values())) == 30
        assert [letters(many)[name] for name in ("g25", "g26", "g29")] == ["Z", "AA", "AD"]

    def test_a_window_of_rows_keeps_scale_letters_and_what_the_title_says(self):
        whole = network_ribbons(self.RIBBONS, LIGHT, log=False, selected=2)
        part = network_ribbons(self.RIBBONS, LIGHT, log=False, selected=2, shown=range(1, 3))
        assert part.layout.title.text == whole.layout.title.text
        assert list(part.layout.yaxis.ticktext) == ["a", "<b>▸ b</b>"]
        (ticks,) = [t for t in part.select_traces({"type": "scatter"}) if t.mode == "markers+text"]
        assert (list(ticks.text), ticks.y.tolist()) == (["A"], [1])
        narrow = np.nanmax(part.data[0].x.reshape(2, 6)[0])
        assert narrow == pytest.approx(2 / 64)

    def test_two_weights_of_one_layer_need_no_letter(self):
        both = [Ribbon(name, name, "gru", 384, 384, "gru") for name in ("gru.w_ih", "gru.w_hh")]
        assert letters(both) == {}

    @pytest.mark.parametrize("log", [False, True])
    def test_widths_are_drawn_around_the_middle_with_the_dense_outline(self, log):
        figure = network_ribbons(self.RIBBONS, LIGHT, log=log)
        stays, leaves, dense = (
            next(t for t in figure.data if t.name == name) for name in ("stays", "leaves", "dense")
        )
        assert np.nanmax(dense.x) == 1
        narrow = np.nanmax(stays.x.reshape(4, 6)[1])
        assert narrow == pytest.approx(np.log(3) / np.log(65) if log else 2 / 64)
        assert leaves.fillpattern.shape
        assert np.nanmin(leaves.x) == -1
        (texts,) = [t for t in figure.select_traces({"type": "scatter"}) if t.mode == "text"]
        assert list(texts.text) == ["48 of 64", "2 of 8", "48 of 64", "10 of 10"]
        (ticks,) = [
            t for t in figure.select_traces({"type": "scatter"}) if t.mode == "markers+text"
        ]
        assert (list(ticks.text), ticks.y.tolist()) == (["A", "A"], [0, 2])
        assert figure.layout.title.text == "74.0 % of the outputs stay, fewest in a: 2 of 8"
