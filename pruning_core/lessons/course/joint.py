"""Sensitivities do not add: three safe cuts together."""

from collections.abc import Sequence

from pruning_core.figures.teaching import Series
from pruning_core.lessons import lab, pictures
from pruning_core.lessons.lesson import (
    LESSONS,
    Check,
    Facts,
    Lesson,
    Measuring,
    Number,
    Picture,
    Scene,
)
from pruning_core.planning.recipe import LayerTarget, Ratio, Recipe

_MODEL = "bundled:lenet_300_100"
_LAYERS = ("fc1", "fc2", "fc3")
_RATIOS = (50, 60, 70, 80, 90)
_ASKED = 80


def _planned(layers: Sequence[str], percent: int) -> Recipe:
    targets: dict[str, LayerTarget] = {name: Ratio(value=percent / 100) for name in layers}
    return Recipe(model=_MODEL, layers=targets)


def _measure() -> Measuring:
    dense = lab.dense(_MODEL)
    lost: dict[str, list[float]] = {name: [] for name in (*_LAYERS, "joint")}
    done = 0
    for percent in _RATIOS:
        for name, curve in lost.items():
            layers = _LAYERS if name == "joint" else (name,)
            curve.append(round(dense - lab.right(_planned(layers, percent)), 4))
            done += 1
            yield done / (len(_RATIOS) * len(lost)), name
    place = _RATIOS.index(_ASKED)
    return {
        "ratios": list(_RATIOS),
        "lost": lost,
        "dense": dense,
        "n": lab.accuracy(Recipe(model=_MODEL)).n,
        "asked": _ASKED,
        "asked_joint": lost["joint"][place],
        **{f"alone_{name}": lost[name][place] for name in _LAYERS},
    }


def _act(facts: Facts, value: float) -> Facts:
    place = facts["ratios"].index(round(value))
    alone = {name: facts["lost"][name][place] for name in _LAYERS}
    joint, total = facts["lost"]["joint"][place], sum(alone.values())
    return {"ratio": value, **alone, "joint": joint, "total": total, "more": joint - total}


def _pictures(scene: Scene) -> Sequence[Picture]:
    words, facts = scene.words, scene.facts
    labels = [*_LAYERS]
    values = [facts[name] for name in _LAYERS]
    if scene.revealed:
        labels += [words("pictures.total"), words("pictures.together")]
        values += [facts["total"], facts["joint"]]
    series = [Series(words("pictures.lost.x"), values, look=1)]
    return [pictures.bars(scene, "lost" if scene.revealed else "alone", labels, series)]


def _recipe(facts: Facts) -> Recipe:
    return _planned(_LAYERS, round(facts["ratio"]))


LESSONS.add(
    "joint",
    Lesson(
        key="joint",
        chapter="criteria",
        place=140,
        sources=("Han et al. 2015, arXiv:1506.02626", "Liu et al. 2021, arXiv:2108.00708"),
        guess=Number(low=0, high=90, step=1, start=10, near=3),
        do=Number(low=50, high=90, step=10, start=50, near=0),
        measure=_measure,
        act=_act,
        truth=lambda facts: facts["asked_joint"],
        pictures=_pictures,
        check=Check(
            Number(low=-50, high=90, step=0.1, start=0, near=0.5), lambda facts: facts["more"]
        ),
        recipe=_recipe,
        expected=("dense", "n", "asked", "asked_joint", *(f"alone_{name}" for name in _LAYERS)),
        reached=lambda facts: facts["ratio"] == facts["asked"],
        is_long=True,
    ),
)
