"""The budget game: a quarter of the size, at most one point lost; then solvers play it."""

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
    Numbers,
    Picture,
    Scene,
)
from pruning_core.planning.recipe import LayerTarget, Ratio, Recipe, Tuning

_MODEL = "bundled:lenet_5"
_LAYERS = ("conv1", "conv2", "fc1", "fc2")
_SOLVERS: Mapping[str, Literal["local", "erk", "global"]] = {
    "uniform": "local",
    "erk": "erk",
    "ranking": "global",
}
_SIZE, _LOSS, _N = 25.0, 1.0, 1000
_TUNING = Tuning(epochs=2, learning_rate=3e-4, train_samples=4000)
_SOLUTION = (0.0, 30.0, 79.0, 20.0)
_MOST_SHOWN = 8


def _by_hand(ratios: Sequence[float]) -> Recipe:
    targets: dict[str, LayerTarget] = {
        name: Ratio(value=percent / 100)
        for name, percent in zip(_LAYERS, ratios, strict=True)
        if percent
    }
    return Recipe(model=_MODEL, layers=targets, tuning=_TUNING)


def _solved(solver: str) -> Recipe:
    weights = {name: lab.weight(_MODEL, f"{name}.weight").size for name in _LAYERS}
    before = lab.preview(Recipe(model=_MODEL)).before.params
    share = before * (1 - _SIZE / 100) / sum(weights.values())
    target = Ratio(value=min(0.99, share + 1e-3))
    return Recipe(model=_MODEL, scope=_SOLVERS[solver], target=target, tuning=_TUNING)


def _size(recipe: Recipe) -> float:
    """Return the share of the parameters that stay, in percent."""
    counted = lab.preview(recipe)
    return 100 * counted.after.nonzero / counted.before.params


def _lost(recipe: Recipe) -> float:
    """Return the points of accuracy lost right after pruning."""
    return lab.dense(_MODEL, _N) - lab.right(recipe, _N)


def _played(recipe: Recipe) -> Measuring:
    """Prune, fine-tune, and measure what is lost before and after, on validation data."""
    found = {"size": _size(recipe), "before": _lost(recipe)}
    yield 0.1, ""
    pruned = lab.pruned(recipe)
    epochs = lab.trained(pruned.module, _MODEL, _TUNING, masks=pruned.masks, on_test=False)
    for done, _ in enumerate(epochs, start=1):
        yield 0.1 + 0.8 * done / _TUNING.epochs, ""
    return {**found, "after": lab.dense(_MODEL, _N) - lab.validated(pruned.module, _MODEL, _N)}


def _attempt(value: Sequence[float]) -> Measuring:
    return _played(_by_hand(value))


def _measure() -> Measuring:
    games = {solver: _solved(solver) for solver in _SOLVERS} | {"example": _by_hand(_SOLUTION)}
    found = {}
    for place, (player, recipe) in enumerate(games.items()):
        steps = _played(recipe)
        while True:
            try:
                share, _ = next(steps)
            except StopIteration as end:
                found[player] = end.value
                break
            yield (place + share) / len(games), player
    example = {**found.pop("example"), "value": list(_SOLUTION)}
    return {
        "solvers": found,
        "example": example,
        **{f"example_{name}": example[name] for name in ("size", "before", "after")},
        "best": min(found, key=lambda solver: found[solver]["after"]),
        "dense": lab.dense(_MODEL, _N),
        "n": _N,
        "epochs": _TUNING.epochs,
        "samples": _TUNING.train_samples,
        "size_limit": _SIZE,
        "loss_limit": _LOSS,
        **{f"{solver}_before": one["before"] for solver, one in found.items()},
        **{f"{solver}_after": one["after"] for solver, one in found.items()},
        "counts": {name: int(lab.weight(_MODEL, f"{name}.weight").size) for name in _LAYERS},
    }


def _is_within(tried: Facts) -> bool:
    return bool(tried["size"] <= _SIZE)


def _best(tries: Sequence[Facts]) -> Facts | None:
    """Return the try that loses least, of those within the budget where there are any."""
    return min(tries, key=lambda one: (not _is_within(one), one["after"]), default=None)


def _act(facts: Facts, value: Sequence[float]) -> Facts:
    best = _best(facts["tries"])
    ratios = best["value"] if best else value
    gone = {
        name: facts["counts"][name] * ratio / 100
        for name, ratio in zip(_LAYERS, ratios, strict=True)
    }
    main = max(gone, key=lambda name: gone[name])
    total, nothing = sum(gone.values()), float("nan")
    recipe = _by_hand(value)
    return {
        "ratios": list(value),
        "size": _size(recipe),
        "lost": _lost(recipe),
        "n_tries": len(facts["tries"]),
        "best_size": best["size"] if best else nothing,
        "best_before": best["before"] if best else nothing,
        "best_after": best["after"] if best else nothing,
        "main": main if total else _LAYERS[2],
        "main_share": 100 * gone[main] / total if total else 0.0,
        "main_n": facts["counts"][main],
    }


def _board(scene: Scene) -> Picture:
    """Draw the tries of the session, the best first, and beside them what solvers reach."""
    words, facts = scene.words, scene.facts
    numbered = sorted(enumerate(facts["tries"], start=1), key=lambda one: one[1]["after"])
    rows = [
        (
            words(
                "pictures.board.within" if _is_within(one) else "pictures.board.over",
                number=number,
                size=one["size"],
            ),
            one,
        )
        for number, one in numbered[:_MOST_SHOWN]
    ]
    if scene.revealed:
        rows += [
            (
                words(f"guess.options.{solver}")
                + (f" · {words('pictures.guess')}" if solver == scene.guess else ""),
                {**one, "value": ()},
            )
            for solver, one in facts["solvers"].items()
        ]
    series = [
        Series(words(f"pictures.board.{when}"), [one[when] for _, one in rows], look=look)
        for when, look in (("before", 1), ("after", 0))
    ]
    values = [one[when] for _, one in rows for when in ("before", "after")]
    most = max(1.0, *values)
    span = (min(0.0, *values) - (0.1 * most if min(values) < 0 else 0.0), 1.18 * most)
    found = pictures.bars(scene, "board", [name for name, _ in rows], series, x_range=span)
    table = {
        **found.table,
        words("pictures.size.x"): [one["size"] for _, one in rows],
        words("do.label"): [" / ".join(f"{ratio:g}" for ratio in one["value"]) for _, one in rows],
    }
    return Picture(found.name, found.figure, table)


def _pictures(scene: Scene) -> Sequence[Picture]:
    words, facts = scene.words, scene.facts
    names = [words("pictures.you"), words("pictures.budget")]
    sizes = [facts["size"], facts["size_limit"]]
    size = pictures.bars(
        scene, "size", names, [Series(words("pictures.size.x"), sizes)], x_range=(0, 118)
    )
    has_rows = scene.revealed or facts["tries"]
    return [size, _board(scene)] if has_rows else [size]


def _recipe(facts: Facts) -> Recipe:
    return _by_hand(facts["ratios"])


LESSONS.add(
    "budget",
    Lesson(
        key="budget",
        chapter="criteria",
        place=130,
        sources=(
            "MIT 6.5940, Lab 1, question 5",
            "Evci et al. 2020, arXiv:1911.11134",
            "Han et al. 2015, arXiv:1506.02626",
        ),
        guess=Choice(tuple(_SOLVERS)),
        do=Numbers(_LAYERS, low=0, high=98, step=1, start=0, near=1, solution=_SOLUTION),
        measure=_measure,
        act=_act,
        truth=lambda facts: facts["best"],
        pictures=_pictures,
        check=Check(Choice(_LAYERS, literal=True), lambda facts: facts["main"]),
        recipe=_recipe,
        expected=(
            *("dense", "n", "best"),
            *(f"{solver}_{when}" for solver in _SOLVERS for when in ("before", "after")),
            *("example_size", "example_before", "example_after"),
        ),
        reached=lambda facts: any(
            _is_within(one) and one["after"] <= _LOSS + 1e-9 for one in facts["tries"]
        ),
        attempt=_attempt,
        tried=("size", "before", "after"),
        is_long=True,
    ),
)
