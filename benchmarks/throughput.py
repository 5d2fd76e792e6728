"""Fine-tuning through the worker beside a bare PyTorch loop over the same batches.

Usage: python -m benchmarks.throughput [--only NAME] [--epochs N] [--write FOLDER]

Epochs of both take turns in one process, on one thread, and are compared by processor time. The
worker's epoch is everything between two checkpoints: batches, validation, log, record, checkpoint.
The bare loop's is the same batches, the same optimiser, and validation. Goal: at least 95 % of the
bare loop's examples per second. ``lenet_300_100`` and ``lenet_5`` train on 12,800 samples.
"""

import argparse
import copy
import os
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import torch
from torch import nn
from torch.nn import functional

from benchmarks.measuring import Figure, publish
from pruning_core.loading.dataset import Dataset, load_dataset
from pruning_core.loading.model import load_model
from pruning_core.planning.recipe import Ratio, Recipe, Tuning
from pruning_core.runs.attempt import Attempt
from pruning_core.runs.checkpoint import Checkpoint
from pruning_core.runs.events import Finished, StageStarted
from pruning_core.runs.log import Log
from pruning_core.runs.pipeline import execute
from pruning_core.runs.store import Store, read_spec

N_TRAIN: Final = 12_800
BATCH_SIZE: Final = 128
NAMES: Final = ("lenet_300_100", "lenet_5", "resnet_8", "gru_128")


class Bare:
    """The loop one would write by hand."""

    def __init__(self, module: nn.Module, data: Dataset) -> None:
        self._module = module
        self._train = data.train.first(N_TRAIN)
        self._validation = data.validation
        self._optimiser = torch.optim.Adam(module.parameters(), lr=1e-3)

    def epoch(self) -> float:
        """Train and validate once; return the seconds of processor time."""
        began = time.thread_time()
        self._module.train()
        order = torch.randperm(len(self._train))
        for start in range(0, len(order), BATCH_SIZE):
            inputs, labels = self._train.batch(order[start : start + BATCH_SIZE])
            self._optimiser.zero_grad(set_to_none=True)
            loss = functional.cross_entropy(self._module(inputs), labels)
            loss.backward()  # type: ignore[no-untyped-call]
            self._optimiser.step()
            loss.item()
        self._module.eval()
        right = 0
        with torch.inference_mode():
            for start in range(0, len(self._validation), 500):
                inputs, labels = self._validation.batch(slice(start, start + 500))
                right += int((self._module(inputs).argmax(dim=1) == labels).sum())
        return time.thread_time() - began


def figures(name: str, epochs: int) -> Iterator[Figure]:
    """Measure one network: epochs of the worker and of the bare loop in turns."""
    recipe = Recipe(
        model=f"bundled:{name}",
        target=Ratio(value=0.0),
        tuning=Tuning(epochs=epochs + 1, train_samples=N_TRAIN, batch_size=BATCH_SIZE),
    )
    model = load_model(recipe.model)
    data = load_dataset(str(model.data))
    bare = Bare(copy.deepcopy(model.module).requires_grad_(), data)
    pairs: list[tuple[float, float]] = []
    with tempfile.TemporaryDirectory(prefix="throughput-") as folder:
        os.environ["PRUNING_STUDIO_STATE"] = folder
        store = Store()
        record = store.add(recipe, threads=1)
        home = store.folder(record.id)
        with Log(home / "log.jsonl", 1) as log:
            attempt = Attempt(store, read_spec(home / "spec.json"), 1, log, threading.Event())
            began = 0.0
            for event in execute(recipe, data=data, threads=1):
                if isinstance(event, Finished):
                    break
                attempt._store_event(event)
                if isinstance(event, StageStarted) and event.stage == "tune":
                    began = time.thread_time()
                if isinstance(event, Checkpoint):
                    spent = time.thread_time() - began
                    pairs.append((spent, bare.epoch()))
                    began = time.thread_time()
    worker, loop = (statistics.median(column) for column in zip(*pairs[1:], strict=True))
    shares = sorted(second / first for first, second in pairs[1:])
    n_train = min(N_TRAIN, len(data.train))
    yield Figure(name, "bare loop", n_train / loop, "examples/s")
    yield Figure(name, "through the worker", n_train / worker, "examples/s")
    yield Figure(
        name,
        f"worker / bare loop, median of {len(shares)} epochs ({shares[0]:.3f} to {shares[-1]:.3f})",
        statistics.median(shares),
        "",
        0.95,
        at_least=True,
    )


def main() -> int:
    """Measure, print and perhaps write the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", choices=NAMES)
    parser.add_argument("--epochs", type=int, default=5, help="pairs of epochs, after a warm-up")
    parser.add_argument("--write", type=Path, metavar="FOLDER")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    publish(
        "Fine-tuning throughput",
        "Written by `python -m benchmarks.throughput --write docs/benchmarks`: epochs through the "
        "worker (batches, validation, log, record, checkpoint) and of a bare PyTorch loop over the "
        "same batches (with validation) in turns, one thread, processor time.",
        (
            figure
            for name in ([chosen.only] if chosen.only else NAMES)
            for figure in figures(name, chosen.epochs)
        ),
        chosen.write / "throughput.md" if chosen.write else None,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
