"""``sensitivity RECIPE``: how much accuracy each layer costs when it alone is pruned."""

import argparse
import sys
from typing import TYPE_CHECKING, Any

from pruning_core.commands.answer import ANSWER_VERSION, Answer
from pruning_core.commands.interruption import was_asked
from pruning_core.commands.measuring import add_measuring_arguments, add_storage, setup_of
from pruning_core.exporting.wording import percent, table
from pruning_core.tasks import CLASSES

if TYPE_CHECKING:
    from pruning_core.runs.scans import Scan
    from pruning_core.tasks import Metric

NAME = "sensitivity"
HELP = "measure how much accuracy each layer costs when it alone is pruned"
_COLUMNS = (0.1, 0.3, 0.5, 0.7, 0.9)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add RECIPE, what is measured and the storage."""
    add_measuring_arguments(parser)
    add_storage(parser)


def answer(arguments: argparse.Namespace) -> Answer:
    """Measure what is not yet known; stopped with Ctrl-C, it goes on the next time."""
    setup = setup_of(arguments)

    from pruning_core.runs import scans

    metric = setup.data.task.metrics[0]
    for share, point in scans.carry_out(
        setup, n=arguments.examples, storage=arguments.storage, should_stop=was_asked
    ):
        sys.stderr.write(
            f"{percent(share)}: {point.site or '(model)'} without {percent(point.ratio)}: "
            f"{metric.name} {metric.text(point.accuracy)}\n"
        )
    found = scans.read(scans.path_of(setup.recipe, setup.model.weights_sha256, setup.data.key))
    assert found is not None
    return Answer(_document(setup.recipe.model, found), _text(found))


def _document(model: str, found: "Scan") -> dict[str, Any]:
    return {
        "version": ANSWER_VERSION,
        "model": model,
        "task": found.task,
        "dense_accuracy" if found.task == CLASSES else "dense": found.dense,
        "n": found.n,
        "source": found.source,
        "layers": {
            site: [
                {"ratio": ratio, "accuracy" if found.task == CLASSES else "value": accuracy}
                for ratio, accuracy in zip(*curve, strict=True)
            ]
            for site, curve in found.curves.items()
        },
    }


def _text(found: "Scan") -> str:
    from pruning_core.tasks.registry import headline

    metric = headline(found.task)
    unit = metric.loss_unit
    rows = [
        (site or "(model)", *(_lost(curve, column, metric) for column in _COLUMNS))
        for site, curve in found.curves.items()
    ]
    header = (f"{unit[:1].upper()}{unit[1:]} lost by", *(percent(column) for column in _COLUMNS))
    return (
        f"Each layer pruned alone, measured on {found.n:,} validation examples ({found.source}); "
        f"the dense model has {metric.text(found.dense)}\n\n{table(header, rows)}\n\n"
        "What layers lose alone does not add up."
    )


def _lost(curve: Any, column: float, metric: "Metric") -> str:
    """Return the points lost at the measured ratio nearest to a column, if one is near."""
    near = min(zip(*curve, strict=True), key=lambda pair: abs(pair[0] - column))
    return f"{metric.lost(curve[1][0], near[1]):.1f}" if abs(near[0] - column) < 0.06 else "-"
