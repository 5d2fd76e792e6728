"""``search RECIPE``: plans between accuracy and cost, found by measuring."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pruning_core.commands.answer import ANSWER_VERSION, Answer
from pruning_core.commands.interruption import was_asked
from pruning_core.commands.measuring import (
    add_measuring_arguments,
    add_storage,
    check_counts,
    setup_of,
)
from pruning_core.exporting.wording import count, percent, table

if TYPE_CHECKING:
    from pruning_core.evaluation.tradeoff import Cost, Trial
    from pruning_core.runs.studies import Study

NAME = "search"
HELP = "measure plans between accuracy and cost and print those that no other one beats"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add RECIPE, the cost, the number of plans and the storage."""
    add_measuring_arguments(parser)
    parser.add_argument(
        "--cost",
        choices=("params", "nonzero", "macs", "n_bytes", "milliseconds"),
        default="macs",
        help="what is weighed against the accuracy (default: macs)",
    )
    parser.add_argument(
        "--plans", type=int, default=60, metavar="N", help="plans to measure in all (default: 60)"
    )
    add_storage(parser)
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="write the recipe of each best plan to this folder"
    )


def answer(arguments: argparse.Namespace) -> Answer:
    """Measure plans until there are enough, counting those of other workers."""
    check_counts(arguments, "plans")
    setup = setup_of(arguments)

    from pruning_core.evaluation.tradeoff import front, varied
    from pruning_core.runs import studies

    metric = setup.data.task.metrics[0]
    for share, trial in studies.carry_out(
        setup,
        arguments.cost,
        n_trials=arguments.plans,
        n=arguments.examples,
        storage=arguments.storage,
        should_stop=was_asked,
    ):
        sys.stderr.write(
            f"{percent(share)}: plan {trial.number + 1}: {metric.name} "
            f"{metric.text(trial.accuracy)}, {trial.cost(arguments.cost):,.6g} {arguments.cost}\n"
        )
    name = studies.name_of(setup.recipe, setup.model.weights_sha256, setup.data.key, arguments.cost)
    found = studies.read(studies.path_of(name))
    assert found is not None
    best = front(found.trials, arguments.cost, metric)
    if arguments.out is not None:
        arguments.out.mkdir(parents=True, exist_ok=True)
        for trial in best:
            path = arguments.out / f"plan_{trial.number + 1:04d}.json"
            path.write_text(varied(setup.recipe, trial.ratios).to_json(), encoding="utf-8")
    return Answer(_document(setup.recipe.model, found, best), _text(found, best, arguments.cost))


def _document(model: str, found: "Study", best: "tuple[Trial, ...]") -> dict[str, Any]:
    from pruning_core.exporting.document import plain

    return {
        "version": ANSWER_VERSION,
        "model": model,
        "n": found.n,
        "source": found.source,
        "n_plans": len(found.trials),
        "dense": plain(found.dense),
        "best": [plain(trial) for trial in best],
    }


def _text(found: "Study", best: "tuple[Trial, ...]", cost: "Cost") -> str:
    from pruning_core.tasks.registry import headline

    metric = headline(found.task)
    whole = found.dense.cost(cost)
    rows = [
        (
            f"plan {trial.number + 1}",
            metric.text(trial.accuracy),
            f"{trial.cost(cost):.3g}" if cost == "milliseconds" else count(int(trial.cost(cost))),
            percent(trial.cost(cost) / whole),
        )
        for trial in best
    ]
    return (
        f"{len(found.trials)} plans, measured on {found.n:,} validation examples ({found.source}) "
        f"right after pruning; the dense model has {metric.text(found.dense.accuracy)}\n\n"
        + table(("Not beaten", metric.capital, cost, "of dense"), rows)
    )
