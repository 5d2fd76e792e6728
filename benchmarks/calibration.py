"""What calibration statistics cost beside the passes they are read from, and what they remember.

Usage: python -m benchmarks.calibration [--only NAME] [--large] [--write FOLDER]

For each criterion that reads data: the processor time of one more batch, minus that of the same
batch through the plain module (forward, or forward and backward, whichever the criterion needs), as
a share of forward and backward. Goal: at most 5 %. One thread, the smallest of several alternating
runs; setting up (hooks, or tracing at other batch sizes) is no part of it. Memory: by how much the
peak of the process is higher with many batches than with a few (Linux). ``--large`` measures
ResNet-50 at 224 x 224 with random weights instead of the bundled networks, and needs torchvision.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor

from pruning_core.inputs import Inputs
from pruning_core.loading.dataset import load_dataset
from pruning_core.loading.model import LoadedModel, bundled_models, load_model
from pruning_core.loading.split import Split
from pruning_core.planning.recipe import Calibration, Recipe
from pruning_core.runs.environment import describe_environment
from pruning_core.scoring.criterion import CRITERIA, Criterion, Evidence
from pruning_core.scoring.gradients import differentiated, leaves, loss_of
from pruning_core.scoring.score import score
from pruning_core.tracing.network import Network
from pruning_core.tracing.trace import trace

GOAL = 0.05
STATISTICS = (
    *("activation_mean", "activation_norm", "mean_output", "apoz", "wanda"),
    *("gradient_norm", "taylor", "fisher", "snip", "activation_gradient"),
)
FEW, ROUNDS = 2, 7
SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Row:
    """One criterion on one model.

    Attributes:
        batch_size: Samples in a batch.
        both: Milliseconds of a batch forward and backward.
        added: Milliseconds that the criterion adds to the pass it needs.
        n_batches: How many more than FEW are timed.
        memory: Mebibytes by which the peak is higher with so many more batches.
    """

    model: str
    criterion: str
    batch_size: int
    n_batches: int
    both: float
    added: float
    memory: float

    @property
    def share(self) -> float:
        """What the criterion adds, as a share of forward and backward."""
        return self.added / self.both


@dataclass(frozen=True, slots=True, eq=False)
class Case:
    """A model and one sample, which stands for as many as are asked for without being copied."""

    model: LoadedModel
    network: Network
    inputs: Tensor
    batch_size: int

    def data(self, n_batches: int) -> Split:
        """Return so many batches of the sample."""
        size = n_batches * self.batch_size
        inputs = self.inputs.expand(size, *self.inputs.shape[1:])
        return Split(inputs, torch.zeros(1, dtype=torch.int64).expand(size), 1.0, 0.0, 1.0)


def bundled(name: str, batch_size: int) -> Case:
    """Return a bundled model with the first sample of its data."""
    model = load_model(name)
    calibration = load_dataset(str(model.data), source="bundled").calibration
    inputs, _ = calibration.batch(slice(0, 1))
    return Case(model, trace(model.module, model.inputs), inputs, batch_size)


def resnet_50() -> Case:
    """Return torchvision's ResNet-50 with random weights and a random image."""
    import torchvision  # type: ignore[import-not-found, unused-ignore]

    inputs = torch.randn(1, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    torch.manual_seed(0)
    module = torchvision.models.resnet50(weights=None).eval()
    model = LoadedModel("torchvision:resnet50", module, Inputs.of(inputs), None, None, "")
    return Case(model, trace(module, model.inputs), inputs, 8)


def measure(case: Case, criterion: Criterion) -> Row:
    """Time the criterion and the plain pass it needs in turns, and keep the smallest times."""
    plain = backward if Evidence.GRADIENTS in criterion.needs else forward
    times: dict[str, list[float]] = {"few": [], "many": [], "plain": [], "both": []}
    one = _seconds(lambda: backward(case, 1))
    n_more = min(2_000 // case.batch_size - FEW, max(2, round(SECONDS / one)))
    for _ in range(ROUNDS):
        times["few"].append(_seconds(lambda: scored(case, criterion, FEW)))
        times["plain"].append(_seconds(lambda: plain(case, n_more)))
        times["many"].append(_seconds(lambda: scored(case, criterion, FEW + n_more)))
        times["both"].append(_seconds(lambda: backward(case, n_more)))
    least = {name: min(found) for name, found in times.items()}
    return Row(
        model=case.model.identity,
        criterion=criterion.key,
        batch_size=case.batch_size,
        n_batches=n_more,
        both=1e3 * least["both"] / n_more,
        added=1e3 * (least["many"] - least["few"] - least["plain"]) / n_more,
        memory=_peak(lambda: scored(case, criterion, FEW + n_more))
        - _peak(lambda: scored(case, criterion, FEW)),
    )


def scored(case: Case, criterion: Criterion, n_batches: int) -> None:
    """Rate the model on so many batches."""
    recipe = Recipe(
        model=case.model.identity,
        criterion=criterion.key,
        granularity="weight" if criterion.key == "wanda" else "unit",
        calibration=Calibration(samples=n_batches * case.batch_size, batch_size=case.batch_size),
    )
    score(case.model, case.network, recipe, case.data(n_batches))


def forward(case: Case, n_batches: int) -> None:
    """Run so many batches through the plain module."""
    with torch.no_grad():
        for inputs, _ in _batches(case, n_batches):
            case.model.module(inputs)


def backward(case: Case, n_batches: int) -> None:
    """Run so many batches forward and backward, to the gradients of all parameters."""
    for inputs, labels in _batches(case, n_batches):
        parameters = leaves(case.model.module)
        differentiated(loss_of(case.model.module, parameters, inputs, labels), parameters)


def _batches(case: Case, n_batches: int) -> Iterator[tuple[Tensor, Tensor]]:
    data, size = case.data(n_batches), case.batch_size
    return (data.batch(slice(start, start + size)) for start in range(0, len(data), size))


def _seconds(action: Callable[[], None]) -> float:
    start = time.process_time()
    action()
    return time.process_time() - start


def _peak(action: Callable[[], None]) -> float:
    """Return the peak of the process during ``action`` in MiB."""
    Path("/proc/self/clear_refs").write_text("5")
    action()
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))


def table(rows: list[Row]) -> str:
    """Return the rows as Markdown: a line a model, a column a criterion."""
    lines = [
        "| model | batch | forward + backward, ms | " + " | ".join(STATISTICS) + " | memory, MiB |",
        "|---" * (len(STATISTICS) + 4) + "|",
    ]
    for name in dict.fromkeys(row.model for row in rows):
        own = {row.criterion: row for row in rows if row.model == name}
        first = next(iter(own.values()))
        cells = [f"{100 * own[key].share:.1f} %" for key in STATISTICS]
        lines.append(
            f"| {name} | {first.batch_size} | {first.both:.2f} | {' | '.join(cells)} | "
            f"{max(row.memory for row in own.values()):.1f} |"
        )
    within = sum(row.share <= GOAL for row in rows)
    lines += ["", f"{within} of {len(rows)} at most {GOAL:.0%}."]
    return "\n".join([*lines, ""])


def main() -> None:
    """Measure, print the table, and write it when a folder is given."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    names = [card.identity for card in bundled_models()]
    parser.add_argument("--only", choices=names)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--large", action="store_true", help="ResNet-50 (needs torchvision)")
    parser.add_argument("--write", type=Path, help="folder for calibration.md and .json")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    wanted = [name for name in names if arguments.only in (None, name)]
    rows = []
    for name in [""] if arguments.large else wanted:
        case = bundled(name, arguments.batch_size) if name else resnet_50()
        for key in STATISTICS:
            rows.append(measure(case, CRITERIA[key]))
            print(
                f"{rows[-1].model} {key}: {100 * rows[-1].share:.1f} % of {rows[-1].both:.2f} ms, "
                f"{rows[-1].memory:.1f} MiB",
                file=sys.stderr,
                flush=True,
            )
    print(table(rows))
    if arguments.write:
        document = {"environment": describe_environment(), "rows": [asdict(row) for row in rows]}
        (arguments.write / "calibration.json").write_text(json.dumps(document, indent=1) + "\n")
        (arguments.write / "calibration.md").write_text(table(rows))


if __name__ == "__main__":
    main()
