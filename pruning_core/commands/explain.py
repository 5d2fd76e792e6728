"""``explain RECIPE SITE [UNIT]``: why a unit goes or stays, or why a layer cannot shrink."""

import argparse
from typing import TYPE_CHECKING

from pruning_core.commands.answer import ANSWER_VERSION, Answer
from pruning_core.commands.options import add_recipe_arguments, calibration_of, recipe_of
from pruning_core.exporting.wording import count, percent, table

if TYPE_CHECKING:
    from pruning_core.planning.explain import Explanation, Lock
    from pruning_core.planning.plan import Plan
    from pruning_core.tracing.network import Network

NAME = "explain"
HELP = "say why a unit goes or stays, or why a layer cannot shrink"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add RECIPE, SITE and UNIT."""
    add_recipe_arguments(parser)
    parser.add_argument(
        "site", metavar="SITE", help="a layer, as preview names it; GRANULARITY/LAYER in a mix"
    )
    parser.add_argument(
        "unit", type=int, nargs="?", metavar="UNIT", help="number of the unit; without it the layer"
    )


def answer(arguments: argparse.Namespace) -> Answer:
    """Resolve the recipe and explain one decision."""
    recipe = recipe_of(arguments)

    from pruning_core.exporting.document import plain
    from pruning_core.loading.model import load_model
    from pruning_core.planning.explain import explain
    from pruning_core.planning.resolve import resolve
    from pruning_core.scoring.score import score
    from pruning_core.tracing.trace import trace

    model = load_model(recipe.model, input_shape=recipe.input_shape)
    network = trace(model.module, model.inputs)
    scores = score(model, network, recipe, calibration_of(recipe, model))
    plan = resolve(recipe, network, scores)
    if arguments.unit is None:
        return _layer(plan, network, arguments.site)
    found = explain(plan, network, scores, arguments.site, arguments.unit)
    return Answer({"version": ANSWER_VERSION, **plain(found)}, _text(found))


def _text(found: "Explanation") -> str:
    rows = [(piece.tensor, piece.place or "all of it") for piece in found.slices]
    return f"{found.sentence}\n\n" + table(("Belongs to it", "Where"), rows, left=2)


def _layer(plan: "Plan", network: "Network", name: str) -> Answer:
    """Say how much of a layer goes, and what of it cannot."""
    from pruning_core.errors import UnknownNameError
    from pruning_core.planning.explain import locks

    layers = [layer.name for layer in network.layers]
    if name not in plan.keep and name not in layers:
        raise UnknownNameError("layer", name, {*plan.keep, *layers})
    held = locks(network, name) if name in layers else ()
    notes = list(plan.notes.get(name, ()))
    document = {
        "version": ANSWER_VERSION,
        "layer": name,
        "n_units": len(plan.keep[name]) if name in plan.keep else 0,
        "n_removed": plan.n_removed(name) if name in plan.keep else 0,
        "notes": notes,
        "locks": [
            {"parameter": lock.parameter, "axis": lock.axis, "reasons": list(lock.reasons)}
            for lock in held
        ],
    }
    return Answer(document, "\n".join([_summary(plan, name), *notes, *map(_lock_text, held)]))


def _summary(plan: "Plan", name: str) -> str:
    if name not in plan.keep:
        return f"'{name}' has no units of its own that the recipe prunes."
    removed, total = plan.n_removed(name), len(plan.keep[name])
    return f"{count(removed)} of {count(total)} units of '{name}' go ({percent(removed / total)})."


def _lock_text(lock: "Lock") -> str:
    return f"{lock.parameter} axis {lock.axis} stays: {'; '.join(lock.reasons)}."
