"""How fast and how exact what-ifs are, beside pruning and counting with Torch-Pruning.

Usage: python -m benchmarks.preview [--only NAME ...] [--alone] [--write FOLDER]

Processor time of one thread, the least of several runs. Goals are those of the issue that asked for
speed. Exactness: random units of every group are really removed, and the result is counted by
numel, by torch's FlopCounterMode with fused paths off, and by writing the file.
"""

import copy
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator

import numpy as np
import torch
import torch_pruning
from numpy.typing import NDArray
from safetensors.torch import save
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.measuring import (
    Figure,
    arguments,
    median_seconds,
    peak,
    publish,
    reset_peak,
    seconds,
)
from benchmarks.shapes import SHAPES, built, decoder_of_a_billion
from pruning_core.planning.recipe import Budget, Ratio, Recipe
from pruning_core.planning.resolve import resolve
from pruning_core.preview import preview, sliders
from pruning_core.scoring.score import Scores
from pruning_core.surgery.unit import remove_units
from pruning_core.switches import decomposed_operators
from pruning_core.tracing.network import Network
from pruning_core.tracing.trace import trace

Keep = NDArray[np.bool_]
N_PLANS = 5


def measure(name: str, *, alone: bool) -> Iterator[Figure]:
    """Yield all figures of one architecture."""
    shape = SHAPES[name]
    module, inputs = built(name), shape.inputs()
    title = shape.title
    ours = seconds(lambda: trace(module, inputs), 3)
    network = trace(module, inputs)
    peer = None if alone else _peer_graph(module, inputs)
    yield Figure(title, "trace and analysis", ours, "s", None if peer is None else peer + 2)
    if peer is not None:
        yield Figure(title, "Torch-Pruning: building its graph", peer, "s")
    rng = np.random.default_rng(0)
    keep = random_keep(network, rng)
    kept = np.array([part.sum() for part in _by_group(network, keep)])
    mask = median_seconds(lambda: network.cost.query(keep), 200)
    counts = median_seconds(lambda: network.cost.query_counts(kept), 200)
    units = f"{network.cost.n_units:,} units"
    yield Figure(title, f"what-if by any mask of {units}", 1e6 * mask, "us", 200)
    yield Figure(title, f"what-if by counts of {len(kept)} groups", 1e6 * counts, "us", 50)
    scores = random_scores(network)
    recipe = Recipe(model="m", granularity="unit", target=Ratio(value=0.3))
    plan = resolve(recipe, network, scores)
    shown = seconds(lambda: preview(network, plan), 20)
    yield Figure(title, "preview: before, after, every layer, as objects", 1e3 * shown, "ms")
    if not alone:
        yield from _peer_pruning(title, module, inputs, mask, counts)
    yield Figure(title, f"differences in {N_PLANS} pruned networks", _wrong(network), "", 0)
    track = seconds(lambda: sliders(network, plan, scores), 7)
    size = sum(
        s.params.nbytes + s.macs.nbytes + s.n_bytes.nbytes for s in sliders(network, plan, scores)
    )
    goals = (10.0, 200.0) if name == "resnet_50" else (None, None)
    yield Figure(title, "totals at every position of every slider", 1e3 * track, "ms", goals[0])
    yield Figure(title, "size of all these totals", size / 1024, "KiB", goals[1])
    yield from _budgets(title, network, scores)


def random_keep(network: Network, rng: np.random.Generator) -> Keep:
    """Return a mask that keeps a random share of every group, at least one unit."""
    parts = []
    for group in network.groups:
        part = rng.random(group.n_units) < rng.uniform(0.125, 1)
        part[rng.integers(group.n_units)] = True
        parts.append(part)
    return np.concatenate(parts)


def random_scores(network: Network) -> Scores:
    """Return scores drawn at random for all units."""
    rng = np.random.default_rng(1)
    by_site = {g.name: rng.random(g.n_units).astype(np.float32) for g in network.groups}
    return Scores("random", "unit", by_site)


def _by_group(network: Network, keep: Keep) -> list[Keep]:
    ends = np.cumsum([group.n_units for group in network.groups])
    return np.split(keep, ends[:-1])


def _wrong(network: Network) -> int:
    """Return how many tensors, MAC totals and files differ from what was predicted."""
    wrong, rng = 0, np.random.default_rng(2)
    for _ in range(N_PLANS):
        keep = random_keep(network, rng)
        costs = network.cost.query(keep)
        module = remove_units(network, keep).module
        sizes = dict(zip(network.cost.parameters, costs.params[0].tolist(), strict=True))
        wrong += sum(sizes[key] != p.numel() for key, p in module.named_parameters())
        with torch.no_grad(), decomposed_operators(), FlopCounterMode(display=False) as counter:
            module(*network.example_inputs)
        wrong += counter.get_total_flops() != 2 * costs.macs.sum()
        state = {key: value.contiguous() for key, value in module.state_dict().items()}
        wrong += len(save(state)) != costs.n_bytes[0]
    return wrong


def _budgets(title: str, network: Network, scores: Scores) -> Iterator[Figure]:
    """Yield how long it takes to reach half of each cost, and whether brute force agrees."""
    order = np.concatenate([scores.by_site[group.name] for group in network.groups])
    group_of = np.repeat(np.arange(len(network.groups)), [g.n_units for g in network.groups])
    sizes = np.bincount(group_of)
    removed = np.zeros((len(order) + 1, len(sizes)), np.int64)
    place = np.argsort(order, kind="stable")
    removed[np.arange(1, len(order) + 1), group_of[place]] = 1
    allowed = np.minimum(np.cumsum(removed, axis=0), sizes - 1)
    steps = [network.cost.query_counts(sizes - rows) for rows in np.array_split(allowed, 64)]
    columns = {
        "macs": np.concatenate([costs.macs.sum(axis=1) for costs in steps]),
        "params": np.concatenate([costs.params.sum(axis=1) for costs in steps]),
        "bytes": np.concatenate([costs.n_bytes for costs in steps]),
    }
    for kind, left in columns.items():
        recipe = Recipe(
            model="m",
            granularity="unit",
            target=Budget.model_validate({"kind": kind, "value": 0.5}),
        )
        plan = resolve(recipe, network, scores)
        fewest = int(np.flatnonzero(left <= 0.5 * left[0])[0])
        expected = allowed[fewest]
        found = [plan.n_removed(group.name) for group in network.groups]
        took = seconds(lambda recipe=recipe: resolve(recipe, network, scores), 9)  # type: ignore[misc]
        yield Figure(title, f"reach 50 % of {kind}, the whole plan", 1e3 * took, "ms", 2)
        yield Figure(title, f"reach 50 % of {kind}: groups unlike brute force over all thresholds",
                     float((expected != found).sum()), "", 0)  # fmt: skip


def _peer_graph(module: nn.Module, inputs: Tensor) -> float | None:
    """Return the seconds in which Torch-Pruning builds its graph; None where it fails."""
    try:
        return seconds(lambda: _graph(module, inputs), 3)
    except Exception as error:
        print(f"Torch-Pruning fails: {type(error).__name__}: {error}", file=sys.stderr)
        return None


def _graph(module: nn.Module, inputs: Tensor) -> object:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch_pruning.DependencyGraph().build_dependency(module, example_inputs=inputs)


def _peer_pruning(
    title: str, module: nn.Module, inputs: Tensor, mask: float, counts: float
) -> Iterator[Figure]:
    """Yield how long copying, pruning and counting takes there, as multiples of a what-if here."""

    def prune_and_count() -> None:
        copied = copy.deepcopy(module)
        *_, last = (child for child in copied.modules() if isinstance(child, nn.Linear))
        heads = {m: m.num_heads for m in copied.modules() if isinstance(m, nn.MultiheadAttention)}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            pruner = torch_pruning.pruner.MagnitudePruner(
                copied,
                inputs,
                importance=torch_pruning.importance.MagnitudeImportance(p=2),
                pruning_ratio=0.5,
                ignored_layers=[last],
                num_heads=heads,
            )
            pruner.step()
        torch_pruning.utils.count_ops_and_params(copied, inputs)

    try:
        took = seconds(prune_and_count, 2)
    except Exception as error:
        print(f"Torch-Pruning fails: {type(error).__name__}: {error}", file=sys.stderr)
        return
    yield Figure(title, "Torch-Pruning: copy, prune, count", 1e3 * took, "ms")
    yield Figure(title, "that, as multiples of a what-if by mask", took / mask, "x", 1000, True)
    yield Figure(title, "that, as multiples of a what-if by counts", took / counts, "x", 1000, True)


def _billion() -> None:
    """Trace a decoder of 1.1 billion parameters without weights and print seconds and peak."""
    with torch.device("meta"):
        module = decoder_of_a_billion().eval()
    tokens = torch.zeros(1, 128, dtype=torch.int64, device="meta")
    before = reset_peak()
    began = time.process_time()
    network = trace(module, tokens)
    took = time.process_time() - began
    memory = peak() - before
    keep = random_keep(network, np.random.default_rng(0))
    query = median_seconds(lambda: network.cost.query(keep), 50)
    print(took, memory, 1e6 * query, network.cost.n_units)


def billion() -> Iterator[Figure]:
    """Yield the figures of a model whose weights are never loaded, measured in its own process."""
    command = [sys.executable, "-m", "benchmarks.preview", "--measure", "billion"]
    answer = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    took, memory, query, n_units = (float(word) for word in answer)
    title = "decoder, 1.1 billion"
    yield Figure(title, "trace and analysis on the meta device", took, "s")
    yield Figure(title, "memory that takes beyond the imports", memory, "MiB")
    yield Figure(title, f"what-if by any mask of {n_units:,.0f} units", query, "us")


def main() -> None:
    """Measure, print the table, and write it when a folder is given."""
    found = arguments(__doc__.splitlines()[0] if __doc__ else "", [*SHAPES, "billion"])
    if found.measure == "billion":
        _billion()
        return
    publish(
        "What-ifs: speed and exactness",
        "Written by `python -m benchmarks.preview --write docs/benchmarks`: processor time of one "
        "thread on random weights, least or median of several runs.",
        (
            figure
            for name in found.only
            for figure in (billion() if name == "billion" else measure(name, alone=found.alone))
        ),
        found.write / "preview.md" if found.write else None,
    )


if __name__ == "__main__":
    main()
