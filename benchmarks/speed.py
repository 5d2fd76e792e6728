"""How fast networks with half their units are beside dense ones, on this machine.

Usage: python -m benchmarks.speed [--only NAME] [--seconds S] [--write FOLDER]

``resnet_18`` is a ResNet-18-shaped network (random weights, 224 x 224) that keeps half of every
group of channels, rounded to 8; the others are the bundled networks, for which there is no goal.
Dense and pruned are timed in turns after a warm-up, batch of 8, one thread; the figure is the
median ratio of pairs, with its 95 % interval.
"""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from benchmarks.measuring import Figure, publish
from pruning_core.exporting.export import result_of
from pruning_core.exporting.int8_table import milliseconds
from pruning_core.exporting.result import RunResult
from pruning_core.exporting.speed_table import BACKENDS
from pruning_core.loading.card import read_cards
from pruning_core.loading.model import load_model
from pruning_core.planning.recipe import Ratio, Recipe
from pruning_core.planning.resolve import resolve
from pruning_core.runs.speed import Cases, measure_speed
from pruning_core.scoring.score import score
from pruning_core.steps import run_to_end
from pruning_core.surgery.prune import prune
from pruning_core.tracing.trace import trace

BATCH_SIZE: Final = 8
GOALS: Final = {"onnxruntime": 3.3, "pytorch": 2.8}
_LARGE: Final = "resnet_18"


def halved(name: str) -> RunResult:
    """Return a network without half of the units of every group, ``resnet_18`` in steps of 8."""
    large = name == _LARGE
    recipe = Recipe(
        model="python:benchmarks.shapes:resnet_18" if large else f"bundled:{name}",
        input_shape=(3, 224, 224) if large else None,
        granularity="unit",
        scope="local",
        target=Ratio(value=0.5),
        round_to=8 if large else 1,
    )
    model = load_model(recipe.model, input_shape=recipe.input_shape)
    network = trace(model.module, model.inputs)
    plan = resolve(recipe, network, score(model, network, recipe))
    return result_of(prune(model, network, plan), model, network, plan)


def figures(name: str, seconds: float) -> Iterator[Figure]:
    """Measure one network in every runtime."""
    title = "ResNet-18 shape" if name == _LARGE else name
    found = run_to_end(
        measure_speed(halved(name), Cases(("onnxruntime", "pytorch"), (BATCH_SIZE,), (1,), seconds))
    )
    macs = found["macs"]
    yield Figure(title, "MACs, dense / pruned", macs["dense"] / macs["pruned"], "x")
    for row in found["rows"]:
        interval = f"95 % {row['ratio_low']:.2f} to {row['ratio_high']:.2f}, n = {row['n']}"
        times = f"{milliseconds(row['before'])} / {milliseconds(row['after'])}"
        yield Figure(
            title,
            f"time in {BACKENDS[row['backend']]}, dense / pruned: {times}; {interval}; "
            f"{row['verdict']}",
            row["ratio"],
            "x",
            GOALS[row["backend"]] if name == _LARGE else None,
            at_least=True,
        )
    for row in found["memory"]:
        yield Figure(
            title,
            f"memory a pass adds, dense / pruned: {row['dense'] / 1e6:.1f} / "
            f"{row['pruned'] / 1e6:.1f} MB (PyTorch), n = {row['n']}",
            row["dense"] / max(1, row["pruned"]),
            "x",
        )


def main() -> int:
    """Measure, print and perhaps write the table."""
    names = [_LARGE, *(card.identity.removeprefix("bundled:") for card in read_cards())]
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", choices=names)
    parser.add_argument("--seconds", type=float, default=10.0, help="for each case")
    parser.add_argument("--write", type=Path, metavar="FOLDER")
    chosen = parser.parse_args()
    publish(
        "Measured speed of smaller networks",
        "Written by `python -m benchmarks.speed --write docs/benchmarks`: half of the units of "
        f"every group removed (ResNet-18 shape: rounded to 8), batch of {BATCH_SIZE}, one thread, "
        "dense and pruned in turns; medians with quartiles, ratios with bootstrap intervals.",
        (
            figure
            for name in ([chosen.only] if chosen.only else names)
            for figure in figures(name, chosen.seconds)
        ),
        chosen.write / "speed.md" if chosen.write else None,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
