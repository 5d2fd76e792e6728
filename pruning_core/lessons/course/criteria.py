"""Six criteria put the same channels in order: which of them agree."""

from collections.abc import Sequence

from pruning_core.figures.teaching import Series
from pruning_core.lessons import lab, pictures
from pruning_core.lessons.lesson import (
    LESSONS,
    Check,
    Choice,
    Facts,
    Lesson,
    Measuring,
    Picture,
    Scene,
)
from pruning_core.planning.recipe import Ratio, Recipe

_MODEL = "bundled:cnn_digits"
_LAYER = "conv2"
_CRITERIA = ("l1", "l2", "bn_scale", "taylor", "activation_mean", "apoz")
_PAIRS = ("l1-l2", "l1-bn_scale", "l1-taylor", "activation_mean-apoz")


def _planned(criterion: str) -> Recipe:
    return Recipe(
        model=_MODEL, granularity="unit", criterion=criterion, layers={_LAYER: Ratio(value=0.5)}
    )


def _measure() -> Measuring:
    from pruning_core.scoring.agreement import rank

    scores = {}
    for place, criterion in enumerate(_CRITERIA):
        yield place / len(_CRITERIA), criterion
        scores[criterion] = lab.scores(_planned(criterion))
    table = rank(scores, together=False, sites=[_LAYER]).correlation
    found = {
        one: {other: round(float(table[i, j]), 4) for j, other in enumerate(_CRITERIA)}
        for i, one in enumerate(_CRITERIA)
    }
    pairs = {pair: found[pair.split("-")[0]][pair.split("-")[1]] for pair in _PAIRS}
    return {
        "correlation": found,
        "accuracy": {one: lab.right(_planned(one)) for one in _CRITERIA},
        "dense": lab.dense(_MODEL),
        "n": lab.accuracy(Recipe(model=_MODEL)).n,
        "units": int(lab.plan(_planned("l1")).keep[_LAYER].size),
        "answer": max(pairs, key=lambda pair: pairs[pair]),
        "pairs": pairs,
        "l1_l2": found["l1"]["l2"],
        "l1_taylor": found["l1"]["taylor"],
    }


def _act(facts: Facts, value: str) -> Facts:
    others = {k: v for k, v in facts["correlation"][value].items() if k != value}
    far = min(others, key=lambda key: others[key])
    near = max(others, key=lambda key: others[key])
    accuracies = facts["accuracy"]
    return {
        "chosen": value,
        "far": far,
        "far_by": others[far],
        "near_by": others[near],
        "own_acc": accuracies[value],
        "low_acc": min(accuracies.values()),
        "high_acc": max(accuracies.values()),
    }


def _pictures(scene: Scene) -> Sequence[Picture]:
    if not scene.revealed:
        return []
    words, facts = scene.words, scene.facts
    others = [key for key in _CRITERIA if key != scene.value]
    others.sort(key=lambda key: -facts["correlation"][scene.value][key])
    labels = [words(f"do.options.{key}") for key in others]
    values = [facts["correlation"][scene.value][key] for key in others]
    series = [Series(words("pictures.agree.x"), values)]
    low = min(-0.1, *(value - 0.2 for value in values))
    agree = pictures.bars(scene, "agree", labels, series, form=".2f", x_range=(low, 1.2))
    labels = [words(f"do.options.{key}") for key in _CRITERIA]
    kept = [Series(words("pictures.kept.x"), [facts["accuracy"][key] for key in _CRITERIA])]
    return [agree, pictures.bars(scene, "kept", labels, kept, x_range=(0, 115))]


def _recipe(facts: Facts) -> Recipe:
    return _planned(facts["chosen"])


LESSONS.add(
    "criteria",
    Lesson(
        key="criteria",
        chapter="criteria",
        place=100,
        sources=(
            "Li et al. 2017, arXiv:1608.08710",
            "Liu et al. 2017, arXiv:1708.06519",
            "Molchanov et al. 2019, arXiv:1906.10771",
            "Hu et al. 2016, arXiv:1607.03250",
        ),
        guess=Choice(_PAIRS),
        do=Choice(_CRITERIA),
        measure=_measure,
        act=_act,
        truth=lambda facts: facts["answer"],
        pictures=_pictures,
        check=Check(Choice(_CRITERIA), lambda facts: facts["far"]),
        recipe=_recipe,
        expected=("answer", "pairs", "accuracy", "dense", "n", "units"),
        is_long=True,
    ),
)
