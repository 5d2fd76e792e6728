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

_MODEL = "bundled:lenet_300_100"
_LAYER, _NEXT = "fc2", "fc3"
_CRITERIA = ("mean_output", "outgoing_weight")
_N = 100
_GONE = (0, 10, 20, 30, 40, 50, 60, 70, 80)
_ASKED, _WANTED = 40, 8
_SHOWN = 32


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
    row, column = (lab.weight(_MODEL, f"{name}.weight").shape for name in (_LAYER, _NEXT))
    scores, curves = {}, {}
    for place, criterion in enumerate(_CRITERIA):
        yield 0.5 * place, criterion
        own = lab.scores(_ranked(criterion, 0)).by_site[_LAYER]
        scores[criterion] = lab.rounded(own.tolist(), 6)
        curves[criterion] = [lab.carried_out(_ranked(criterion, gone)) for gone in _GONE]
    asked = {criterion: curves[criterion][_GONE.index(_ASKED)] for criterion in _CRITERIA}
    best = max(asked, key=lambda criterion: asked[criterion])
    return {
        "row": int(row[1]),
        "column": int(column[0]),
        "units": int(row[0]),
        "one": _left(_picked([0])),
        "params": lab.preview(Recipe(model=_MODEL)).before.params,
        "scores": scores,
        "curves": {criterion: lab.rounded(curve) for criterion, curve in curves.items()},
        "counts": list(_GONE),
        "silent": sum(score == 0 for score in scores["mean_output"]),
        "asked": _ASKED,
        "wanted": _WANTED,
        "dense": curves[best][0],
        "n": len(lab.subject(_MODEL).data.test),
        "answer": best if len(set(asked.values())) > 1 else "same",
        "asked_output": asked["mean_output"],
        "asked_outgoing": asked["outgoing_weight"],
    }


def _act(facts: Facts, value: Sequence[int]) -> Facts:
    neurons = list(value)[: facts["units"] - 1]  # one stays: a layer cannot be empty
    return {
        "neurons": neurons,
        "gone": len(neurons),
        "left": _left(_picked(neurons)),
        "own_acc": lab.carried_out(_picked(neurons)),
    }


def _matrices(scene: Scene) -> Picture:
    """Draw the row, the bias and the column of every neuron that leaves."""
    from pruning_core.figures import teaching
    from pruning_core.figures.canvas import Caption

    words, facts = scene.words, scene.facts
    neurons = facts["neurons"]
    values = [
        np.abs(lab.weight(_MODEL, f"{_LAYER}.weight"))[:, :_SHOWN],
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
            for name, own, gone, width in zip(names, values, removed, (0.3, 0.1, 0.6), strict=True)
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
        words("pictures.matrices.gone"): [
            facts["gone"] * each for each in (facts["row"], 1, facts["column"])
        ],
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
        series = [
            Series(
                words("pictures.predicted", name=words(f"guess.options.{criterion}"))
                if criterion == scene.guess
                else words(f"guess.options.{criterion}"),
                facts["curves"][criterion],
                facts["counts"],
                look,
            )
            for criterion, look in zip(_CRITERIA, (1, 0), strict=True)
        ]
        own = ([facts["own_acc"]], [facts["gone"]])
        axes = ((-1, max(facts["counts"]) + 1), (0, 100))
        found.insert(0, pictures.curves(scene, "kept", series, axes, guess=own))
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
        guess=Choice((*_CRITERIA, "same")),
        do=Members(_N),
        measure=_measure,
        act=_act,
        truth=lambda facts: facts["answer"],
        pictures=_pictures,
        check=Check(
            Number(low=0, high=_N * 400, step=1, start=0, near=0.5), lambda facts: facts["left"]
        ),
        recipe=_recipe,
        expected=(
            *("one", "row", "column", "params", "silent", "dense", "n"),
            *("answer", "asked", "asked_output", "asked_outgoing"),
        ),
        reached=lambda facts: facts["gone"] >= facts["wanted"],
        is_long=True,
    ),
)
