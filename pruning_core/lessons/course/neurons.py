"""Neurons of an MLP: which row and which column leave with one, and which of them can go."""

from collections.abc import Sequence

import numpy as np

from pruning_core.figures.teaching import Series
from pruning_core.lessons import lab, pictures
from pruning_core.lessons.lesson import (
    LESSONS,
    Check,
    Choice,
    Facts,
    Lesson,
    Measuring,
    Members,
    Number,
    Picture,
    Scene,
)
from pruning_core.planning.recipe import Count, Picks, Recipe

_MODEL = "bundled:mlp_digits"
_LAYER, _NEXT = "fc2", "fc3"
_CRITERIA = ("mean_output", "outgoing_weight")
_N = 64
_WANTED = 8


def _ranked(criterion: str, n_gone: int) -> Recipe:
    return Recipe(
        model=_MODEL,
        granularity="unit",
        criterion=criterion,
        layers={_LAYER: Count(value=n_gone)},
    )


def _picked(neurons: Sequence[int]) -> Recipe:
    picks = {_LAYER: Picks(prune=tuple(neurons))} if neurons else {}
    return Recipe(model=_MODEL, granularity="unit", picks=picks)


def _left(recipe: Recipe) -> int:
    """Return how many parameters leave."""
    counted = lab.preview(recipe)
    return counted.before.params - counted.after.params


def _measure() -> Measuring:
    yield 0.2, _LAYER
    row, column = (lab.weight(_MODEL, f"{name}.weight").shape for name in (_LAYER, _NEXT))
    scores = {
        criterion: lab.rounded(lab.scores(_ranked(criterion, 0)).by_site[_LAYER].tolist(), 6)
        for criterion in _CRITERIA
    }
    yield 0.6, _LAYER
    return {
        "row": int(row[1]),
        "column": int(column[0]),
        "units": int(row[0]),
        "one": _left(_picked([0])),
        "params": lab.preview(Recipe(model=_MODEL)).before.params,
        "scores": scores,
        "wanted": _WANTED,
        "dense": lab.carried_out(Recipe(model=_MODEL)),
        "n": len(lab.subject(_MODEL).data.test),
    }


def _act(facts: Facts, value: Sequence[int]) -> Facts:
    neurons = list(value)[: facts["units"] - 1]  # one stays: a layer cannot be empty
    n_gone = len(neurons)
    by = {criterion: lab.carried_out(_ranked(criterion, n_gone)) for criterion in _CRITERIA}
    best = max(by, key=lambda criterion: by[criterion])
    return {
        "neurons": neurons,
        "gone": n_gone,
        "left": _left(_picked(neurons)),
        "own_acc": lab.carried_out(_picked(neurons)),
        "output_acc": by["mean_output"],
        "outgoing_acc": by["outgoing_weight"],
        "winner": best if len(set(by.values())) > 1 else "same",
    }


def _matrices(scene: Scene) -> Picture:
    """Draw the row, the bias and the column of every neuron that leaves."""
    from pruning_core.figures import teaching
    from pruning_core.figures.canvas import Caption

    words, facts = scene.words, scene.facts
    neurons = facts["neurons"]
    values = [
        np.abs(lab.weight(_MODEL, f"{_LAYER}.weight")),
        np.abs(lab.weight(_MODEL, f"{_LAYER}.bias"))[:, None],
        np.abs(lab.weight(_MODEL, f"{_NEXT}.weight")),
    ]
    removed = [np.zeros(one.shape, np.bool_) for one in values]
    removed[0][neurons] = removed[1][neurons] = True
    removed[2][:, neurons] = True
    names = [words(f"pictures.matrices.{part}") for part in ("row", "bias", "column")]
    figure = teaching.cells(
        [
            teaching.Panel(name, own, gone, width)
            for name, own, gone, width in zip(
                names, values, removed, (0.5, 0.12, 0.38), strict=True
            )
        ],
        Caption(
            words("pictures.matrices.finding", gone=facts["gone"], units=facts["units"]),
            words("pictures.matrices.subject"),
        ),
        scene.colours,
        across=words("pictures.matrices.x"),
        down=words("pictures.matrices.y"),
    )
    table = {
        "": names,
        words("pictures.matrices.shape"): [" x ".join(map(str, one.shape)) for one in values],
        words("pictures.matrices.gone"): [int(gone.sum()) for gone in removed],
    }
    return Picture("matrices", figure, table)


def _neurons(scene: Scene) -> Picture:
    """Draw each neuron where its two scores are."""
    from pruning_core.figures import teaching
    from pruning_core.figures.canvas import Caption

    words, facts = scene.words, scene.facts
    output, outgoing = (facts["scores"][criterion] for criterion in _CRITERIA)
    out = set(facts["neurons"])
    series = [
        Series(
            words(f"pictures.neurons.{name}"),
            [outgoing[unit] for unit in units],
            [output[unit] for unit in units],
            look,
            labels=[str(unit) for unit in units],
        )
        for name, look, units in (
            ("stay", 0, [unit for unit in range(facts["units"]) if unit not in out]),
            ("leave", 1, sorted(out)),
        )
        if units
    ]
    x, y = words("pictures.neurons.x"), words("pictures.neurons.y")
    figure = teaching.points(
        series,
        teaching.Axes(x, y),
        Caption(words("pictures.neurons.finding"), words("pictures.neurons.subject")),
        scene.colours,
    )
    places = list(range(facts["units"]))
    table = {
        words("pictures.neurons.neuron"): places,
        x: output,
        y: outgoing,
        words("pictures.neurons.leave"): [unit in out for unit in places],
    }
    return Picture("neurons", figure, table)


def _pictures(scene: Scene) -> Sequence[Picture]:
    words, facts = scene.words, scene.facts
    found = [_matrices(scene), _neurons(scene)]
    if scene.revealed:
        parts = ("one", "row", "bias", "column")
        sizes = [facts["one"], facts["row"], 1, facts["column"]]
        labels = [words(f"pictures.count.{part}") for part in parts]
        series = [Series(words("pictures.count.x"), sizes)]
        guess = [scene.guess]
        found.insert(0, pictures.bars(scene, "count", labels, series, form=",.0f", guess=guess))
        labels = [words(f"pictures.kept.{name}") for name in ("own", *_CRITERIA)]
        kept = [facts["own_acc"], facts["output_acc"], facts["outgoing_acc"]]
        found.insert(
            1,
            pictures.bars(
                scene, "kept", labels, [Series(words("pictures.kept.x"), kept)], x_range=(0, 115)
            ),
        )
    return found


def _recipe(facts: Facts) -> Recipe:
    return _picked(facts["neurons"])


LESSONS.add(
    "neurons",
    Lesson(
        key="neurons",
        chapter="granularity",
        place=60,
        sources=(
            "He et al. 2014, doi:10.1109/ICASSP.2014.6853595",
            "Molchanov et al. 2017, arXiv:1611.06440",
        ),
        guess=Number(low=0, high=300, step=1, start=64, near=0.5),
        do=Members(_N),
        measure=_measure,
        act=_act,
        truth=lambda facts: facts["one"],
        pictures=_pictures,
        check=Check(Choice((*_CRITERIA, "same")), lambda facts: facts["winner"]),
        recipe=_recipe,
        expected=("one", "row", "column", "params", "dense", "n"),
        reached=lambda facts: facts["gone"] >= facts["wanted"],
    ),
)
