"""The steps that repeat a run, as Python: for the script and for the notebook."""

from typing import Final

from pruning_core.exporting.result import RunResult

TITLE: Final = "Repeat a pruning run"
SETUP: Final = """\
from pathlib import Path

from pruning_core import Recipe
from pruning_core.runs.events import Evaluated, Finished
from pruning_core.runs.pipeline import execute, write_run
from pruning_core.tasks.registry import headline
from pruning_core.tuning.finetune import EpochResult"""
RUN: Final = """\
recipe = Recipe.from_json(RECIPE)
for event in execute(recipe, threads=THREADS):
    if isinstance(event, Evaluated):
        metric = headline(event.evaluation.task)
        print(f"{event.moment}: test {metric.name} {metric.text(event.evaluation.headline)}")
    elif isinstance(event, EpochResult):
        metric = headline(event.task)
        print(f"epoch {event.epoch}: {metric.name} {metric.text(event.validation_accuracy)}")
    elif isinstance(event, Finished):
        result = event.result"""
CHECK: Final = '''\
print("masks are the same:", result.plan.fingerprint == MASKS)
print(f"{result.counted.nonzero:,} parameters are not zero, {result.counted.macs:,} MACs a sample")
assert result.plan.fingerprint == MASKS, "other masks: another version, or the model changed"'''
WRITE: Final = """\
folder = Path(OUT)
folder.mkdir(parents=True, exist_ok=True)
write_run(result, folder)
print("written to", folder)"""


def constants(result: RunResult, out: str) -> str:
    """Return the lines that hold what the run was asked for and what masks it made."""
    threads = result.environment.get("threads", "")
    is_number = threads.isascii() and threads.isdigit() and len(threads) < 5
    lines = "\n".join(f"    {line!r}" for line in result.recipe.to_json().splitlines(keepends=True))
    return (
        f"RECIPE = (\n{lines}\n)\n"
        f"MASKS = {result.plan.fingerprint!r}\n"
        f"THREADS = {int(threads) if is_number else None!r}  # others give other bits\n"
        f"OUT = {out!r}"
    )


def about(result: RunResult) -> str:
    """Say what is repeated, in lines of plain text."""
    versions = ", ".join(f"{name} {value}" for name, value in result.environment.items())
    made = [f"The run was made with: {versions}."] if versions else []
    lines = [
        f"{result.model.identity}: the same recipe and seed give the same masks, bit for bit.",
        "Needs Pruning Studio (python -m pip install -e . in its folder) and the same model.",
    ]
    return "\n".join([*lines, *made])
