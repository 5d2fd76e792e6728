"""One channel of a residual network: everything that has to leave with it, and why."""

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
from pruning_core.planning.recipe import Picks, Recipe

_MODEL = "bundled:resnet_8"
_ASKED = "conv1"


def _measure() -> Measuring:
    from pruning_core.tracing.coupling import coupling_paths

    network = lab.subject(_MODEL).network
    groups = {}
    for place, group in enumerate(network.groups):
        yield place / len(network.groups), group.name
        paths = coupling_paths(network, group)
        owners = {name: layer.name for layer in network.layers for name in layer.parameters}
        weights = [
            member
            for member in group.members
            if member.parameter in owners and network.tensor(member.parameter).ndim > 1
        ]
        before = lab.preview(Recipe(model=_MODEL)).before
        picked = Recipe(model=_MODEL, granularity="unit", picks={group.name: Picks(prune=(0,))})
        after = lab.preview(picked).after
        sizes, reasons = [], []
        for member in weights:
            tensor = network.tensor(member.parameter)
            sizes.append(tensor.numel() // tensor.shape[member.axis] * member.per_unit)
            path = paths[member.parameter, member.axis]
            reasons.append(path[-1].sentence if path else "")
        groups[group.name] = {
            "units": group.n_units,
            "names": [member.parameter.removesuffix(".weight") for member in weights],
            "sides": ["in" if member.axis == 1 else "out" for member in weights],
            "sizes": sizes,
            "reasons": reasons,
            "n": len({owners[member.parameter] for member in weights}),
            "left": before.params - after.params,
            "macs": before.macs - after.macs,
        }
    return {"groups": groups, "asked": groups[_ASKED]["n"], "dense": before.params}


def _act(facts: Facts, value: str) -> Facts:
    own = facts["groups"][value]
    return {
        "group": value,
        "first": max(zip(own["sizes"], own["names"], strict=True))[1],
        "n_layers": own["n"],
        "n_weights": sum(own["sizes"]),
        "n_others": own["left"] - sum(own["sizes"]),
        "left": own["left"],
        "macs": own["macs"],
        "units": own["units"],
    }


def _pictures(scene: Scene) -> Sequence[Picture]:
    if not scene.revealed:
        return []
    own, words = scene.facts["groups"][scene.value], scene.words
    labels = [
        f"{name} · {words(f'pictures.{side}')}"
        for name, side in zip(own["names"], own["sides"], strict=True)
    ]
    series = [Series(words("pictures.together.x"), own["sizes"], look=1)]
    found = pictures.bars(scene, "together", labels, series, form=",.0f")
    table = {**found.table, words("pictures.reason"): own["reasons"]}
    return [Picture(found.name, found.figure, table)]


def _recipe(facts: Facts) -> Recipe:
    return Recipe(model=_MODEL, granularity="unit", picks={facts["group"]: Picks(prune=(0,))})


LESSONS.add(
    "coupling",
    Lesson(
        key="coupling",
        is_exact=True,
        chapter="granularity",
        place=70,
        sources=("Li et al. 2017, arXiv:1608.08710", "Fang et al. 2023, arXiv:2301.12900"),
        guess=Number(low=1, high=10, step=1, start=1, near=0.5),
        do=Choice(("conv1", "blocks.0.conv1", "blocks.1.conv2", "blocks.2.conv2"), literal=True),
        measure=_measure,
        act=_act,
        truth=lambda facts: facts["asked"],
        pictures=_pictures,
        check=Check(
            Number(low=0, high=20, step=1, start=0, near=0.5), lambda facts: facts["n_layers"]
        ),
        recipe=_recipe,
        expected=("asked", "dense"),
    ),
)
