"""Figures: small specs made of typed arrays, with words for those who do not see them."""

import json

import numpy as np
import pytest

from pruning_core.figures import numbers
from pruning_core.figures.bars import MAX_LAYERS, share_bars
from pruning_core.figures.canvas import alt_text
from pruning_core.figures.changes import confusion_change, recall_change
from pruning_core.figures.curves import accuracy_curves, loss_curves
from pruning_core.figures.group import group_curves
from pruning_core.figures.heatmap import importance_heatmap, pool_max, pool_share
from pruning_core.figures.histogram import accumulate, bin_scores, count_in, score_histogram
from pruning_core.figures.matrix import layer_matrix, parameters_of
from pruning_core.figures.palette import DARK, LIGHT, palette
from pruning_core.figures.rounds import round_curve
from pruning_core.figures.shrinking import bin_names, bin_places, size_histogram

RNG = np.random.default_rng(0)
SCORES = RNG.gamma(2.0, 1.0, 100_000).astype(np.float32)
MATRIX = RNG.random((700, 500), np.float32)
CLASSES = tuple(f"class {i}" for i in range(10))
CONFUSION = RNG.integers(0, 50, (10, 10))
SHARES = RNG.random(10)
EDGES = np.logspace(-6, 1, 57)
SIZES = np.arange(EDGES.size + 2)[::-1]
FIGURES = {
    "histogram": lambda c: score_histogram(
        SCORES, c, unit="weights", criterion="L1 norm", threshold=1.0
    ),
    "heatmap": lambda c: importance_heatmap(
        MATRIX, c, layer="fc", value="|w|", removed=MATRIX < 0.5
    ),
    "bars": lambda c: share_bars(
        [f"layer {i}" for i in range(500)], np.arange(500) + 1, c, quantity="parameters"
    ),
    "loss": lambda c: loss_curves(np.array([2.0, 1.0]), np.array([1.5, 0.9]), 5, c),
    "group": lambda c: group_curves({"kept": SHARES, "fresh": SHARES[:0]}, 20, c),
    "rounds": lambda c: round_curve(SHARES, SHARES[::-1], [True] * SHARES.size, 20, c),
    "shrinking": lambda c: size_histogram(
        EDGES, SIZES[::-1], SIZES, c, things="weights", size="magnitude", epoch=2
    ),
    "accuracy": lambda c: accuracy_curves(SHARES, SHARES, 10, c, levels={"dense": 0.9}),
    "recall": lambda c: recall_change(CLASSES, SHARES, SHARES[::-1], c, after_name="fine-tuned"),
    "confusion": lambda c: confusion_change(
        CLASSES, CONFUSION, CONFUSION.T, c, after_name="fine-tuned"
    ),
}


def luminance(colour):
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return sum(w * c for w, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def contrast(first, second):
    low, high = sorted((luminance(first), luminance(second)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("colours", [LIGHT, DARK], ids=["light", "dark"])
@pytest.mark.parametrize("name", FIGURES)
class TestEveryFigure:
    def test_is_small_whatever_the_size_of_the_layer(self, name, colours):
        assert len(FIGURES[name](colours).to_json()) < 500_000

    def test_has_a_title_axes_with_titles_and_a_description(self, name, colours):
        layout = FIGURES[name](colours).layout
        assert layout.title.text
        assert layout.xaxis.title.text
        assert layout.height >= 100
        assert alt_text(FIGURES[name](colours)).endswith(".")

    def test_draws_at_most_512_bars_and_256_cells_a_side(self, name, colours):
        for trace in FIGURES[name](colours).data:
            if trace.type == "bar":
                assert len(trace.y) <= 512
            if trace.type == "heatmap":
                assert max(np.asarray(trace.z).shape) <= 256


@pytest.mark.parametrize("colours", [LIGHT, DARK], ids=["light", "dark"])
def test_every_mark_has_three_to_one_contrast(colours):
    for mark in (colours.kept, colours.pruned, colours.muted, *colours.ticks):
        assert contrast(mark, colours.background) >= 3
    assert contrast(colours.text, colours.background) >= 7


def test_the_theme_of_the_app_has_the_same_colours():
    tomllib = pytest.importorskip("tomllib")
    from pathlib import Path

    config = Path(__file__).parents[2] / ".streamlit" / "config.toml"
    theme = tomllib.loads(config.read_text())["theme"]
    for dark, section in ((False, "light"), (True, "dark")):
        colours = palette(dark=dark)
        assert theme[section]["chartCategoricalColors"][:2] == [colours.kept, colours.pruned]
        assert not {colours.kept, colours.pruned} & set(colours.ticks)
        assert theme[section]["backgroundColor"] == colours.background


def test_pruned_bars_have_a_pattern_as_well_as_a_colour():
    kept, pruned = score_histogram(
        SCORES, LIGHT, unit="weights", criterion="L1 norm", threshold=1.0
    ).data
    assert (kept.name, pruned.name) == ("kept", "pruned")
    assert not kept.marker.pattern.shape
    assert pruned.marker.pattern.shape


def test_a_histogram_counts_every_score_once():
    bins = bin_scores(SCORES)
    assert bins.counts.sum() == SCORES.size
    assert len(bins.edges) == len(bins.counts) + 1
    assert bin_scores(np.ones(5, np.float32)).counts.sum() == 5


@pytest.mark.parametrize(
    "scores", [SCORES[:900], np.ones(5, np.float32), np.array([2], np.float32)]
)
def test_the_cumulative_curve_counts_what_scores_less(scores):
    curve = accumulate(scores, n_points=33)
    assert len(curve.scores) <= 33
    assert curve.scores[0] == scores.min()
    assert curve.scores[-1] == scores.max()
    for score, below in zip(curve.scores, curve.below, strict=True):
        assert below == sum(float(other) < float(score) for other in scores) / len(scores)


def test_some_of_the_scores_lie_in_the_bins_of_all():
    bins = bin_scores(SCORES)
    some, rest = SCORES[::3], np.delete(SCORES, slice(None, None, 3))
    assert np.array_equal(count_in(bins, some) + count_in(bins, rest), bins.counts)
    assert count_in(bins, SCORES[:0]).sum() == 0


def test_the_title_says_how_many_are_below_the_threshold():
    scores = np.array([1, 2, 3, 4], np.float32)
    figure = score_histogram(scores, LIGHT, unit="channels", criterion="L1", threshold=3.0)
    assert figure.layout.title.text == "2 of 4 channels are pruned"


@pytest.mark.parametrize("shape", [(1, 1), (3, 1000), (129, 128), (700, 500)])
def test_pooling_keeps_the_exact_maximum_and_every_cell(shape):
    matrix = RNG.random(shape, np.float32)
    pooled = pool_max(matrix)
    assert max(pooled.shape) <= 128
    assert pooled.max() == matrix.max()
    removed = matrix < 0.3
    assert pool_share(removed).shape == pooled.shape
    assert (pool_share(np.ones(shape, bool)) == 1).all()


def test_a_small_matrix_is_not_pooled():
    assert np.array_equal(pool_max(MATRIX[:50, :60]), MATRIX[:50, :60])
    assert np.array_equal(pool_share(MATRIX[:50, :60] < 0.5), MATRIX[:50, :60] < 0.5)


def test_the_heatmap_names_the_outputs_that_leave():
    removed = np.zeros((10, 4), bool)
    removed[:3] = True
    figure = importance_heatmap(MATRIX[:10, :4], LIGHT, layer="fc", value="|w|", removed=removed)
    assert figure.layout.title.text == "30.0 % of the weights leave: 3 of 10 outputs"


def test_many_layers_become_the_largest_and_one_sum():
    figure = share_bars(
        [f"layer {i}" for i in range(500)], np.arange(500) + 1, LIGHT, quantity="MACs"
    )
    assert len(figure.data[0].y) == MAX_LAYERS
    assert figure.layout.yaxis.ticktext[-1] == f"{500 - MAX_LAYERS + 1} other layers"
    assert figure.data[0].x.sum() == 500 * 501 / 2


def test_names_are_shown_letter_for_letter():
    evil = '<b onclick="x">conv</b>'
    figure = share_bars([evil], np.array([1]), LIGHT, quantity="MACs")
    assert "<b" not in json.dumps(figure.layout.title.text)
    assert "<b" not in figure.layout.yaxis.ticktext[0] + figure.data[0].hovertext[0]


def test_nothing_measured_yet_is_said_in_words():
    empty = np.array([])
    assert loss_curves(empty, empty, 3, LIGHT).layout.title.text == "No epoch is finished yet"
    assert "No epoch" in alt_text(accuracy_curves(empty, empty, 3, LIGHT))


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (935, "935"), (999.6, "1.00 k"), (61706, "61.7 k"), (1_210_000, "1.21 M")],
)
def test_counts_have_three_digits(value, text):
    assert numbers.count(value) == text


@pytest.mark.parametrize(("value", "text"), [(812, "812 B"), (23_500_000, "23.5 MB")])
def test_sizes_have_three_digits(value, text):
    assert numbers.size(value) == text


def test_ratios_and_times_are_written_with_their_units():
    assert numbers.reduction(1000, 380) == "2.63x"
    assert numbers.reduction(1000, 10) == "100x"
    assert numbers.reduction(5, 0) == "all removed"
    assert [numbers.duration(s) for s in (0.42, 59.7, 185, 7800)] == [
        "0.4 s",
        "1 min 00 s",
        "3 min 05 s",
        "2 h 10 min",
    ]


class TestLayerMatrix:
    @pytest.fixture(scope="class")
    def lenet(self):
        from pruning_core import load_model, trace

        model = load_model("bundled:lenet_5")
        return model, trace(model.module, model.inputs)

    @pytest.fixture(scope="class")
    def plans(self, lenet):
        from pruning_core import Recipe, resolve, score

        model, network = lenet
        recipes = [
            Recipe(
                model=model.identity,
                granularity=granularity,
                scope="local",
                target={"kind": "ratio", "value": 0.5},
            )
            for granularity in ("weight", "unit")
        ]
        return [resolve(r, network, score(model, network, r)) for r in recipes]

    def test_marks_single_weights(self, lenet, plans):
        matrix = layer_matrix(lenet[1], "fc1.weight", plans[0], single_weights=True)
        assert matrix.values.shape == (500, 800)
        assert matrix.removed.mean() == 0.5

    def test_marks_rows_of_the_layer_and_columns_of_the_next(self, lenet, plans):
        network = lenet[1]
        conv = layer_matrix(network, "conv2.weight", plans[1], single_weights=False)
        assert conv.value == "kernel L1 norm"
        assert conv.values.shape == (50, 20)
        assert conv.removed.all(axis=1).sum() == 25
        assert conv.removed.all(axis=0).sum() == 10
        flat = layer_matrix(network, "fc1.weight", plans[1], single_weights=False)
        assert flat.removed.all(axis=0).sum() == 25 * 16

    def test_kernels_are_summed_as_their_l1_norm(self, lenet):
        network = lenet[1]
        matrix = layer_matrix(network, "conv2.weight", single_weights=False)
        weight = network.tensor("conv2.weight").detach().numpy()
        assert np.allclose(matrix.values, np.abs(weight).sum(axis=(2, 3)), rtol=1e-6)
        assert not matrix.removed.any()

    def test_lists_the_matrices_of_coupled_layers(self, lenet):
        assert parameters_of(lenet[1], ("conv1", "conv2")) == ("conv1.weight", "conv2.weight")


def test_a_round_that_fell_is_marked_by_its_shape_and_named():
    figure = round_curve(np.array([0.3, 0.5]), np.array([0.9, 0.7]), [True, False], 5, LIGHT)
    held, fell = figure.data
    assert (held.marker.symbol, fell.marker.symbol) == ("circle", "x")
    assert (tuple(held.x), tuple(fell.x), tuple(fell.customdata)) == ((30.0,), (50.0,), (2,))
    assert figure.layout.title.text == "Accuracy fell too far in round 2; round 1 held it"
    shares, accuracy = np.array([0.3, 0.6, 0.5]), np.array([0.9, 0.5, 0.8])
    adaptive = round_curve(shares, accuracy, [True, False, True], 5, LIGHT)
    assert tuple(adaptive.data[0].x) == (30.0, 50.0)
    assert "50.0 % removed; 1 fell too far and was undone" in adaptive.layout.title.text
    first = round_curve(np.array([0.3]), np.array([0.7]), [False], 5, LIGHT)
    assert "no round held it" in alt_text(first)


def test_runs_of_a_group_are_told_apart_without_colour_and_the_title_says_who_is_ahead():
    levels = {"a": [0.5, 0.6], "b": [0.5, 0.9, 0.1], "c": [0.5, 0.7], "d": [0.5, 0.8]}
    curves = {name: np.array(values) for name, values in levels.items()}
    figure = group_curves(curves, 3, LIGHT)
    assert len({(line.line.dash, line.marker.symbol) for line in figure.data}) == 4
    assert figure.layout.title.text == "After epoch 2: b ahead with 90.00 %"
    assert "Not every run" in alt_text(group_curves({"a": np.array([])}, 3, LIGHT))


def test_the_histogram_of_sparse_training_has_a_bar_for_zero_and_says_its_share():
    edges = np.logspace(-2, 0, 3)  # 0.01, 0.1, 1
    now = np.array([6, 0, 1, 3, 0])
    before = np.array([0, 0, 5, 5, 0])
    figure = size_histogram(edges, before, now, LIGHT, things="weights", size="size", epoch=1)
    assert (
        figure.layout.title.text
        == "60.0 % of the weights are zero after 1 epoch of sparse training"
    )
    zero, others, line = figure.data
    assert list(zero.y) == [60.0]
    assert list(others.y) == [0.0, 10.0, 30.0, 0.0]
    assert list(line.y) == [0.0, 0.0, 50.0, 50.0, 0.0]
    assert bin_names(edges) == ["exactly 0", "below 0.01", "0.01 to 0.1", "0.1 to 1", "above 1"]
    places, step = bin_places(edges)
    assert (step, places[2:].tolist()) == (1.0, [-1.5, -0.5, 0.5])
    assert places[0] < places[1] == -2.5


def test_where_no_class_moved_none_is_named():
    figure = recall_change(CLASSES, SHARES, SHARES, LIGHT, after_name="fine-tuned")
    assert "Recall is the same in every class" in figure.layout.title.text
    moved = SHARES + np.eye(len(SHARES))[3] * 0.25
    figure = recall_change(CLASSES, SHARES, moved, LIGHT, after_name="fine-tuned")
    assert "class 3 moved most: +25.0 points" in figure.layout.title.text
