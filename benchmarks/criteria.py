"""Does a criterion know what matters? Accuracy right after pruning, beside random and reversed.

Usage: python -m benchmarks.criteria [--only NAME ...] [--write FOLDER]

Every criterion rates the bundled networks; the lowest scores leave, and in the reversed control the
highest. No fine-tuning. Expected: reversed below random below the criterion, by their means; where
random is at chance already, reversed cannot be lower and need not be. A seed draws the random
scores, and chooses the training images that criteria read: 512, the recipe's default, and 128 for
the accuracy drop; criteria that read no data have one result. Units leave in every layer alike
until the MACs are met, after which batch-norm statistics are taken anew, as in a run; weights
become zero in every layer alike. Accuracy on 1,000 test images, 500 of the digits.
"""

import argparse
import json
import statistics
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import torch

from pruning_core.errors import InvalidRecipeError, UnsupportedModelError
from pruning_core.evaluation.evaluate import evaluate
from pruning_core.granularities import GRANULARITIES
from pruning_core.loading.dataset import Dataset, load_dataset
from pruning_core.loading.model import LoadedModel, bundled_models, load_model
from pruning_core.planning.recipe import Budget, Calibration, Ratio, Recipe, Target
from pruning_core.planning.resolve import resolve
from pruning_core.runs.environment import describe_environment
from pruning_core.scoring.criterion import CRITERIA
from pruning_core.scoring.score import Scores, score
from pruning_core.surgery.prune import prune
from pruning_core.tracing.network import Network
from pruning_core.tracing.trace import trace
from pruning_core.tuning.batchnorm import recalibrate_batchnorm

SEEDS = (0, 1, 2)
N_TEST = 1_000
AT_CHANCE = 0.12  # ten classes, and two standard errors
BUDGETS: dict[str, dict[str, Target]] = {
    "unit": {
        "80 % of the MACs": Budget(kind="macs", value=0.8),
        "60 % of the MACs": Budget(kind="macs", value=0.6),
    },
    "weight": {
        "50 % of the weights zero": Ratio(value=0.5),
        "80 % of the weights zero": Ratio(value=0.8),
    },
}


@dataclass(frozen=True, slots=True)
class Row:
    """Accuracies of one criterion at one budget, one for each seed, as shares of N_TEST samples.

    Attributes:
        real: The lowest scores left.
        reversed: The highest scores left.
        random: Random scores, with the layers pinned about which the criterion says nothing.
        unrated: Those layers.
    """

    model: str
    budget: str
    criterion: str
    real: list[float]
    reversed: list[float]
    random: list[float]
    unrated: list[str]

    @property
    def wrong(self) -> str:
        """What is not as expected; empty when the order holds."""
        low, middle, high = map(statistics.mean, (self.reversed, self.random, self.real))
        texts = [
            "" if low < middle or middle < AT_CHANCE else "reversed no worse than random",
            "" if middle < high else "no better than random",
        ]
        return ", ".join(text for text in texts if text)


@dataclass(frozen=True, slots=True, eq=False)
class Case:
    """A bundled network and its data."""

    model: LoadedModel
    network: Network
    data: Dataset
    known: dict[str, list[float]] = field(default_factory=dict)

    @classmethod
    def of(cls, name: str) -> "Case":
        """Return the bundled network ``name`` with its bundled data."""
        model = load_model(name)
        data = load_dataset(str(model.data), source="bundled")
        return cls(model, trace(model.module, model.inputs), data)

    def scores(self, recipe: Recipe) -> Scores:
        """Rate the network on the training samples that the recipe's seed chooses."""
        size, train = recipe.calibration.samples, self.data.train
        chosen = (torch.arange(size) + recipe.seed * size) % len(train)
        examples = replace(train, inputs=train.inputs[chosen], labels=train.labels[chosen])
        return score(self.model, self.network, recipe, examples)

    def accuracy(self, recipe: Recipe, scores: Scores) -> float:
        """Return the accuracy of the network pruned as the recipe says."""
        pruned = prune(self.model, self.network, resolve(recipe, self.network, scores)).module
        if GRANULARITIES[recipe.granularity].removes:
            recalibrate_batchnorm(pruned, self.data.calibration)
        return evaluate(pruned, self.data.test.first(N_TEST)).accuracy

    def random(self, recipe: Recipe) -> list[float]:
        """Return the accuracies with random scores, for each seed; measured once for a recipe."""
        if recipe.fingerprint not in self.known:
            seeded = [recipe.replace(seed=seed) for seed in SEEDS]
            self.known[recipe.fingerprint] = [self.accuracy(r, self.scores(r)) for r in seeded]
        return self.known[recipe.fingerprint]


def measure(case: Case) -> Iterator[Row]:
    """Yield a row for each criterion and budget."""
    for granularity, targets in BUDGETS.items():
        for criterion in CRITERIA.values():
            if criterion.supports(GRANULARITIES[granularity]) and criterion.key != "random":
                base = Recipe(
                    model=case.model.identity,
                    granularity=granularity,
                    criterion=criterion.key,
                    scope="local",
                    calibration=Calibration(
                        samples=128 if criterion.key == "accuracy_drop" else 512
                    ),
                )
                yield from _rows(case, base, targets)


def _rows(case: Case, base: Recipe, targets: dict[str, Target]) -> Iterator[Row]:
    seeds = SEEDS if CRITERIA[base.criterion].needs_data else (0,)
    try:
        found = [case.scores(base.replace(seed=seed)) for seed in seeds]
    except UnsupportedModelError:
        return  # it can rate no layer of this network
    unrated = sorted(found[0].unrated)
    for budget, target in targets.items():
        recipe = base.replace(target=target)
        try:
            yield Row(
                model=base.model,
                budget=budget,
                criterion=base.criterion,
                real=[case.accuracy(recipe, scores) for scores in found],
                reversed=[case.accuracy(recipe, _turned(scores)) for scores in found],
                random=case.random(recipe.replace(criterion="random", pins=tuple(unrated))),
                unrated=unrated,
            )
        except InvalidRecipeError:
            continue  # what it can rate is too little for the budget


def _turned(scores: Scores) -> Scores:
    """Return what ``reverse`` in the recipe makes of the scores."""
    by_site = {site: 0 - values for site, values in scores.by_site.items()}
    return Scores(scores.criterion, scores.granularity, by_site, scores.unrated)


def report(rows: list[Row], dense: dict[str, float]) -> str:
    """Return the rows as Markdown: a summary, then a table for each network and budget."""
    holds = sum(not row.wrong for row in rows)
    lines = [
        "# Criteria beside random and reversed scores",
        "",
        *__doc__.split("\n\n", 2)[2].strip().split("\n"),
        "",
        f"The order holds in {holds} of {len(rows)} cases.",
        "",
        "| criterion | order holds | mean gain over random, points |",
        "|---|---|---|",
    ]
    by_criterion = {key: [row for row in rows if row.criterion == key] for key in CRITERIA}
    gains = {key: statistics.mean(map(_gain, own)) for key, own in by_criterion.items() if own}
    for key in sorted(gains, key=lambda key: -gains[key]):
        own = by_criterion[key]
        right = sum(not row.wrong for row in own)
        lines.append(f"| {CRITERIA[key].title} | {right} of {len(own)} | {gains[key]:+.1f} |")
    for model, budget in dict.fromkeys((row.model, row.budget) for row in rows):
        lines += _table([row for row in rows if (row.model, row.budget) == (model, budget)], dense)
    return "\n".join([*lines, ""])


def _gain(row: Row) -> float:
    return 100 * (statistics.mean(row.real) - statistics.mean(row.random))


def _table(rows: list[Row], dense: dict[str, float]) -> list[str]:
    model = rows[0].model
    lines = [
        "",
        f"## {model.partition(':')[2]}, {rows[0].budget}",
        "",
        f"Dense: {100 * dense[model]:.1f} %.",
        "",
        "| criterion | reversed, % | random, % | criterion, % | order |",
        "|---|---|---|---|---|",
    ]
    for row in sorted(rows, key=lambda row: -statistics.mean(row.real)):
        note = f" (not {', '.join(row.unrated)})" if row.unrated else ""
        shown = " | ".join(map(_shown, (row.reversed, row.random, row.real)))
        lines.append(
            f"| {CRITERIA[row.criterion].title}{note} | {shown} | {row.wrong or 'holds'} |"
        )
    return lines


def _shown(accuracies: list[float]) -> str:
    points = [100 * accuracy for accuracy in accuracies]
    spread = f" ({min(points):.1f}-{max(points):.1f})" if len(points) > 1 else ""
    return f"{statistics.mean(points):.1f}{spread}"


def main() -> None:
    """Measure, print the tables, and write them when a folder is given."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    names = [card.identity for card in bundled_models()]
    parser.add_argument("--only", nargs="+", choices=names, default=names)
    parser.add_argument("--write", type=Path, help="folder for criteria.md and criteria.json")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    rows, dense = [], {}
    for name in arguments.only:
        case = Case.of(name)
        dense[name] = evaluate(case.model.module, case.data.test.first(N_TEST)).accuracy
        for row in measure(case):
            rows.append(row)
            shown = " < ".join(map(_shown, (row.reversed, row.random, row.real)))
            print(f"{name} {row.budget} {row.criterion}: {shown}", file=sys.stderr, flush=True)
    print(report(rows, dense))
    if arguments.write:
        document = {
            "environment": describe_environment(),
            "dense": dense,
            "rows": [asdict(row) for row in rows],
        }
        (arguments.write / "criteria.json").write_text(json.dumps(document, indent=1) + "\n")
        (arguments.write / "criteria.md").write_text(report(rows, dense))


if __name__ == "__main__":
    main()
