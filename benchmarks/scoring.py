"""What scores, thresholds and masks cost, as multiples of reading every weight once.

Usage: python -m benchmarks.scoring [--only NAME ...] [--alone] [--write FOLDER]

A read is one torch.sum over the same weights, measured in turns with what it is compared with:
processor time of one thread, the least of several runs. Weights are random.
"""

import copy
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.utils import prune

from benchmarks.measuring import (
    Figure,
    arguments,
    median_seconds,
    peak,
    publish,
    read_all,
    reset_peak,
    seconds,
    seconds_beside,
)
from benchmarks.shapes import SHAPES, built
from pruning_core.figures.heatmap import pool_max
from pruning_core.granularities import Combine
from pruning_core.inputs import Inputs
from pruning_core.loading.model import LoadedModel
from pruning_core.planning.recipe import Ratio, Recipe
from pruning_core.planning.resolve import resolve
from pruning_core.scoring import keys
from pruning_core.scoring.blocks import BlockElements
from pruning_core.scoring.criterion import CRITERIA, PerElement
from pruning_core.scoring.ranking import KeyTable, SiteRanking
from pruning_core.scoring.score import Scores, score
from pruning_core.surgery.mask import apply_masks, weight_masks
from pruning_core.tracing.network import Network
from pruning_core.tracing.trace import trace

SHARE = 0.9


def measure(name: str, *, alone: bool) -> Iterator[Figure]:
    """Yield all figures of one architecture."""
    title, module = SHAPES[name].title, built(name)
    inputs = Inputs((SHAPES[name].inputs(),))
    model = LoadedModel("python:benchmarks", module, inputs, None, None, "")
    network = trace(module, inputs)
    weights = [network.tensor(weight).detach() for weight in network.weights]
    read = seconds(lambda: read_all(weights), 9)
    yield Figure(title, "one read of all weights", 1e3 * read, "ms")
    yield from _passes(title, network, weights)
    yield from _scores(title, model, network, weights)
    recipe = Recipe(model="m", criterion="l1", target=Ratio(value=SHARE))
    scores = score(model, network, recipe)
    yield from _preparation(title, scores, weights)
    yield _sorting_without_avx512(name)
    yield from _thresholds(title, scores)
    yield from _global(title, scores, weights)
    yield from _whole_way(title, model, network, recipe, alone=alone or name != "resnet_50")


def _in_reads(
    title: str,
    what: str,
    run: Callable[[], object],
    weights: Sequence[Tensor],
    goal: float | None = None,
    repeats: int = 5,
) -> Figure:
    took, read = seconds_beside(run, lambda: read_all(weights), repeats)
    return Figure(title, what, took / read, "reads", goal)


def _passes(title: str, network: Network, weights: Sequence[Tensor]) -> Iterator[Figure]:
    """Yield what the norms of all filters take, and of all filters and all inputs together."""
    for label, key, goal in (("L2", "l2", 1.5), ("L1", "l1", 2.2)):
        for where, axes in (("filter", {0}), ("filter and of each input, together", {0, 1})):
            run = partial(_one_pass, network, key, axes)
            what = f"pass: {label} norm of each {where}"
            yield _in_reads(title, what, run, weights, goal if axes == {0} else None)
    before = reset_peak()
    _one_pass(network, "l1", {0, 1})
    yield Figure(title, "memory of such a pass", peak() - before, "MiB", 1)


def _one_pass(network: Network, key: str, axes: set[int]) -> list[Tensor]:
    rule = CRITERIA[key].rule
    if not isinstance(rule, PerElement):
        raise TypeError(key)
    elements = BlockElements(
        rule,
        lambda name: (network.tensor(name).detach(), None),
        {name: {a for a in axes if a < network.tensor(name).ndim} for name in network.weights},
    )
    return [
        elements.along(name, axis, Combine.SUM)
        for name in network.weights
        for axis in sorted(axes)
        if axis < network.tensor(name).ndim
    ]


def _scores(
    title: str, model: LoadedModel, network: Network, weights: Sequence[Tensor]
) -> Iterator[Figure]:
    """Yield what whole calls of ``score`` take, checks and bookkeeping included."""
    base = Recipe(model="m", granularity="unit", criterion="l2")
    cases = {
        "score: L2 of every filter": base.replace(reduction="first"),
        "score: L2 of every coupled unit": base,
        "score: L1 of every coupled unit": base.replace(criterion="l1"),
        "score: magnitude of every weight, which copies them": Recipe(model="m"),
    }
    for what, recipe in cases.items():
        yield _in_reads(title, what, partial(score, model, network, recipe), weights, repeats=3)


def _preparation(title: str, scores: Scores, weights: Sequence[Tensor]) -> Iterator[Figure]:
    """Yield what tables and sorted copies of the scores take; afterwards the scores have both."""
    values = list(scores.by_site.values())
    yield _in_reads(
        title,
        "preparation: histogram of the keys of all layers",
        lambda: KeyTable([SiteRanking(each) for each in values]),
        weights,
        10,
        3,
    )
    sort = partial(_sort_all, values)
    yield _in_reads(title, "preparation: sorting", sort, weights, 30, 1)


def _sort_all(values: Sequence[NDArray[np.float32]]) -> None:
    for each in values:
        np.sort(each)


def _sorting_alone(name: str) -> None:
    """Print how many reads sorting takes in this process."""
    module = built(name)
    weights = [p.detach() for p in module.parameters() if p.ndim > 1]
    values = [weight.abs().flatten().numpy() for weight in weights]
    took, read = seconds_beside(partial(_sort_all, values), lambda: read_all(weights), 1)
    print(took / read)


def _sorting_without_avx512(name: str) -> Figure:
    """Return what sorting takes with other kernels of NumPy: on Zen 4 its AVX-512 ones are slow."""
    command = [sys.executable, "-W", "ignore", "-m", "benchmarks.scoring", "--measure", name]
    others = {"NPY_DISABLE_CPU_FEATURES": "X86_V4 AVX512_ICL AVX512_SPR"}
    answer = subprocess.run(
        command, capture_output=True, text=True, check=True, env=os.environ | others
    ).stdout
    what = "preparation: sorting, NumPy's AVX-512 kernels switched off"
    return Figure(SHAPES[name].title, what, float(answer), "reads", 30)


def _thresholds(title: str, scores: Scores) -> Iterator[Figure]:
    """Yield what it takes to say how many weights of every layer lie below a threshold."""
    rankings = [scores.ranking(site) for site in scores.by_site]
    table = KeyTable(rankings)
    threshold = keys.snapped(float(np.median(rankings[-1].values)))
    snapped = median_seconds(lambda: table.counts_below(threshold), 200)
    yield Figure(title, "snapped threshold, all layers", 1e6 * snapped, "us", 20)
    for ranking in rankings:
        ranking.ascending  # noqa: B018  (sorts it)
    exact = median_seconds(lambda: [r.count_below(0.0123) for r in rankings], 50)
    yield Figure(title, "any threshold from sorted keys, all layers", 1e3 * exact, "ms", 0.3)
    wrong = 0
    for limit in (threshold, 0.0123):
        expected = [int((r.values < np.float32(limit)).sum()) for r in rankings]
        wrong += sum(r.count_below(limit) != n for r, n in zip(rankings, expected, strict=True))
        if limit == threshold:
            wrong += int((table.counts_below(limit) != expected).sum())
        taken = (int(r.lowest(n).sum()) for r, n in zip(rankings, expected, strict=True))
        wrong += sum(mask != n for mask, n in zip(taken, expected, strict=True))
    yield Figure(title, "layers whose mask takes other weights than were counted", wrong, "", 0)


def _global(title: str, scores: Scores, weights: Sequence[Tensor]) -> Iterator[Figure]:
    """Yield what it takes to find each layer's share of a global target."""
    names = list(scores.by_site)
    most = [len(values) - 1 for values in scores.by_site.values()]
    wish = round(SHARE * sum(most))
    ranking = scores.together(names, most)
    ranking.counts(wish)
    after = median_seconds(lambda: ranking.counts(wish), 20)
    yield Figure(title, "global target after preparation", 1e3 * after, "ms", 1)
    fresh = Scores("l1", "weight", scores.by_site)
    unsorted = fresh.together(names, most)
    unsorted.counts(wish)  # makes the histogram
    yield _in_reads(
        title,
        "global target by histogram alone, nothing sorted",
        lambda: unsorted.counts(wish),
        weights,
    )
    wrong = int((ranking.counts(wish) != unsorted.counts(wish)).sum())
    free = [np.sort(values)[:-1] for values in scores.by_site.values()]
    last = np.partition(np.concatenate(free), wish)[wish]
    below = np.array([np.searchsorted(values, last, "left") for values in free])
    at_most = np.array([np.searchsorted(values, last, "right") for values in free])
    found = ranking.counts(wish)
    wrong += int(((found < below) | (found > at_most)).sum()) + int(found.sum() != wish)
    yield Figure(title, "layers whose share differs from sorting everything", wrong, "", 0)


def _whole_way(
    title: str, model: LoadedModel, network: Network, recipe: Recipe, *, alone: bool
) -> Iterator[Figure]:
    """Yield what a global target takes from the weights to the masked copy, beside the peer."""

    def here() -> nn.Module:
        plan = resolve(recipe, network, score(model, network, recipe))
        return apply_masks(network, weight_masks(network, plan))

    ours = seconds(here, 3) - seconds(lambda: copy.deepcopy(network.module), 3)
    yield Figure(title, "global target: score, plan, masks, applied", ours, "s")
    if alone:
        return
    module = copy.deepcopy(network.module)
    owners = [(module.get_submodule(n.rpartition(".")[0]), "weight") for n in network.weights]
    peer = seconds(
        lambda: prune.global_unstructured(owners, prune.L1Unstructured, amount=SHARE),
        1,
    )
    zeros = sum(int((getattr(m, n) == 0).sum()) for m, n in owners)
    mine = sum(int((t == 0).sum()) for t in (here().state_dict()[n] for n in network.weights))
    yield Figure(title, "torch.nn.utils.prune.global_unstructured", peer, "s")
    yield Figure(title, "that, as multiples of ours", peer / ours, "x", 20, at_least=True)
    yield Figure(title, "zeros there minus zeros here", zeros - mine, "", 0)


def heatmaps() -> Iterator[Figure]:
    """Yield what pooling a large layer to a heatmap takes."""
    for shape in ((4096, 4096), (30522, 768)):
        weight = torch.randn(shape).abs()
        matrix = weight.numpy()
        title = f"{shape[0]} x {shape[1]}"
        yield _in_reads(title, "exact-maximum heatmap", partial(pool_max, matrix), [weight], 4)
        pooled = pool_max(matrix)
        rows = np.floor(np.arange(129) * shape[0] / 128).astype(int)
        columns = np.floor(np.arange(129) * shape[1] / 128).astype(int)
        wrong = sum(
            pooled[i, j] != matrix[rows[i] : rows[i + 1], columns[j] : columns[j + 1]].max()
            for i in range(128)
            for j in range(128)
        )
        yield Figure(title, "cells unlike the maximum of their block", wrong, "", 0)


def main() -> None:
    """Measure, print the table, and write it when a folder is given."""
    names = ["resnet_50", "vit_b_16", "bert_base", "heatmaps"]
    found = arguments(__doc__.splitlines()[0] if __doc__ else "", names)
    if found.measure:
        _sorting_alone(found.measure)
        return
    publish(
        "Scores, thresholds and masks: speed",
        "Written by `python -m benchmarks.scoring --write docs/benchmarks`: processor time of one "
        "thread on random weights; a read is one torch.sum over the same weights, in turns.",
        (
            figure
            for name in found.only
            for figure in (heatmaps() if name == "heatmaps" else measure(name, alone=found.alone))
        ),
        found.write / "scoring.md" if found.write else None,
    )


if __name__ == "__main__":
    main()
