"""Samples on which the error of one network is above that of another, for tasks of degrees.

Where answers are not simply right or wrong, each sample has an error of its own: what the two
networks answer to the samples on which it grew or fell most is shown beside the truth.
"""

import base64
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from pruning_core.evaluation.stopping import ShouldStop, check_stop
from pruning_core.loading.dataset import Dataset
from pruning_core.loading.own_data import is_text
from pruning_core.loading.split import Split
from pruning_core.tasks.registry import Task
from pruning_core.tasks.task import IGNORED

IGNORED_PIXEL: Final = 255
_BATCH: Final = 500
_TOKENS_AT_ONCE: Final = 32_768
_LISTED: Final = {"numbers": 100, "masks": 9, "tokens": 50, "": 100}
_CONTEXT: Final = 48
_LARGEST: Final = 96

Call = Callable[[Tensor], object]
Asked = Callable[[Callable[[Call], Any]], Any]
"""Hands a network to a function and returns what that returns."""


@dataclass(frozen=True, slots=True, eq=False)
class Told:
    """What one network answers to all samples of a split.

    Attributes:
        statistics: ``[N, K]`` sums of the task.
        tokens: ``[N, T]`` nats of each token, NaN where it is ignored; None for other tasks.
    """

    statistics: NDArray[np.float64]
    tokens: NDArray[np.float32] | None


def kind_of(split: Split) -> str:
    """Return what answers are: ``numbers``, ``masks``, ``tokens``; empty for anything else."""
    task = split.task
    if not task.has_classes:
        return "numbers"
    if task.moves_with_pixels and split.labels.ndim == 3:
        return "masks"
    return "tokens" if split.labels.ndim == 2 else ""


def told(call: Call, split: Split, *, should_stop: ShouldStop | None = None) -> Told:
    """Ask a network about every sample of a split, once.

    Raises:
        DataError: If the samples do not fit it.
        StoppedError: If ``should_stop`` says so.
    """
    by_token = kind_of(split) == "tokens"
    step = max(1, min(_BATCH, _TOKENS_AT_ONCE // split.labels.shape[1])) if by_token else _BATCH
    statistics, tokens = [], []
    with torch.inference_mode():
        for start in range(0, len(split), step):
            check_stop(should_stop)
            inputs, targets = split.batch(slice(start, start + step))
            answer = split.task.ask(call, inputs, targets).float()
            statistics.append(split.task.statistics(answer, targets).numpy())
            if by_token:
                tokens.append(_nats(answer, targets).numpy())
    return Told(np.concatenate(statistics), np.concatenate(tokens) if tokens else None)


def _nats(answer: Tensor, targets: Tensor) -> Tensor:
    """Return ``[B, T]`` nats of each token, NaN where it counts for nothing."""
    found = functional.cross_entropy(
        answer.flatten(0, 1), targets.flatten(), reduction="none", ignore_index=IGNORED
    ).reshape(targets.shape)
    return found.masked_fill(targets == IGNORED, float("nan"))


def changed(data: Dataset, both: Sequence[Told], asked: Sequence[Asked]) -> dict[str, Any]:
    """Return the samples whose error grew or fell most from the first network to the second.

    Args:
        data: What both answered; its test split.
        both: What the two answered.
        asked: Asks either network again, about the few samples that are shown.
    """
    kind, task = kind_of(data.test), data.test.task
    errors = np.stack([_errors(task, data.test, one) for one in both])
    change = errors[1] - errors[0]
    most = _LISTED[kind]
    order = np.argsort(-np.nan_to_num(change), kind="stable")
    worse = [int(place) for place in order[:most] if change[place] > 0]
    better = [int(place) for place in order[::-1][:most] if change[place] < 0]
    found: dict[str, Any] = {
        "kind": kind,
        "measure": _measure(task, data.test),
        "n_worse": int((change > 0).sum()),
        "n_better": int((change < 0).sum()),
    }
    if kind == "tokens":
        return found | _positions(data, both, asked)
    for name, places in (("worse", worse), ("better", better)):
        found[name] = [
            {"sample": place, "errors": errors[:, place].tolist()} | detail
            for place, detail in zip(places, _details(kind, data, places, asked), strict=True)
        ]
    return found


def _errors(task: Task, split: Split, one: Told) -> NDArray[np.float64]:
    """Return ``[N]`` the error of each sample, as :func:`_measure` says."""
    values = task.values(one.statistics)
    if kind_of(split) != "numbers":
        return values["loss"]
    return values["mae"] if split.labels.shape[1] == 1 else np.sqrt(values["loss"])


def _measure(task: Task, split: Split) -> str:
    if kind_of(split) != "numbers":
        return f"{task.loss_name} in nats, the mean of a sample"
    if split.labels.shape[1] == 1:
        return "absolute error in the unit of the target"
    return "root mean square of the errors, each in standard deviations of its target"


def _details(
    kind: str, data: Dataset, places: Sequence[int], asked: Sequence[Asked]
) -> list[dict[str, Any]]:
    """Return what is shown of each sample besides its error."""
    if not places or kind not in {"numbers", "masks"}:
        return [{} for _ in places]
    answers = [_again(data.test, places, ask, classes=kind == "masks") for ask in asked]
    if kind == "numbers":
        return [
            {
                "target": data.test.labels[place].tolist(),
                "answers": [answer[row].tolist() for answer in answers],
            }
            for row, place in enumerate(places)
        ]
    return [
        _masks(data.test.labels[place], [answer[row] for answer in answers])
        for row, place in enumerate(places)
    ]


def _again(split: Split, places: Sequence[int], ask: Asked, *, classes: bool) -> Tensor:
    """Return the answers of a network to a few samples, or the likeliest classes in them."""

    def use(call: Call) -> Tensor:
        found = []
        with torch.inference_mode():
            for place in places:
                inputs, targets = split.batch(slice(place, place + 1))
                answer = split.task.ask(call, inputs, targets).float()
                axis = 1 if split.labels.ndim == 3 else -1
                found.append(answer.argmax(dim=axis) if classes else answer)
        return torch.cat(found)

    answer: Tensor = ask(use)
    return answer


def _masks(truth: Tensor, answers: Sequence[Tensor]) -> dict[str, Any]:
    """Return the true mask and both answers as ``uint8 [height, width]``, 255 where ignored."""
    counts = truth != IGNORED
    n = max(int(counts.sum()), 1)
    step = -(-max(truth.shape) // _LARGEST)
    drawn = [truth.masked_fill(~counts, IGNORED_PIXEL), *answers]
    small = [each[::step, ::step].clamp(0, IGNORED_PIXEL).to(torch.uint8) for each in drawn]
    return {
        "shape": list(small[0].shape),
        "masks": [base64.b64encode(each.numpy().tobytes()).decode("ascii") for each in small],
        "right": [int(((each == truth) & counts).sum()) / n for each in answers],
    }


def _positions(data: Dataset, both: Sequence[Told], asked: Sequence[Asked]) -> dict[str, Any]:
    """Return the tokens whose surprise grew or fell most, with what stands before them."""
    nats = np.stack([one.tokens for one in both if one.tokens is not None])
    change = np.nan_to_num(nats[1] - nats[0])
    found: dict[str, Any] = {
        "n_tokens": int(np.isfinite(nats[0]).sum()),
        "n_tokens_worse": int((change > 0).sum()),
        "n_tokens_better": int((change < 0).sum()),
        "bytes": all(map(is_text, data.title.split(" + "))),  # no file of a tokeniser among them
    }
    most = min(_LISTED["tokens"], change.size)
    for name, sign in (("worse", 1), ("better", -1)):
        flat = (-sign * change).ravel()
        first = np.argpartition(flat, most - 1)[:most]
        first = first[np.argsort(flat[first], kind="stable")]
        spots = [divmod(int(each), change.shape[1]) for each in first if flat[each] < 0]
        found[name] = _tokens(data.test, spots, nats, asked)
    return found


def _tokens(
    split: Split,
    spots: Sequence[tuple[int, int]],
    nats: NDArray[np.float32],
    asked: Sequence[Asked],
) -> list[dict[str, Any]]:
    if not spots:
        return []
    places = sorted({sample for sample, _ in spots})
    best = [_again(split, places, ask, classes=True) for ask in asked]
    return [
        {
            "sample": sample,
            "position": place,
            "before": split.inputs[sample, max(0, place + 1 - _CONTEXT) : place + 1].tolist(),
            "next": int(split.labels[sample, place]),
            "says": [int(answer[places.index(sample), place]) for answer in best],
            "nats": nats[:, sample, place].tolist(),
        }
        for sample, place in spots
    ]
