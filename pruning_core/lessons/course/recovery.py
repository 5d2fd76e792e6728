"""Fine-tuning: how much comes back, and what the learning rate has to do with it."""

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
    Number,
    Picture,
    Scene,
)
from pruning_core.planning.recipe import Ratio, Recipe, Tuning

_MODEL = "bundled:cnn_digits"
_RATES = ("0.0001", "0.001", "0.01", "0.1")
_ASKED = "0.001"
_EPOCHS = 6
_RATIO = 0.9


def _planned(rate: str) -> Recipe:
    return Recipe(
        model=_MODEL,
        scope="local",
        target=Ratio(value=_RATIO),
        tuning=Tuning(
            epochs=_EPOCHS,
            learning_rate=float(rate),
            batch_size=32,
            learning_rate_schedule="constant",
        ),
    )


def _measure() -> Measuring:
    curves = {}
    for place, rate in enumerate(_RATES):
        recipe = _planned(rate)
        pruned = lab.pruned(recipe)
        curves[rate] = [round(lab.tested(pruned.module, _MODEL), 4)]
        for accuracy in lab.trained(pruned.module, _MODEL, recipe.tuning, masks=pruned.masks):
            curves[rate].append(round(accuracy, 4))
            yield (place + len(curves[rate]) / (_EPOCHS + 1)) / len(_RATES), rate
    best = max(_RATES, key=lambda rate: curves[rate][-1])
    return {
        "curves": curves,
        "epochs": _EPOCHS,
        "dense": lab.tested(lab.subject(_MODEL).model.module, _MODEL),
        "pruned": curves[_ASKED][0],
        "asked": curves[_ASKED][-1],
        "best": best,
        "best_acc": curves[best][-1],
        "ratio": 100 * _RATIO,
        "n": len(lab.subject(_MODEL).data.test),
    }


def _act(facts: Facts, value: str) -> Facts:
    curve = facts["curves"][value]
    return {
        "rate": value,
        "first": curve[1],
        "last": curve[-1],
        "gain": curve[-1] - curve[0],
        "missing": facts["dense"] - curve[-1],
    }


def _pictures(scene: Scene) -> Sequence[Picture]:
    if not scene.revealed:
        return []
    facts = scene.facts
    epochs = list(range(facts["epochs"] + 1))
    series = [
        Series(rate, facts["curves"][rate], epochs, look)
        for look, rate in ((2, "0.0001"), (0, "0.001"), (3, "0.01"), (1, "0.1"))
    ]
    guess = ([scene.guess], [facts["epochs"]])
    return [pictures.curves(scene, "epochs", series, (None, (0, 102)), guess=guess)]


def _recipe(facts: Facts) -> Recipe:
    return _planned(facts["rate"])


LESSONS.add(
    "recovery",
    Lesson(
        key="recovery",
        chapter="recovery",
        place=150,
        sources=("Han et al. 2015, arXiv:1506.02626", "Renda et al. 2020, arXiv:2003.02389"),
        guess=Number(low=0, high=100, step=1, start=50, near=4),
        do=Choice(_RATES, literal=True),
        measure=_measure,
        act=_act,
        truth=lambda facts: facts["asked"],
        pictures=_pictures,
        check=Check(Choice(_RATES, literal=True), lambda facts: facts["best"]),
        recipe=_recipe,
        expected=("dense", "pruned", "asked", "best", "best_acc", "n", "curves"),
        is_long=True,
    ),
)
