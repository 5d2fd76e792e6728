"""Heads of a Transformer and hidden units of a recurrent network: how many can go."""

from collections.abc import Sequence

import numpy as np

from pruning_core.figures.teaching import Series
from pruning_core.lessons import lab, pictures
from pruning_core.lessons.lesson import (
    LESSONS,
    Check,
    Facts,
    Lesson,
    Measuring,
    Number,
    Picture,
    Scene,
)
from pruning_core.planning.recipe import Picks, Ratio, Recipe

_MODEL, _GRU = "bundled:vit_tiny", "bundled:gru_128"
_ALLOWED = 5.0
_N = 500
_MOST = 12


def _sites() -> list[str]:
    groups = lab.subject(_MODEL).network.groups
    return [group.name for group in groups if group.kind == "head"]


def _rated() -> Recipe:
    return Recipe(model=_MODEL, granularity="unit", criterion="taylor")


def _in_order(scores: Sequence[Sequence[float]]) -> list[tuple[int, int]]:
    """Return blocks and heads, the least important first; the last of each block stays."""
    left = {block: len(row) for block, row in enumerate(scores)}
    ranked = sorted(
        (score, block, head) for block, row in enumerate(scores) for head, score in enumerate(row)
    )
    order = []
    for _, block, head in ranked:
        if left[block] > 1:
            left[block] -= 1
            order.append((block, head))
    return order


def _planned(sites: Sequence[str], order: Sequence[Sequence[int]], n: int) -> Recipe:
    picks = {}
    for block, site in enumerate(sites):
        gone = tuple(sorted(head for place, head in order[:n] if place == block))
        if gone:
            picks[site] = Picks(prune=gone)
    return _rated().replace(picks=picks)


def _measure() -> Measuring:
    sites = _sites()
    scores = [lab.scores(_rated()).by_site[site].tolist() for site in sites]
    order = _in_order(scores)
    accuracies = [lab.dense(_MODEL, _N)]
    for n in range(1, _MOST + 1):
        yield n / (_MOST + 5), f"{n} heads"
        accuracies.append(lab.right(_planned(sites, order, n), _N))
    shares, gru = [0, 25, 50, 75], []
    for place, share in enumerate(shares):
        yield (_MOST + 1 + place) / (_MOST + 5), f"GRU {share} %"
        recipe = Recipe(
            model=_GRU, granularity="unit", criterion="taylor", target=Ratio(value=share / 100)
        )
        gru.append(lab.right(recipe, _N))
    within = [n for n, one in enumerate(accuracies) if accuracies[0] - one <= _ALLOWED]
    largest = next(n for n in within if n + 1 not in within)
    return {
        "sites": sites,
        "scores": [lab.rounded(row, 8) for row in scores],
        "order": [list(one) for one in order],
        "accuracies": lab.rounded(accuracies),
        "gru_shares": shares,
        "gru": lab.rounded(gru),
        "n": _N,
        "dense": accuracies[0],
        "heads": sum(len(row) for row in scores),
        "answer": largest,
        "allowed": _ALLOWED,
        "gru_dense": gru[0],
        "gru_half": gru[2],
    }


def _act(facts: Facts, value: float) -> Facts:
    n = round(value)
    counted = lab.preview(_planned(facts["sites"], facts["order"], n))
    return {
        "gone": n,
        "left": facts["heads"] - n,
        "accuracy": facts["accuracies"][n],
        "lost": facts["dense"] - facts["accuracies"][n],
        "saved": 100 * (1 - counted.after.macs / counted.before.macs),
    }


def _pictures(scene: Scene) -> Sequence[Picture]:
    from pruning_core.figures import teaching
    from pruning_core.figures.canvas import Caption

    words, facts = scene.words, scene.facts
    values = np.array(facts["scores"], np.float32)
    removed = np.zeros(values.shape, np.bool_)
    for block, head in facts["order"][: facts["gone"]]:
        removed[block, head] = True
    grid = teaching.cells(
        [teaching.Panel(words("pictures.grid.title"), np.sqrt(values), removed)],
        Caption(
            words("pictures.grid.finding", gone=facts["gone"], heads=facts["heads"]),
            words("pictures.grid.subject"),
        ),
        scene.colours,
        across=words("pictures.grid.x"),
        down=words("pictures.grid.y"),
    )
    table = {
        words("pictures.grid.y"): facts["sites"],
        words("pictures.grid.finding", gone=facts["gone"], heads=facts["heads"]): (
            removed.sum(axis=1).tolist()
        ),
    }
    found = [Picture("grid", grid, table)]
    if scene.revealed:
        series = [
            Series(words("pictures.accuracy.heads"), facts["accuracies"], range(_MOST + 1), 0),
        ]
        found.append(
            pictures.curves(
                scene,
                "accuracy",
                series,
                ((-0.3, _MOST + 0.5), (0, 100)),
                guess=([facts["dense"] - _ALLOWED], [scene.guess]),
                marked=facts["gone"],
            )
        )
    return found


def _recipe(facts: Facts) -> Recipe:
    return _planned(facts["sites"], facts["order"], facts["gone"])


LESSONS.add(
    "heads",
    Lesson(
        key="heads",
        chapter="practice",
        place=210,
        sources=("Michel et al. 2019, arXiv:1905.10650", "Molchanov et al. 2019, arXiv:1906.10771"),
        guess=Number(low=0, high=_MOST, step=1, start=0, near=0.5),
        do=Number(low=0, high=_MOST, step=1, start=0, near=0),
        measure=_measure,
        act=_act,
        truth=lambda facts: facts["answer"],
        pictures=_pictures,
        check=Check(
            Number(low=-5, high=100, step=0.5, start=0, near=1.0), lambda facts: facts["lost"]
        ),
        recipe=_recipe,
        expected=("dense", "n", "heads", "answer", "accuracies", "gru_dense", "gru_half"),
        reached=lambda facts: facts["gone"] > 0,
        is_long=True,
    ),
)
