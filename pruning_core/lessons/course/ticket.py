"""A lottery ticket: one mask, four kinds of weights to begin with."""

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
from pruning_core.planning.recipe import Ratio, Recipe, Schedule, Tuning

_MODEL = "bundled:mlp_digits"
_WAYS = ("trained", "rewound", "fresh", "random")
_SPARSITIES = ("95", "90")
_ASKED = "95"
_SETTINGS = Tuning(epochs=30, learning_rate=1e-3, batch_size=32)


def _planned(sparsity: str, *, random: bool = False) -> Recipe:
    return Recipe(
        model=_MODEL,
        criterion="random" if random else "l1",
        scope="local" if random else "global",
        target=Ratio(value=int(sparsity) / 100),
        tuning=_SETTINGS,
        schedule=Schedule(weights="rewind"),
    )


def _measure() -> Measuring:
    from pruning_core.loading.initial import fresh_module, initial_module
    from pruning_core.surgery.rewind import put_weights

    model = lab.subject(_MODEL).model
    found: dict[str, dict[str, list[float]]] = {}
    sources = {
        "trained": None,
        "rewound": initial_module(model),
        "fresh": fresh_module(model, 7),
        "random": initial_module(model),
    }
    done, all_of_them = 0, len(_SPARSITIES) * len(_WAYS) * _SETTINGS.epochs
    for sparsity in _SPARSITIES:
        found[sparsity] = {}
        for way, source in sources.items():
            pruned = lab.pruned(_planned(sparsity, random=way == "random"))
            if source is not None:
                put_weights(pruned, source)
            curve = [round(lab.tested(pruned.module, _MODEL), 4)]
            for accuracy in lab.trained(pruned.module, _MODEL, _SETTINGS, masks=pruned.masks):
                curve.append(round(accuracy, 4))
                done += 1
                yield done / all_of_them, f"{way} {sparsity} %"
            found[sparsity][way] = curve
    last = {way: curve[-1] for way, curve in found[_ASKED].items()}
    return {
        "curves": found,
        "epochs": _SETTINGS.epochs,
        "dense": lab.tested(model.module, _MODEL),
        "n": len(lab.subject(_MODEL).data.test),
        "order": sorted(_WAYS, key=lambda way: -last[way]),
        **{f"asked_{way}": value for way, value in last.items()},
    }


def _act(facts: Facts, value: str) -> Facts:
    last = {way: curve[-1] for way, curve in facts["curves"][value].items()}
    return {"sparsity": int(value), **last, "gap": last["rewound"] - last["fresh"]}


def _pictures(scene: Scene) -> Sequence[Picture]:
    if not scene.revealed:
        return []
    own = scene.facts["curves"][scene.value]
    epochs = list(range(scene.facts["epochs"] + 1))
    series = [
        Series(scene.words(f"guess.options.{way}"), own[way], epochs, look)
        for way, look in (("trained", 2), ("rewound", 0), ("fresh", 1), ("random", 3))
    ]
    return [pictures.curves(scene, "epochs", series, (None, (0, 100)))]


def _recipe(facts: Facts) -> Recipe:
    return _planned(str(facts["sparsity"]))


LESSONS.add(
    "ticket",
    Lesson(
        key="ticket",
        chapter="recovery",
        place=180,
        sources=("Frankle and Carbin 2019, arXiv:1803.03635", "Liu et al. 2019, arXiv:1810.05270"),
        guess=Order(_WAYS),
        do=Choice(_SPARSITIES, literal=True),
        measure=_measure,
        act=_act,
        truth=lambda facts: facts["order"],
        pictures=_pictures,
        check=Check(
            Number(low=-20, high=100, step=0.1, start=0, near=0.5), lambda facts: facts["gap"]
        ),
        recipe=_recipe,
        expected=("dense", "n", "order", *(f"asked_{way}" for way in _WAYS)),
        is_long=True,
    ),
)
