"""What trained weights look like: most of them are small."""

from collections.abc import Sequence

import numpy as np

from pruning_core.lessons import lab
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
from pruning_core.planning.recipe import Recipe, Threshold

_MODEL = "bundled:lenet_300_100"
_LAYERS = ("fc1", "fc2", "fc3")
_NEAR = 0.01
_EDGE = 0.25
_N_BINS = 100


def _measure() -> Measuring:
    layers = {}
    for place, name in enumerate(_LAYERS):
        yield place / len(_LAYERS), name
        values = lab.weight(_MODEL, f"{name}.weight").ravel()
        counts, edges = np.histogram(np.clip(values, -_EDGE, _EDGE), _N_BINS, (-_EDGE, _EDGE))
        layers[name] = {
            "n": int(values.size),
            "share": 100 * float((np.abs(values) < _NEAR).mean()),
            "std": float(values.std()),
            "within_std": 100 * float((np.abs(values) < values.std()).mean()),
            "counts": counts.tolist(),
            "middles": lab.rounded(((edges[1:] + edges[:-1]) / 2).tolist()),
        }
    return {"layers": layers, "limit": _NEAR, "asked": layers["fc1"]["share"]}


def _act(facts: Facts, value: str) -> Facts:
    own = facts["layers"][value]
    return {
        "layer": value,
        "zero_n": round(own["n"] * own["share"] / 100),
        **{k: own[k] for k in ("n", "share", "std", "within_std")},
    }


def _pictures(scene: Scene) -> Sequence[Picture]:
    from pruning_core.figures.teaching import Series
    from pruning_core.lessons.pictures import curves

    if not scene.revealed:
        return []
    series = []
    for look, name in ((2, "fc1"), (1, "fc2"), (3, "fc3")):
        own = scene.facts["layers"][name]
        shares = [100 * count / own["n"] for count in own["counts"]]
        series.append(Series(name, shares, own["middles"], 0 if name == scene.value else look))
    return [curves(scene, "spread", series, ((-_EDGE, _EDGE), None))]


def _recipe(facts: Facts) -> Recipe:
    return Recipe(model=_MODEL, layers={facts["layer"]: Threshold(value=_NEAR)})


LESSONS.add(
    "weights",
    Lesson(
        key="weights",
        is_exact=True,
        chapter="why",
        place=20,
        sources=("Han et al. 2015, arXiv:1506.02626", "MIT 6.5940, Lab 1, question 1"),
        guess=Number(low=0, high=100, step=1, start=50, near=4),
        do=Choice(_LAYERS, literal=True),
        measure=_measure,
        act=_act,
        truth=lambda facts: facts["asked"],
        pictures=_pictures,
        check=Check(
            Choice(_LAYERS, literal=True),
            lambda facts: min(facts["layers"], key=lambda name: facts["layers"][name]["std"]),
        ),
        recipe=_recipe,
        expected=("limit", "asked"),
    ),
)
