"""One threshold for all layers: which layer it nearly empties, and what normalising changes."""

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
from pruning_core.planning.recipe import Ratio, Recipe

_MODEL = "bundled:cnn_digits"
_LAYERS = ("conv1", "conv2", "fc1")
_ASKED = 50


def _planned(percent: float, way: str) -> Recipe:
    return Recipe(
        model=_MODEL,
        granularity="unit",
        scope="local" if way == "local" else "global",
        normalise="mean" if way == "mean" else "none",
        target=Ratio(value=percent / 100),
    )


def _kept(percent: float, way: str) -> dict[str, int]:
    plan = lab.plan(_planned(percent, way))
    return {name: int(plan.keep[name].sum()) for name in _LAYERS}


def _measure() -> Measuring:
    yield 0.5, ""
    network = lab.subject(_MODEL).network
    units = {group.name: group.n_units for group in network.groups}
    kept = _kept(_ASKED, "global")
    return {
        "units": units,
        "asked": _ASKED,
        "answer": min(_LAYERS, key=lambda name: kept[name] / units[name]),
        "asked_kept": kept["conv1"],
        "asked_units": units["conv1"],
    }


def _act(facts: Facts, value: float) -> Facts:
    ways = {way: _kept(value, way) for way in ("global", "mean", "local")}
    units = facts["units"]
    shares = {
        way: [100 * kept[name] / units[name] for name in _LAYERS] for way, kept in ways.items()
    }
    return {
        "ratio": value,
        "shares": shares,
        "conv1_kept": ways["global"]["conv1"],
        "conv1_units": units["conv1"],
        "conv1_share": shares["global"][0],
        "mean_kept": ways["mean"]["conv1"],
        "local_kept": ways["local"]["conv1"],
    }


def _pictures(scene: Scene) -> Sequence[Picture]:
    words, shares = scene.words, scene.facts["shares"]
    ways = ("global", "mean", "local") if scene.revealed else ("local",)
    looks = {"global": 1, "mean": 0, "local": 2}
    series = [Series(words(f"pictures.{way}"), shares[way], look=looks[way]) for way in ways]
    name = "kept" if scene.revealed else "even"
    return [pictures.bars(scene, name, list(_LAYERS), series, x_range=(0, 118))]


def _recipe(facts: Facts) -> Recipe:
    return _planned(facts["ratio"], "global")


LESSONS.add(
    "scope",
    Lesson(
        key="scope",
        is_exact=True,
        chapter="criteria",
        place=110,
        sources=("Tanaka et al. 2020, arXiv:2006.05467", "Lee et al. 2021, arXiv:2010.07611"),
        guess=Choice(_LAYERS, literal=True),
        do=Number(low=0, high=80, step=10, start=0, near=0),
        measure=_measure,
        act=_act,
        truth=lambda facts: facts["answer"],
        pictures=_pictures,
        check=Check(
            Number(low=0, high=16, step=1, start=0, near=0.5), lambda facts: facts["conv1_kept"]
        ),
        recipe=_recipe,
        expected=("asked", "answer", "asked_kept", "asked_units"),
        reached=lambda facts: facts["ratio"] == facts["asked"],
    ),
)
