"""Two networks of finished runs side by side, measured on the same test samples."""

import base64
from collections.abc import Callable, Generator, Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pruning_core.comparing.behaviour import Answers, answers_of, behaviour
from pruning_core.comparing.overlap import overlaps
from pruning_core.comparing.samples import changed, told
from pruning_core.comparing.variant import Stage
from pruning_core.errors import DataError, RunError
from pruning_core.evaluation.evaluate import (
    from_confusion,
    headline_of,
)
from pruning_core.evaluation.stopping import ShouldStop
from pruning_core.evaluation.whatif import paired_change
from pruning_core.exporting.calling import open_session
from pruning_core.exporting.reopen import open_run
from pruning_core.exporting.result import RunResult
from pruning_core.loading.dataset import Dataset
from pruning_core.loading.model import data_for, fitted
from pruning_core.modes import evaluating
from pruning_core.planning.plan import Plan

VERSION: Final = 2
MAX_LISTED: Final = 500
MAX_PICTURES: Final = 24
_LARGEST: Final = 96
_INT8_FILE: Final = "model.int8.onnx"

Result = TypeVar("Result")
Comparing = Generator[tuple[float, str], None, dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Side:
    """One of the two networks.

    Attributes:
        folder: What a run wrote.
        stage: ``dense`` is the network it began with, ``int8`` its int8 file, anything else the
            float32 network it handed out.
    """

    folder: Path
    stage: Stage


@dataclass(frozen=True, slots=True, eq=False)
class _Opened:
    side: Side
    run: RunResult

    @property
    def plan(self) -> Plan:
        """What was taken away; nothing from the dense network."""
        plan = self.run.plan
        if self.side.stage != "dense":
            return plan
        return replace(plan, keep={site: np.ones_like(own) for site, own in plan.keep.items()})

    def asked(self, use: Callable[[Callable[[Tensor], object]], Result]) -> Result:
        """Hand the network to ``use``, as a function from inputs to answers.

        Raises:
            RunError: If its int8 file is missing.
        """
        if self.side.stage == "int8":
            path = self.side.folder / _INT8_FILE
            if self.run.quantised is None or not path.is_file():
                raise RunError("This run has no int8 file. Make one with quantise.")
            session = open_session(path, settings=self.run.quantised.session)
            name = session.get_inputs()[0].name

            def call(inputs: Tensor) -> Tensor:
                return torch.from_numpy(session.run(None, {name: inputs.numpy()})[0])

            return use(call)
        dense = self.side.stage == "dense"
        module = self.run.model.module if dense else self.run.surgery.module
        with evaluating(module):
            return use(module)

    def answers(self, data: Dataset, should_stop: ShouldStop | None) -> Answers:
        """Ask the network about every test sample."""
        return self.asked(lambda call: answers_of(call, data.test, should_stop=should_stop))


def compare(
    first: Side,
    second: Side,
    *,
    allow_python: Callable[[str], bool] = lambda _: True,
    should_stop: ShouldStop | None = None,
) -> Comparing:
    """Compare masks and answers; yields the share that is done and a text, returns plain data.

    What cannot be compared is None, and ``reasons`` says why.

    Args:
        first: One network.
        second: The other; it may be of the same run.
        allow_python: Tells which models may be loaded although that runs code.
        should_stop: Asked before every batch.

    Raises:
        PruningError: If a run cannot be opened.
        StoppedError: If ``should_stop`` says so.
    """
    yield 0.0, "opening the first run"
    one = _Opened(first, open_run(first.folder, allow_python=allow_python))
    yield 0.2, "opening the second run"
    same_folder = first.folder == second.folder
    run = one.run if same_folder else open_run(second.folder, allow_python=allow_python)
    two = _Opened(second, run)
    reasons: dict[str, str] = {}
    found: dict[str, Any] = {"version": VERSION, "overlap": None, "behaviour": None}
    yield 0.4, "comparing the masks"
    try:
        found["overlap"] = _overlap(one, two)
    except RunError as error:
        reasons["overlap"] = str(error)
    yield 0.5, "asking both about the test samples"
    try:
        found["behaviour"] = _behaviour(one, two, should_stop)
    except (DataError, RunError) as error:
        reasons["behaviour"] = str(error)
    return found | {"reasons": reasons}


def _overlap(one: _Opened, two: _Opened) -> list[dict[str, Any]]:
    """Return the counts of each layer.

    Raises:
        RunError: If the plans are of different networks.
    """
    shapes = [
        {name: tuple(tensor.shape) for name, tensor in each.run.model.module.named_parameters()}
        for each in (one, two)
    ]
    if shapes[0] != shapes[1]:
        raise RunError(
            f"'{one.run.recipe.model}' and '{two.run.recipe.model}' have other layers, so their "
            "masks cannot be laid over each other. Choose two runs of one model."
        )
    plan = two.plan
    return [asdict(each) for each in overlaps(one.run.network, one.plan, plan)]


def _behaviour(one: _Opened, two: _Opened, should_stop: ShouldStop | None) -> dict[str, Any]:
    """Return where the answers differ.

    Raises:
        DataError: If there are no data, or they do not fit one of the networks.
        RunError: If the runs were measured on different data, or an int8 file is missing.
    """
    keys = [each.run.recipe.data or each.run.model.data for each in (one, two)]
    if keys[0] is None or keys[1] is None:
        raise DataError(
            "No data set is known for one of the runs, so answers cannot be compared. Masks, "
            "settings and sizes can."
        )
    if keys[0] != keys[1]:
        raise RunError(
            f"One run was measured on '{keys[0]}', the other on '{keys[1]}': answers can only be "
            "compared on the same samples."
        )
    data = data_for(one.run.model, keys[0])
    fitted(two.run.model, data)
    if not data.task.counts_classes:
        return _measured_alike(one, two, data, should_stop)
    labels = data.test.labels.numpy()
    answers = [each.answers(data, should_stop) for each in (one, two)]
    found = behaviour(answers[0], answers[1], labels)
    n_classes = max(len(data.classes), *(each.n_classes for each in answers))
    confusions = [_confusion(labels, each.named, n_classes) for each in answers]
    return {
        "data": data.key,
        "title": data.title,
        "source": data.source,
        "classes": list(data.classes),
        "n": found.n,
        "accuracy": [float((each.named == labels).mean()) for each in answers],
        "both_right": found.both_right,
        "n_lost": int(found.lost.size),
        "n_won": int(found.won.size),
        "both_wrong": found.both_wrong,
        "same": found.same,
        "change": list(found.change),
        "recall": [
            [item.recall for item in from_confusion(counts, 0.0).per_class] for counts in confusions
        ],
        "confusion": [counts.tolist() for counts in confusions],
        "lost": _examples(found.lost, data, answers),
        "won": _examples(found.won, data, answers),
    }


def _measured_alike(
    one: _Opened, two: _Opened, data: Dataset, should_stop: ShouldStop | None
) -> dict[str, Any]:
    """Return what a task without right and wrong answers is judged by, on the same samples."""
    both = [
        each.asked(lambda call: told(call, data.test, should_stop=should_stop))
        for each in (one, two)
    ]
    found = [each.statistics for each in both]
    _, change = paired_change(data.task, found[0], found[1])
    samples = changed(data, both, [one.asked, two.asked])
    for example in (*samples["worse"], *samples["better"]):
        if samples["kind"] == "masks":
            example["picture"] = picture(data, example["sample"])
    return {
        "data": data.key,
        "title": data.title,
        "source": data.source,
        "task": data.task.key,
        "n": len(data.test),
        "values": [headline_of(data.task, each) for each in found],
        "change": list(change),
        "classes": list(data.classes),
        "samples": samples,
    }


def _confusion(
    labels: NDArray[np.int64], named: NDArray[np.int64], n_classes: int
) -> NDArray[np.int64]:
    """Return ``[C, C]`` counts, rows are true classes, columns are answers."""
    flat = np.bincount(labels * n_classes + named, minlength=n_classes**2)
    return flat.reshape(n_classes, n_classes).astype(np.int64)


def _examples(
    places: NDArray[np.int64], data: Dataset, answers: Iterable[Answers]
) -> list[dict[str, Any]]:
    """Return at most 500 samples as plain data, the first 24 with their picture."""
    listed = list(answers)
    return [
        {
            "sample": int(place),
            "label": int(data.test.labels[place]),
            "named": [int(each.named[place]) for each in listed],
            "confidence": [float(each.confidence[place]) for each in listed],
            "picture": picture(data, int(place)) if number < MAX_PICTURES else None,
        }
        for number, place in enumerate(places[:MAX_LISTED])
    ]


def picture(data: Dataset, place: int) -> dict[str, Any] | None:
    """Return one test sample as pixels, ``uint8 [height, width, 1 or 3]`` in base64.

    Values outside 0..1 are stretched between their smallest and largest. None where samples are no
    images.
    """
    stored = data.test.inputs[place]
    if stored.ndim != 3 or stored.shape[0] not in {1, 3} or min(stored.shape[1:]) < 4:
        return None
    step = -(-max(stored.shape[1:]) // _LARGEST)
    values = stored[:, ::step, ::step].double().numpy() / data.test.scale
    low, high = float(values.min()), float(values.max())
    if low < 0 or high > 1:
        values = (values - low) / max(high - low, 1e-12)
    pixels = np.ascontiguousarray((255 * values).round().astype(np.uint8).transpose(1, 2, 0))
    return {
        "shape": list(pixels.shape),
        "pixels": base64.b64encode(pixels.tobytes()).decode("ascii"),
    }
