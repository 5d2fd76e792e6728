"""Accuracy after pruning and fine-tuning on the full Fashion-MNIST, beside its controls.

Usage: python -m benchmarks.accuracy [--only NAME] [--seeds 0 1 2] [--write FOLDER]

Every row is a recipe carried out by the same pipeline as the pages and the command line use. The
test split has 10,000 images and nothing is chosen on it. Controls: random scores instead of the
criterion, and the dense network trained for the same extra epochs.
"""

import argparse
import json
import statistics
import sys
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch

from benchmarks.dense import trained
from pruning_core.evaluation.evaluate import evaluate
from pruning_core.inputs import Inputs
from pruning_core.loading.architectures import ARCHITECTURES
from pruning_core.loading.dataset import Dataset, load_dataset
from pruning_core.loading.model import LoadedModel, initial_module
from pruning_core.planning.recipe import Budget, Ratio, Recipe, Schedule, Target, Tuning
from pruning_core.planning.resolve import resolve
from pruning_core.runs.environment import describe_environment
from pruning_core.runs.events import Finished
from pruning_core.runs.pipeline import execute
from pruning_core.scoring.score import score
from pruning_core.surgery.prune import prune
from pruning_core.tracing.trace import trace
from pruning_core.tuning.finetune import finetune

HALF_EPOCH = 30_000
ADAM = Tuning(epochs=3)
HALF_ADAM = Tuning(epochs=1, train_samples=HALF_EPOCH)
HALF_SGD = Tuning(
    epochs=1,
    train_samples=HALF_EPOCH,
    optimiser="sgd",
    learning_rate=0.02,
    weight_decay=5e-4,
    horizontal_flip=True,
)
CHANNELS = {"granularity": "unit", "normalise": "mean", "scope": "global"}


@dataclass(frozen=True, slots=True)
class Row:
    """One experiment with one seed; accuracies are shares of the test split.

    Attributes:
        goal: Tuned accuracy to reach (points), None for controls.
    """

    network: str
    experiment: str
    seed: int
    params: float
    nonzero: float
    macs: float
    dense: float
    pruned: float
    tuned: float
    n: int
    goal: float | None = None


@dataclass(frozen=True, slots=True)
class Experiment:
    """A recipe with the accuracy it should reach."""

    title: str
    recipe: Recipe
    goal: float | None = None


def weights(value: float, criterion: str = "l1") -> dict[str, object]:
    """Return the recipe fields of global weight pruning."""
    return {"target": Ratio(value=value), "criterion": criterion}


def channels(speed_up: float, **changes: object) -> dict[str, object]:
    """Return the recipe fields of channel pruning to ``1 / speed_up`` of the MACs."""
    target: Target = Budget(kind="macs", value=1 / speed_up)
    return {**CHANNELS, "target": target, **changes}


def lenet_300_100(seed: int) -> Iterator[Experiment]:
    """Yield the experiments of the multilayer perceptron for one seed."""
    base = Recipe(
        model=f"python:benchmarks.dense:lenet_300_100_seed_{seed}",
        data="fashion_mnist",
        tuning=ADAM,
        seed=seed,
    )
    five = {"schedule": Schedule(rounds=5), "tuning": Tuning(epochs=2)}
    yield Experiment("control: dense + 3 epochs", base)
    yield Experiment("90 % weights, one-shot + 3 epochs", base.replace(**weights(0.9)), 88.7)
    yield Experiment("control: 90 % random + 3 epochs", base.replace(**weights(0.9, "random")))
    yield Experiment("control: dense + 10 epochs", base.replace(tuning=Tuning(epochs=10)))
    yield Experiment("95 % weights, 5 x 2 epochs", base.replace(**weights(0.95), **five), 88.5)
    random = base.replace(**weights(0.95, "random"), **five)
    yield Experiment("control: 95 % random, 5 x 2 epochs", random)


def lenet_5(seed: int) -> Iterator[Experiment]:
    """Yield the experiments of the small convolutional network."""
    base = Recipe(model="bundled:lenet_5", tuning=HALF_ADAM, seed=seed)
    yield Experiment("control: dense + 1/2 epoch", base)
    for value, goal in ((0.8, 89.9), (0.9, 88.9)):
        share = f"{value:.0%} weights"
        yield Experiment(f"{share} + 1/2 epoch", base.replace(**weights(value)), goal)
        yield Experiment(f"control: {share} random", base.replace(**weights(value, "random")))
    yield from _channel_rows(base, {2: 89.6, 4: 88.6})


def resnet_8(seed: int) -> Iterator[Experiment]:
    """Yield the experiments of the residual network."""
    base = Recipe(model="bundled:resnet_8", tuning=HALF_SGD, seed=seed)
    yield Experiment("control: dense + 1/2 epoch", base)
    for value, goal in ((0.8, 89.8), (0.9, 87.6)):
        share = f"{value:.0%} weights"
        yield Experiment(f"{share} + 1/2 epoch", base.replace(**weights(value)), goal)
        yield Experiment(f"control: {share} random", base.replace(**weights(value, "random")))
    yield from _channel_rows(base, {1.5: 90.2, 2: 89.4, 4.6: 86.4})


def _channel_rows(base: Recipe, goals: dict[float, float]) -> Iterator[Experiment]:
    """Yield channel pruning to fewer MACs by two criteria, and the random control."""
    for factor, goal in goals.items():
        title = f"channels, {factor} x fewer MACs"
        for criterion, scope in (("l1", "local"), ("taylor", "global")):
            recipe = base.replace(**channels(factor, criterion=criterion, scope=scope))
            yield Experiment(f"{title}, {criterion} {scope}", recipe, goal)
        random = base.replace(**channels(factor, criterion="random", scope="local"))
        yield Experiment(f"control: {title}, random local", random)


def carry_out(network: str, experiment: Experiment, data: Dataset) -> Row:
    """Run one recipe through the pipeline and return what was measured on the test split."""
    for event in execute(experiment.recipe, data=data):
        if isinstance(event, Finished):
            result = event.result
    before, after = result.preview.before, result.preview.after
    dense, pruned, tuned = result.dense, result.pruned, result.tuned
    if dense is None or pruned is None or tuned is None:
        raise RuntimeError("the pipeline measured nothing")
    return Row(
        network=network,
        experiment=experiment.title,
        seed=experiment.recipe.seed,
        params=after.params / before.params,
        nonzero=after.nonzero / before.nonzero,
        macs=after.macs / before.macs,
        dense=dense.accuracy,
        pruned=pruned.accuracy,
        tuned=tuned.accuracy,
        n=tuned.n,
        goal=experiment.goal,
    )


def lottery_tickets(seed: int, data: Dataset) -> Iterator[Row]:
    """Yield the 90 % mask of the trained network with rewound and with newly drawn weights."""
    module = trained("lenet_300_100", seed)
    dense = LoadedModel(
        "bench:lenet_300_100",
        module,
        Inputs.of(data.test.batch(slice(0, 1))[0]),
        data.key,
        None,
        "",
    )
    recipe = Recipe(model=dense.identity, target=Ratio(value=0.9), seed=seed)
    network = trace(module, dense.inputs)
    plan = resolve(recipe, network, score(dense, network, recipe))
    settings = ARCHITECTURES["lenet_300_100"].training.model_copy(update={"epochs": 10})
    starts = {"ticket: 90 % rewound, 10 epochs": seed, "ticket: 90 % re-initialised": 1000 + seed}
    for title, initial_seed in starts.items():
        start = replace(dense, module=initial_module("lenet_300_100", initial_seed))
        ticket = prune(start, trace(start.module, start.inputs), plan)
        untrained = evaluate(ticket.module, data.test).accuracy
        for _ in finetune(ticket.module, data, settings, seed=seed, masks=ticket.masks):
            pass
        tuned = evaluate(ticket.module, data.test)
        nonzero = sum(int(p.count_nonzero()) for p in ticket.module.parameters())
        total = sum(p.numel() for p in ticket.module.parameters())
        accuracy = evaluate(module, data.test).accuracy
        yield Row(
            "lenet_300_100",
            title,
            seed,
            1.0,
            nonzero / total,
            1.0,
            accuracy,
            untrained,
            tuned.accuracy,
            tuned.n,
        )


def measure(only: str | None, seeds: Iterable[int]) -> Iterator[Row]:
    """Yield every row that is asked for, as it is measured."""
    data = load_dataset("fashion_mnist")
    if data.source != "full set":
        raise SystemExit("This benchmark needs the full Fashion-MNIST; see benchmarks/README.md.")
    if only in (None, "lenet_300_100"):
        for seed in seeds:
            for experiment in lenet_300_100(seed):
                yield carry_out("lenet_300_100", experiment, data)
            yield from lottery_tickets(seed, data)
    for name, experiments in (("lenet_5", lenet_5), ("resnet_8", resnet_8)):
        if only in (None, name):
            for experiment in experiments(0):
                yield carry_out(name, experiment, data)


def table(found: list[Row]) -> str:
    """Return the rows as a Markdown table, means over seeds with their range."""
    lines = [
        "| network | experiment | seeds | non-zeros | MACs | pruned | tuned | range | goal | |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in found:
        groups.setdefault((row.network, row.experiment), []).append(row)
    for (network, experiment), same in groups.items():
        tuned = [100 * row.tuned for row in same]
        mean = statistics.mean(tuned)
        goal = same[0].goal
        verdict = "" if goal is None else "reached" if mean >= goal else f"{goal - mean:.2f} short"
        lines.append(
            f"| {network} | {experiment} | {len(same)} | {same[0].nonzero:.1%} | "
            f"{same[0].macs:.1%} | {100 * statistics.mean(r.pruned for r in same):.2f} | "
            f"{mean:.2f} | {min(tuned):.2f}-{max(tuned):.2f} | {goal or ''} | {verdict} |"
        )
    return "\n".join([*lines, *_tickets(found), ""])


def _tickets(found: list[Row]) -> list[str]:
    rewound = [r.tuned for r in found if "rewound" in r.experiment]
    drawn = [r.tuned for r in found if "re-initialised" in r.experiment]
    if not rewound:
        return []
    gap = 100 * (statistics.mean(rewound) - statistics.mean(drawn))
    verdict = "reached" if gap > 0.8 else f"{0.8 - gap:.2f} short"
    return ["", f"Rewound minus re-initialised at 90 %: {gap:.2f} points (goal: > 0.8, {verdict})."]


def write(folder: Path, found: list[Row]) -> None:
    """Write table and numbers; rows of networks that were not measured now stay as they are."""
    path = folder / "accuracy.json"
    known = json.loads(path.read_text())["rows"] if path.is_file() else []
    measured = {row.network for row in found}
    rows = sorted(
        [*(Row(**row) for row in known if row["network"] not in measured), *found],
        key=lambda row: ("lenet_300_100", "lenet_5", "resnet_8").index(row.network),
    )
    folder.mkdir(parents=True, exist_ok=True)
    document = {"environment": describe_environment(), "rows": [asdict(row) for row in rows]}
    path.write_text(json.dumps(document, indent=1) + "\n")
    (folder / "accuracy.md").write_text(table(rows))


def main() -> None:
    """Measure, print the table, and write it when a folder is given."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", choices=["lenet_300_100", "lenet_5", "resnet_8"])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], choices=[0, 1, 2])
    parser.add_argument("--write", type=Path, help="folder for accuracy.md and accuracy.json")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    found = []
    for row in measure(arguments.only, arguments.seeds):
        found.append(row)
        print(
            f"{row.network} seed {row.seed}: {row.experiment}: {100 * row.pruned:.2f} -> "
            f"{100 * row.tuned:.2f} %",
            file=sys.stderr,
            flush=True,
        )
    print(table(found))
    if arguments.write:
        write(arguments.write, found)


if __name__ == "__main__":
    main()
