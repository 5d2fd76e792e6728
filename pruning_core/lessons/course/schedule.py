"""One shot, rounds, or gradually: the same sparsity and the same epochs, three ways there."""

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
    Order,
    Picture,
    Scene,
)
from pruning_core.planning.pace import gone_at
from pruning_core.planning.recipe import Ratio, Recipe, Schedule, Tuning

_MODEL = "bundled:mlp_digits"
_WAYS = ("oneshot", "rounds", "gradual")
_SPARSITIES = ("90", "95", "98")
_ASKED = "98"
_EPOCHS, _ROUNDS, _STEPS = 20, 4, 10
_SEEDS = (0, 1, 2)
_SCHEDULES = {
    "oneshot": Schedule(),
    "rounds": Schedule(rounds=_ROUNDS, shape="linear"),
    "gradual": Schedule(
        rounds=_STEPS, shape="cubic", gradual=True, last_epochs=_EPOCHS - _STEPS + 1
    ),
}
_EACH = {"oneshot": _EPOCHS, "rounds": _EPOCHS // _ROUNDS, "gradual": 1}


def _planned(way: str, sparsity: str, seed: int = 0) -> Recipe:
    return Recipe(
        model=_MODEL,
        target=Ratio(value=int(sparsity) / 100),
        schedule=_SCHEDULES[way],
        tuning=Tuning(
            epochs=_EACH[way],
            learning_rate=3e-3,
            learning_rate_schedule="constant",
            batch_size=32,
        ),
        seed=seed,
    )


def _measure() -> Measuring:
    found: dict[str, dict[str, dict[str, list[float]]]] = {}
    n_trained, done = _EPOCHS * len(_SEEDS) * len(_WAYS) * len(_SPARSITIES), 0
    for sparsity in _SPARSITIES:
        found[sparsity] = {}
        for way in _WAYS:
            curves: list[list[float]] = []
            for seed in _SEEDS:
                moments = []
                for moment in lab.scheduled(_planned(way, sparsity, seed)):
                    moments.append(moment)
                    yield (done + moment.epoch) / n_trained, f"{way} {sparsity} %"
                done += _EPOCHS
                curves.append([moment.accuracy for moment in moments])
            ends = [curve[-1] for curve in curves]
            found[sparsity][way] = {
                "epochs": [moment.epoch for moment in moments],
                "gone": lab.rounded([100 * moment.gone for moment in moments]),
                "accuracy": lab.rounded([sum(own) / len(own) for own in zip(*curves, strict=True)]),
                "ends": lab.rounded(ends),
            }
    last = {way: found[_ASKED][way]["accuracy"][-1] for way in _WAYS}
    return {
        "curves": found,
        "epochs": _EPOCHS,
        "rounds": _ROUNDS,
        "steps": _STEPS,
        "seeds": len(_SEEDS),
        "asked": _ASKED,
        "dense": lab.tested(lab.subject(_MODEL).model.module, _MODEL),
        "n": len(lab.subject(_MODEL).data.test),
        "order": sorted(_WAYS, key=lambda way: -last[way]),
        **{f"asked_{way}": value for way, value in last.items()},
    }


def _act(facts: Facts, value: str) -> Facts:
    ends = {way: facts["curves"][value][way]["ends"] for way in _WAYS}
    last = {way: facts["curves"][value][way]["accuracy"][-1] for way in _WAYS}
    final = int(value) / 100
    return {
        "sparsity": int(value),
        **last,
        **{f"{way}_low": min(own) for way, own in ends.items()},
        **{f"{way}_high": max(own) for way, own in ends.items()},
        "gap": last["gradual"] - last["oneshot"],
        "first": facts["curves"][value]["oneshot"]["accuracy"][0],
        "half": 100 * gone_at(_SCHEDULES["gradual"], 0.5, final),
        "before_last": 100 * final * (1 - 1 / _ROUNDS),
        "last_step": 100 * final / _ROUNDS,
        "last_of_left": 100 * final / _ROUNDS / (1 - final * (1 - 1 / _ROUNDS)),
        "last_epochs": _EPOCHS // _ROUNDS,
    }


def _curves(scene: Scene, what: str, before: float) -> list[Series]:
    """Return a line a way: where something is pruned it has two values, before and after."""
    places = {way: place for place, way in enumerate(scene.guess or (), start=1)}
    found = []
    for way, look in (("oneshot", 1), ("rounds", 3), ("gradual", 0)):
        own = scene.facts["curves"][scene.value][way]
        name = scene.words(f"guess.options.{way}")
        if scene.revealed and places:
            name = scene.words("pictures.place", name=name, place=places[way])
        found.append(Series(name, [before, *own[what]], [0, *own["epochs"]], look))
    return found


def _pictures(scene: Scene) -> Sequence[Picture]:
    words, facts = scene.words, scene.facts
    span = (-0.3, facts["epochs"] + 0.3)
    found = [
        pictures.curves(scene, "gone", _curves(scene, "gone", 0.0), (span, (-2, 104))),
    ]
    if scene.revealed:
        series = _curves(scene, "accuracy", facts["dense"])
        found.append(pictures.curves(scene, "accuracy", series, (span, (0, 102))))
        ends = [
            Series(
                words("pictures.ends.x"),
                [facts[way] for way in _WAYS],
                spread=[(facts[f"{way}_low"], facts[f"{way}_high"]) for way in _WAYS],
            )
        ]
        labels = [words(f"guess.options.{way}") for way in _WAYS]
        found.append(pictures.bars(scene, "ends", labels, ends, x_range=(0, 115)))
    return found


def _recipe(facts: Facts) -> Recipe:
    return _planned("gradual", str(facts["sparsity"]))


LESSONS.add(
    "schedule",
    Lesson(
        key="schedule",
        chapter="recovery",
        place=160,
        sources=(
            "Zhu and Gupta 2017, arXiv:1710.01878",
            "Han et al. 2015, arXiv:1506.02626",
            "Gale et al. 2019, arXiv:1902.09574",
        ),
        guess=Order(_WAYS),
        do=Choice(_SPARSITIES, literal=True),
        measure=_measure,
        act=_act,
        truth=lambda facts: facts["order"],
        pictures=_pictures,
        check=Check(
            Number(low=0, high=100, step=0.1, start=0, near=0.6), lambda facts: facts["half"]
        ),
        recipe=_recipe,
        expected=("dense", "n", "seeds", "order", *(f"asked_{way}" for way in _WAYS)),
        is_long=True,
    ),
)
