"""A budget met by one ratio, by one ranking, and by a search that measures: who keeps most?"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Literal

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
from pruning_core.planning.recipe import Budget, Part, Ratio, Recipe

if TYPE_CHECKING:
    from pruning_core.evaluation.tradeoff import Trial

_MODEL = "bundled:lenet_5"
_LAYERS = ("conv1", "conv2", "fc1")
_SOLVERS: Mapping[str, Literal["local", "global"]] = {"uniform": "local", "ranking": "global"}
_BUDGET = 50
_PLANS, _FIRST, _STEP = 60, 6, 6
_N = 500
_PLAIN = Recipe(model=_MODEL, granularity="unit", normalise="mean")


def _solved(solver: str) -> Recipe:
    target = Budget(kind="macs", value=_BUDGET / 100)
    return _PLAIN.replace(scope=_SOLVERS[solver], target=target)


def _planned(ratios: Mapping[str, float]) -> Recipe:
    return _PLAIN.replace(layers={name: Ratio(value=ratios[name]) for name in _LAYERS})


def _mixed(ratios: Mapping[str, float]) -> Recipe:
    """The channels and neurons of a plan, and the smaller half of all weights at zero."""
    return _planned(ratios).replace(also=(Part(target=Ratio(value=0.5)),))


def _trial(recipe: Recipe, number: int = 0) -> "Trial":
    from pruning_core.evaluation.tradeoff import Trial

    counted, own = lab.preview(recipe).after, lab.plan(recipe)
    return Trial(
        number=number,
        ratios={name: own.ratio(name) for name in _LAYERS},
        accuracy=lab.accuracy(recipe, _N).accuracy,
        params=counted.params,
        nonzero=counted.nonzero,
        macs=counted.macs,
        n_bytes=counted.n_bytes,
        milliseconds=None,
        plan=own.fingerprint,
    )


def _measure() -> Measuring:
    """Measure both solvers, and the plans that the search of the workbench asks for."""
    import optuna

    from pruning_core.evaluation.asking import Asking

    yield 0.0, "dense"
    dense = _trial(_PLAIN)
    players = {solver: _trial(_solved(solver)) for solver in _SOLVERS}
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    asking = Asking(_PLAIN, lab.subject(_MODEL).network, lab.scores(_PLAIN))
    sampler = optuna.samplers.TPESampler(seed=0)
    study = optuna.create_study(directions=["maximize", "minimize"], sampler=sampler)
    known: set[float | None] = set()
    trials: list[Trial] = []
    for number in range(_PLANS):
        yield 0.1 + 0.85 * number / _PLANS, f"{number + 1} / {_PLANS}"
        asked = asking.next_plan(study, known)
        known.add(asked.ranked)
        found = _trial(_planned(asked.ratios), number)
        asked.tell(study, (found.accuracy, found.macs), {})
        trials.append(found)
    best = _best(trials, dense.macs)
    assert best is not None
    mixed = _trial(_mixed(best.ratios))
    return {
        "trials": [asdict(trial) for trial in trials],
        "players": {name: asdict(one) for name, one in {**players, "mixed": mixed}.items()},
        "dense_macs": dense.macs,
        "dense": 100 * dense.accuracy,
        "n": lab.accuracy(_PLAIN, _N).n,
        "plans": _PLANS,
        "budget": _BUDGET,
        **{name: 100 * one.accuracy for name, one in players.items()},
        **{f"{name}_macs": 100 * one.macs / dense.macs for name, one in players.items()},
        "searched": 100 * best.accuracy,
        "answer": 100 * (best.accuracy - players["uniform"].accuracy),
        "mixed": 100 * mixed.accuracy,
        "mixed_nonzero": 100 * mixed.nonzero / dense.params,
        "best_params": 100 * best.params / dense.params,
    }


def _best(trials: "Sequence[Trial]", dense_macs: int) -> "Trial | None":
    """Return the most accurate plan within the budget; the cheaper one of equals."""
    fitting = [trial for trial in trials if 100 * trial.macs <= _BUDGET * dense_macs]
    return max(fitting, key=lambda trial: (trial.accuracy, -trial.macs), default=None)


def _act(facts: Facts, value: float) -> Facts:
    from pruning_core.evaluation.tradeoff import Trial, front

    trials = [Trial(**one) for one in facts["trials"][: round(value)]]
    best = _best(trials, facts["dense_macs"])
    shown = best or trials[0]
    most = max(_LAYERS, key=lambda name: shown.ratios[name])
    return {
        "measured": len(trials),
        "fitting": sum(100 * one.macs <= _BUDGET * facts["dense_macs"] for one in trials),
        "n_front": len(front(trials, "macs")),
        "best_ratios": dict(shown.ratios),
        "best": 100 * shown.accuracy,
        "best_macs": 100 * shown.macs / facts["dense_macs"],
        "most": most,
        "most_lost": 100 * shown.ratios[most],
        "most_uniform": 100 * facts["players"]["uniform"]["ratios"][most],
        "gain": 100 * shown.accuracy - facts["uniform"],
        **{f"best_{name}": 100 * shown.ratios[name] for name in _LAYERS},
        **{f"kept_{name}": 100 * (1 - shown.ratios[name]) for name in _LAYERS},
    }


def _pictures(scene: Scene) -> Sequence[Picture]:
    from pruning_core.evaluation.tradeoff import Trial, front

    words, facts = scene.words, scene.facts
    points = [Trial(**one) for one in facts["trials"][: facts["measured"]]]

    def series(name: str, trials: Sequence[Trial], look: int, *, joined: bool) -> Series:
        return Series(
            words(f"pictures.front.{name}"),
            [100 * one.accuracy for one in trials],
            [100 * one.macs / facts["dense_macs"] for one in trials],
            look,
            joined,
        )

    shown = [series("measured", points, 2, joined=False)]
    if not scene.revealed:
        return [pictures.curves(scene, "so_far", shown, ((0, 103), (0, 100)))]
    players = {name: Trial(**one) for name, one in facts["players"].items()}
    shown += [
        series("best", front(points, "macs"), 0, joined=True),
        series("uniform", [players["uniform"]], 1, joined=False),
        series("ranking", [players["ranking"]], 3, joined=False),
    ]
    guess = None
    if scene.guess is not None:
        guess = ([facts["uniform"] + scene.guess], [facts["budget"]])
    layers = [
        Series(
            words(f"pictures.front.{name}"),
            [100 * (1 - ratios[layer]) for layer in _LAYERS],
            look=look,
        )
        for name, ratios, look in (
            ("uniform", players["uniform"].ratios, 1),
            ("ranking", players["ranking"].ratios, 3),
            ("found", facts["best_ratios"], 0),
        )
    ]
    return [
        pictures.curves(
            scene, "front", shown, ((0, 103), (0, 100)), guess=guess, marked=facts["budget"]
        ),
        pictures.bars(scene, "layers", list(_LAYERS), layers, x_range=(0, 118)),
    ]


def _recipe(facts: Facts) -> Recipe:
    return _planned(facts["best_ratios"])


LESSONS.add(
    "automating",
    Lesson(
        key="automating",
        chapter="practice",
        place=240,
        sources=(
            "Ozaki et al. 2022, doi:10.1613/jair.1.13188",
            "He et al. 2018, arXiv:1802.03494",
            "Yang et al. 2018, arXiv:1804.03230",
        ),
        guess=Number(low=-20, high=60, step=1, start=0, near=3),
        do=Number(low=_FIRST, high=_PLANS, step=_STEP, start=_FIRST, near=0),
        measure=_measure,
        act=_act,
        truth=lambda facts: facts["answer"],
        pictures=_pictures,
        check=Check(Choice(_LAYERS, literal=True), lambda facts: facts["most"]),
        recipe=_recipe,
        expected=(
            *("dense", "n", "plans", "budget", "uniform", "ranking", "searched", "answer"),
            *("mixed", "mixed_nonzero"),
        ),
        reached=lambda facts: facts["measured"] == facts["plans"],
        is_long=True,
    ),
)
