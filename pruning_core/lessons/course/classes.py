"""The same accuracy, different mistakes: which class suffers, and who is wrong where."""

from collections.abc import Mapping, Sequence
from typing import Literal

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

_MODEL = "bundled:lenet_300_100"
_PLANS = ("ranking", "erk")
_SCOPES: Mapping[str, Literal["global", "erk"]] = {"ranking": "global", "erk": "erk"}
_CLASSES = (
    *("tshirt", "trouser", "pullover", "dress", "coat"),
    *("sandal", "shirt", "sneaker", "bag", "boot"),
)
_ASKED = ("trouser", "pullover", "shirt", "bag", "boot")
_RATIO = 0.75


def _planned(plan: str) -> Recipe:
    return Recipe(model=_MODEL, scope=_SCOPES[plan], target=Ratio(value=_RATIO))


def _measure() -> Measuring:
    from pruning_core.evaluation.evaluate import evaluate, right_answers

    own = lab.subject(_MODEL)
    test = own.data.test
    modules = {"dense": own.model.module}
    modules |= {plan: lab.pruned(_planned(plan)).module for plan in _PLANS}
    recalls, right = {}, {}
    for place, (name, module) in enumerate(modules.items()):
        yield place / len(modules), name
        found = evaluate(module, test)
        recalls[name] = [round(100 * one.recall, 4) for one in found.per_class]
        right[name] = right_answers(module, test)
    lost = {
        plan: [
            before - after for before, after in zip(recalls["dense"], recalls[plan], strict=True)
        ]
        for plan in _PLANS
    }
    asked = {name: lost["ranking"][_CLASSES.index(name)] for name in _ASKED}
    return {
        "recalls": recalls,
        "lost": {plan: [round(one, 4) for one in own_lost] for plan, own_lost in lost.items()},
        "n": len(test),
        "dense": 100 * float(right["dense"].mean()),
        **{f"{plan}_acc": 100 * float(right[plan].mean()) for plan in _PLANS},
        "differ": 100 * float((right["ranking"] != right["erk"]).mean()),
        "answer": max(asked, key=lambda name: asked[name]),
    }


def _act(facts: Facts, value: str) -> Facts:
    lost = facts["lost"][value]
    worst = max(range(len(lost)), key=lambda place: lost[place])
    best = min(range(len(lost)), key=lambda place: lost[place])
    accuracy = facts[f"{value}_acc"]
    return {
        "plan": value,
        "accuracy": accuracy,
        "mean_lost": facts["dense"] - accuracy,
        "worst_number": worst,
        "worst_lost": lost[worst],
        "best_change": -lost[best],
        "worst_before": facts["recalls"]["dense"][worst],
        "worst_after": facts["recalls"][value][worst],
    }


def _pictures(scene: Scene) -> Sequence[Picture]:
    if not scene.revealed:
        return []
    words, facts = scene.words, scene.facts
    labels = [words(f"pictures.{name}") for name in _CLASSES]
    series = [
        Series(words("pictures.dense"), facts["recalls"]["dense"], look=2),
        Series(words(f"do.options.{scene.value}"), facts["recalls"][scene.value], look=1),
    ]
    return [pictures.bars(scene, "recall", labels, series, x_range=(0, 115))]


def _recipe(facts: Facts) -> Recipe:
    return _planned(facts["plan"])


LESSONS.add(
    "classes",
    Lesson(
        key="classes",
        chapter="practice",
        place=220,
        sources=("Hooker et al. 2019, arXiv:1911.05248", "Hooker et al. 2020, arXiv:2010.03058"),
        guess=Choice(_ASKED),
        do=Choice(_PLANS),
        measure=_measure,
        act=_act,
        truth=lambda facts: facts["answer"],
        pictures=_pictures,
        check=Check(
            Number(low=0, high=100, step=0.5, start=0, near=1.0), lambda facts: facts["worst_lost"]
        ),
        recipe=_recipe,
        is_long=True,
        expected=("dense", "n", "ranking_acc", "erk_acc", "differ", "answer"),
    ),
)
