"""The peers of the accuracy benchmark, as their documentation shows them.

They choose what leaves. What is left is fine-tuned by the same loop as ours, so that epochs,
optimiser, learning rate and order of the data are the same.
"""

import copy
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import prune as torch_prune
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.accuracy_cells import Cell
from pruning_core.evaluation.evaluate import evaluate
from pruning_core.loading.split import Dataset
from pruning_core.planning.advice import MAX_ROUNDS
from pruning_core.planning.recipe import Tuning
from pruning_core.tuning.finetune import FineTuner, Rounds

N_TRIALS: Final = 12
N_CALIBRATION: Final = 512
_BATCH: Final = 64
_PRUNED: Final = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """What a peer left, before and after fine-tuning (accuracies on the test split)."""

    module: nn.Module
    pruned: float
    tuned: float
    validation: float


def by_torch(
    dense: nn.Module, cell: Cell, tuning: Tuning, data: Dataset, *, iterative: bool
) -> Outcome:
    """Prune weights with ``torch.nn.utils.prune`` by global L1, at once or in rounds."""
    module = copy.deepcopy(dense)
    n_rounds = min(MAX_ROUNDS, cell.epochs) if iterative else 1
    each = cell.epochs // n_rounds
    for number in range(1, n_rounds + 1):
        share = cell.point.value * (1 - (1 - number / n_rounds) ** 3)
        masks = _global_l1(module, share)
        pruned = evaluate(module, data.test).accuracy
        epochs = cell.epochs - (n_rounds - 1) * each if number == n_rounds else each
        settings = tuning.model_copy(update={"epochs": epochs})
        place = Rounds((number - 1) * each, cell.epochs, is_last=number == n_rounds)
        tuner = FineTuner(module, data, settings, seed=cell.seed, masks=masks, rounds=place)
        for _ in tuner.run():
            pass
    return _outcome(module, pruned, data)


def _global_l1(module: nn.Module, share: float) -> dict[str, Tensor]:
    """Set the smallest weights to zero and return by name which stay."""
    layers = {name: part for name, part in module.named_modules() if isinstance(part, _PRUNED)}
    torch_prune.global_unstructured(
        [(part, "weight") for part in layers.values()],
        pruning_method=torch_prune.L1Unstructured,
        amount=share,
    )
    masks = {
        f"{name}.weight": part.get_buffer("weight_mask").bool() for name, part in layers.items()
    }
    for part in layers.values():
        torch_prune.remove(part, "weight")  # type: ignore[no-untyped-call]
    return masks


def by_torch_pruning(
    dense: nn.Module, cell: Cell, tuning: Tuning, data: Dataset, *, criterion: str, scope: str
) -> Outcome:
    """Remove channels with Torch-Pruning at once, as few as leave the wanted MACs."""
    wanted = macs(dense, data) / cell.point.value
    low, high, module = 0.0, 1.0, None
    for _ in range(N_TRIALS):
        ratio = (low + high) / 2
        found = _removed(dense, data, ratio, criterion, scope)
        if macs(found, data) <= wanted:
            high, module = ratio, found
        else:
            low = ratio
    if module is None:
        raise RuntimeError(f"Torch-Pruning does not get to {cell.point.title}")
    pruned = evaluate(module, data.test).accuracy
    settings = tuning.model_copy(update={"epochs": cell.epochs})
    for _ in FineTuner(module, data, settings, seed=cell.seed).run():
        pass
    return _outcome(module, pruned, data)


def _removed(
    dense: nn.Module, data: Dataset, ratio: float, criterion: str, scope: str
) -> nn.Module:
    import torch_pruning

    module = copy.deepcopy(dense).eval()
    inputs, labels = data.calibration.batch(slice(0, N_CALIBRATION))
    importance: Any = torch_pruning.importance.GroupMagnitudeImportance(p=2)
    if criterion == "Taylor":
        importance = torch_pruning.importance.GroupTaylorImportance()
        functional.cross_entropy(module(inputs), labels).backward()  # type: ignore[no-untyped-call]
    *_, last = [part for part in module.modules() if isinstance(part, nn.Linear)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch_pruning.pruner.BasePruner(
            module,
            example_inputs=inputs[:1],
            importance=importance,
            global_pruning=scope == "global",
            pruning_ratio=ratio,
            ignored_layers=[last],
        ).step()
    module.zero_grad(set_to_none=True)
    return module


def macs(module: nn.Module, data: Dataset) -> int:
    """Return the multiply-accumulates of one sample by torch's own counter."""
    inputs = data.calibration.batch(slice(0, 1))[0]
    with _evaluating(module), torch.no_grad(), FlopCounterMode(display=False) as counter:
        module(inputs)
    return int(counter.get_total_flops()) // 2


@contextmanager
def _evaluating(module: nn.Module) -> Iterator[None]:
    before = module.training
    module.eval()
    yield
    module.train(before)


def _outcome(module: nn.Module, pruned: float, data: Dataset) -> Outcome:
    return Outcome(
        module,
        pruned,
        evaluate(module, data.test).accuracy,
        evaluate(module, data.validation).accuracy,
    )
