"""Parameters and multiply-accumulates lie in different layers."""

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
from pruning_core.planning.recipe import Recipe

_MODELS = ("lenet_5", "lenet_300_100", "resnet_8")
_LAYERS = ("conv1", "conv2", "fc1", "fc2")


def _measure() -> Measuring:
    found = {}
    for place, name in enumerate(_MODELS):
        yield place / len(_MODELS), name
        network = lab.subject(f"bundled:{name}").network
        layers = [layer for layer in network.layers if layer.macs]
        found[name] = {
            "layers": [layer.name for layer in layers],
            "params": [layer.n_params for layer in layers],
            "macs": [layer.macs for layer in layers],
            "all_params": sum(layer.n_params for layer in network.layers),
        }
    return {"models": found, "answer": _most(found["lenet_5"], "macs")}


def _most(found: Facts, what: str) -> str:
    return str(max(zip(found[what], found["layers"], strict=True))[1])


def _act(facts: Facts, value: str) -> Facts:
    own = facts["models"][value]
    by_params, by_macs = _most(own, "params"), _most(own, "macs")
    place, heavy = own["layers"].index(by_params), own["layers"].index(by_macs)
    macs = sum(own["macs"])
    return {
        "model": value,
        "by_params": by_params,
        "by_macs": by_macs,
        "params": own["all_params"],
        "macs": macs,
        "params_share": 100 * own["params"][place] / own["all_params"],
        "params_macs": 100 * own["macs"][place] / macs,
        "macs_share": 100 * own["macs"][heavy] / macs,
        "macs_params": 100 * own["params"][heavy] / own["all_params"],
    }


def _pictures(scene: Scene) -> Sequence[Picture]:
    if not scene.revealed:
        return []
    own = scene.facts["models"][scene.value]
    params, macs = scene.facts["params"], scene.facts["macs"]
    series = [
        Series(scene.words("pictures.params"), [100 * x / params for x in own["params"]], look=2),
        Series(scene.words("pictures.macs"), [100 * x / macs for x in own["macs"]], look=0),
    ]
    return [pictures.bars(scene, "shares", own["layers"], series, x_range=(0, 115))]


def _recipe(facts: Facts) -> Recipe:
    return Recipe(model=f"bundled:{facts['model']}", granularity="unit")


LESSONS.add(
    "cost",
    Lesson(
        key="cost",
        is_exact=True,
        chapter="why",
        place=10,
        sources=("LeCun et al. 1998, Proc. IEEE 86(11)", "Han et al. 2015, arXiv:1506.02626"),
        guess=Choice(_LAYERS, literal=True),
        do=Choice(_MODELS),
        measure=_measure,
        act=_act,
        truth=lambda facts: facts["answer"],
        pictures=_pictures,
        check=Check(
            Number(low=0, high=100, step=1, start=50, near=2), lambda facts: facts["params_macs"]
        ),
        recipe=_recipe,
        expected=("answer",),
    ),
)
