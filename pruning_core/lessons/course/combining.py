"""Prune, let the dense network teach, then int8: factors multiply, savings do not add."""

from collections.abc import Mapping, Sequence

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
from pruning_core.planning.recipe import Budget, Distillation, Quantisation, Recipe, Tuning

_MODEL = "bundled:lenet_5"
_WAYS = ("none", "labels", "teacher")
_STEPS = ("dense", "pruned", "tuned", "int8")
_SHARE = 0.25
_EPOCHS = 12
_SAMPLES = 300
_LESSON = Distillation(temperature=4.0, alpha=0.9)
_INT8 = Quantisation(kind="static", samples=256)
_TAUGHT: Mapping[str, Distillation | None] = {"none": None, "labels": None, "teacher": _LESSON}

_LOOKS: Mapping[str, int] = {"none": 2, "labels": 1, "teacher": 0}


def _planned(way: str) -> Recipe:
    return Recipe(
        model=_MODEL,
        granularity="unit",
        normalise="mean",
        target=Budget(kind="params", value=_SHARE),
        tuning=Tuning(
            epochs=0 if way == "none" else _EPOCHS,
            learning_rate=1e-3,
            batch_size=64,
            train_samples=_SAMPLES,
            distillation=_TAUGHT[way],
        ),
        quantisation=_INT8,
    )


def _measure() -> Measuring:
    own = lab.subject(_MODEL)
    dense = Recipe(model=_MODEL, quantisation=_INT8)
    yield 0.0, "dense int8"
    alone = lab.quantised(dense, lab.pruned(dense))
    n_steps, done = 3 * (_EPOCHS + 3), 2
    accuracies, sizes = {}, {}
    for way in _WAYS:
        yield done / n_steps, way
        recipe = _planned(way)
        surgery = lab.pruned(recipe)
        found = [lab.tested(own.model.module, _MODEL), lab.tested(surgery.module, _MODEL)]
        for accuracy in lab.trained(surgery.module, _MODEL, recipe.tuning):
            found[2:] = [accuracy]
            done += 1
            yield done / n_steps, way
        files = lab.quantised(recipe, surgery)
        assert files.after is not None
        done += 2
        trained = found[2] if found[2:] else found[1]
        accuracies[way] = lab.rounded([*found[:2], trained, 100 * files.after.accuracy])
        sizes[way] = [alone.float_bytes, files.float_bytes, files.int8_bytes]
    shown = sizes["teacher"]
    return {
        "accuracies": accuracies,
        "sizes": sizes,
        "n": len(own.data.test),
        "epochs": _EPOCHS,
        "samples": _SAMPLES,
        "temperature": _LESSON.temperature,
        "share": _LESSON.alpha,
        "hard": 1 - _LESSON.alpha,
        "dense": accuracies["none"][0],
        "pruned": accuracies["none"][1],
        "labels": accuracies["labels"][2],
        "teacher": accuracies["teacher"][2],
        "taught": accuracies["teacher"][2] - accuracies["labels"][2],
        "alone_kb": alone.int8_bytes / 1000,
        "alone_saved": (alone.float_bytes - alone.int8_bytes) / 1000,
        "answer": 100 * shown[2] / shown[0],
    }


def _act(facts: Facts, value: str) -> Facts:
    dense, pruned, both = (size / 1000 for size in facts["sizes"][value])
    accuracies = facts["accuracies"][value]
    return {
        "way": value,
        "dense_kb": dense,
        "pruned_kb": pruned,
        "both_kb": both,
        "int8_saved": pruned - both,
        "prune_times": dense / pruned,
        "int8_times": pruned / both,
        "times": dense / both,
        "last": accuracies[3],
        "int8_change": accuracies[3] - accuracies[2],
    }


def _pictures(scene: Scene) -> Sequence[Picture]:
    words, facts = scene.words, scene.facts
    ways = _WAYS if scene.revealed else (scene.value,)
    series = [
        Series(words(f"do.options.{way}"), facts["accuracies"][way], look=_LOOKS[way])
        for way in ways
    ]
    steps = [words(f"pictures.{step}") for step in _STEPS]
    accuracy = pictures.bars(scene, "accuracy", steps, series, x_range=(0, 115))
    return [_files(scene), accuracy] if scene.revealed else [accuracy]


def _files(scene: Scene) -> Picture:
    from pruning_core.figures import teaching
    from pruning_core.figures.canvas import Caption

    words, facts = scene.words, scene.facts
    sizes = [facts["dense_kb"], facts["pruned_kb"], facts["both_kb"]]
    labels = [words(f"pictures.files.{name}") for name in ("before", "pruning", "int8", "after")]
    figure = teaching.steps(
        labels,
        sizes,
        teaching.Axes(words("pictures.files.x")),
        Caption(
            words("pictures.files.finding", **pictures.numbers_of(scene)),
            words("pictures.files.subject"),
        ),
        scene.colours,
        guess=None
        if scene.guess is None
        else teaching.Guess(words("pictures.guess"), [scene.guess * sizes[0] / 100]),
    )
    table = {
        "": [words(f"pictures.{step}") for step in ("dense", "pruned", "int8")],
        words("pictures.files.x"): sizes,
    }
    return Picture("files", figure, table)


def _recipe(facts: Facts) -> Recipe:
    return _planned(facts["way"])


LESSONS.add(
    "combining",
    Lesson(
        key="combining",
        chapter="practice",
        place=230,
        sources=(
            "Han et al. 2016, arXiv:1510.00149",
            "Hinton et al. 2015, arXiv:1503.02531",
            "Jacob et al. 2018, arXiv:1712.05877",
        ),
        guess=Number(low=0, high=100, step=1, start=50, near=2),
        do=Choice(_WAYS),
        measure=_measure,
        act=_act,
        truth=lambda facts: facts["answer"],
        pictures=_pictures,
        check=Check(
            Number(low=1, high=60, step=0.1, start=1.0, near=0.4), lambda facts: facts["times"]
        ),
        recipe=_recipe,
        expected=(*("n", "dense", "pruned", "labels", "teacher", "taught", "answer", "alone_kb"),),
        reached=lambda facts: facts["way"] == "teacher",
        is_long=True,
    ),
)
