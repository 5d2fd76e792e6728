"""What lessons call of the core: bundled networks and data, plans, and accuracies, each kept.

Data are always the bundled subset, so that every learner sees the same numbers. PyTorch is imported
by the first call.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from pruning_core.planning.pace import gone_at
from pruning_core.planning.recipe import Ratio, Recipe, Tuning

if TYPE_CHECKING:
    from torch import Tensor, nn

    from pruning_core.evaluation.whatif import WhatIf
    from pruning_core.exporting.result import Quantised, RunResult
    from pruning_core.loading.dataset import Dataset
    from pruning_core.loading.model import LoadedModel
    from pruning_core.planning.plan import Plan
    from pruning_core.preview import Preview
    from pruning_core.scoring.score import Scores
    from pruning_core.surgery.prune import Pruned
    from pruning_core.tracing.network import Network
    from pruning_core.tuning.finetune import Shrink

EXAMPLES: Final = 1000
"""Validation examples that are measured, at most those there are."""
_BATCH: Final = 500


@dataclass(frozen=True, slots=True, eq=False)
class Subject:
    """A bundled network, its trace and its data; treat all of it as read-only."""

    model: "LoadedModel"
    network: "Network"
    data: "Dataset"


@dataclass(frozen=True, slots=True)
class Moment:
    """A moment of pruning in rounds.

    Attributes:
        epoch: Epochs trained so far.
        gone: Share of the weights that are zero, 0..1.
        accuracy: On the test split, in percent.
    """

    epoch: int
    gone: float
    accuracy: float


@lru_cache(maxsize=8)
def subject(identity: str) -> Subject:
    """Return a bundled network, traced, with the bundled subset of its data."""
    from pruning_core.loading.dataset import load_dataset
    from pruning_core.loading.model import load_model
    from pruning_core.tracing.trace import trace

    model = load_model(identity)
    assert model.data is not None
    return Subject(
        model, trace(model.module, model.inputs), load_dataset(model.data, source="bundled")
    )


def scores(recipe: Recipe) -> "Scores":
    """Return the scores of a recipe."""
    return _scores(recipe.model, recipe.score_settings)


@lru_cache(maxsize=64)
def _scores(identity: str, settings: str) -> "Scores":
    from pruning_core.scoring.score import score

    own = subject(identity)
    return score(own.model, own.network, Recipe.from_json(settings))


def plan(recipe: Recipe) -> "Plan":
    """Return a recipe resolved against its scores."""
    from pruning_core.planning.resolve import resolve

    return resolve(recipe, subject(recipe.model).network, scores(recipe))


def preview(recipe: Recipe) -> "Preview":
    """Return the exact cost before and after a recipe."""
    from pruning_core.preview import preview as counted

    return counted(subject(recipe.model).network, plan(recipe))


def accuracy(recipe: Recipe, n: int = EXAMPLES) -> "WhatIf":
    """Return the accuracy right after pruning, on the first ``n`` validation examples."""
    return _accuracy(recipe.to_json(), n)


@lru_cache(maxsize=512)
def _accuracy(recipe_json: str, n: int) -> "WhatIf":
    from pruning_core.evaluation.whatif import what_if

    recipe = Recipe.from_json(recipe_json)
    own = subject(recipe.model)
    return what_if(own.model, own.network, plan(recipe), own.data, n=n)


def right(recipe: Recipe, n: int = EXAMPLES) -> float:
    """Return the accuracy right after pruning, in percent."""
    return 100 * accuracy(recipe, n).accuracy


def dense(identity: str, n: int = EXAMPLES) -> float:
    """Return the accuracy of the dense network on the same examples, in percent."""
    return right(Recipe(model=identity), n)


def weight(identity: str, name: str) -> Any:
    """Return a parameter as a float32 array."""
    return subject(identity).network.tensor(name).detach().numpy().copy()


def rounded(values: Sequence[float], digits: int = 4) -> list[float]:
    """Return plain numbers, short enough to be kept as text."""
    return [round(float(value), digits) for value in values]


def pruned(recipe: Recipe) -> "Pruned":
    """Return a pruned copy of the network of a recipe."""
    from pruning_core.surgery.prune import prune

    own = subject(recipe.model)
    return prune(own.model, own.network, plan(recipe))


def tested(module: "nn.Module", identity: str) -> float:
    """Return the accuracy on the test split of a network's data, in percent."""
    from pruning_core.evaluation.evaluate import evaluate

    return 100 * evaluate(module, subject(identity).data.test).accuracy


def carried_out(recipe: Recipe) -> float:
    """Return the accuracy on the test split right after a recipe, in percent."""
    return _carried_out(recipe.to_json())


@lru_cache(maxsize=512)
def _carried_out(recipe_json: str) -> float:
    from pruning_core.evaluation.whatif import carried_out

    recipe = Recipe.from_json(recipe_json)
    own = subject(recipe.model)
    return tested(carried_out(own.model, own.network, plan(recipe), own.data), recipe.model)


def validated(module: "nn.Module", identity: str, n: int = EXAMPLES) -> float:
    """Return the accuracy on the first ``n`` validation examples, in percent."""
    from pruning_core.evaluation.evaluate import evaluate

    return 100 * evaluate(module, subject(identity).data.validation.first(n)).accuracy


def trained(
    module: "nn.Module",
    identity: str,
    settings: Tuning,
    *,
    seed: int = 0,
    masks: "Mapping[str, Tensor] | None" = None,
    shrink: "Shrink | None" = None,
    on_test: bool = True,
) -> Iterator[float]:
    """Train a module in place; yields the accuracy on the test split, in percent, by epoch.

    Nothing is chosen by these accuracies: every epoch that is asked for is trained. Where the
    settings ask for distillation, the dense network teaches. Where the learner chooses by what
    comes of it, ``on_test`` is False: validation data are measured.
    """
    from pruning_core.tuning.distilling import Teacher
    from pruning_core.tuning.finetune import EpochResult, FineTuner

    data = subject(identity).data
    if on_test:
        data = replace(data, validation=data.test)
    tuner = FineTuner(module, data, settings, seed=seed, masks=masks or {})
    if shrink is not None:
        tuner.shrink_by(shrink)
    if settings.distillation is not None:
        tuner.learn_from(Teacher(subject(identity).model.module, settings.distillation), {})
    for event in tuner.run():
        if isinstance(event, EpochResult):
            yield 100 * event.validation_accuracy


def scheduled(recipe: Recipe) -> Iterator[Moment]:
    """Carry the schedule of a recipe out as a run does; its target is a ratio of weights.

    Yields a moment right after each pruning and one after each epoch. Weights are rated anew before
    each round; those that are zero have the smallest magnitude, so they stay out.
    """
    from pruning_core.planning.resolve import resolve
    from pruning_core.scoring.score import score
    from pruning_core.surgery.prune import prune
    from pruning_core.tracing.trace import trace
    from pruning_core.tuning.finetune import EpochResult, FineTuner, Rounds

    assert isinstance(recipe.target, Ratio)
    own, schedule = subject(recipe.model), recipe.schedule
    data = replace(own.data, validation=own.data.test)
    present, network, epoch = own.model, own.network, 0
    earlier: FineTuner | None = None
    for number in range(1, schedule.rounds + 1):
        gone = gone_at(schedule, number / schedule.rounds, recipe.target.value)
        planned = recipe.replace(target=Ratio(value=gone))
        chosen = resolve(planned, network, score(present, network, planned))
        surgery = prune(present, network, chosen)
        yield Moment(epoch, gone, tested(surgery.module, recipe.model))
        tuner = FineTuner(
            surgery.module,
            data,
            recipe.tuning.model_copy(update={"epochs": recipe.epochs_of_round(number)}),
            seed=recipe.seed,
            masks=surgery.masks,
            rounds=Rounds(
                epoch, recipe.n_epochs, schedule.gradual, is_last=number == schedule.rounds
            ),
        )
        if schedule.gradual and earlier is not None:
            tuner.go_on_from(earlier, surgery)
        earlier = tuner
        for event in tuner.run():
            if isinstance(event, EpochResult):
                epoch += 1
                yield Moment(epoch, gone, 100 * event.validation_accuracy)
        present = replace(present, module=surgery.module)
        network = trace(present.module, present.inputs)


def result(recipe: Recipe, surgery: "Pruned") -> "RunResult":
    """Return a pruned network, perhaps trained since, as exporters take it, with real samples."""
    from pruning_core.exporting.export import result_of

    own = subject(recipe.model)
    found = result_of(surgery, own.model, own.network, plan(recipe))
    return replace(found, samples=own.data.validation.batch(slice(0, 7))[0])


def n_bytes(recipe: Recipe, surgery: "Pruned") -> int:
    """Write the weights file of a pruned network and return its size."""
    import tempfile
    from pathlib import Path

    from pruning_core.exporting.formats.safetensors import write_safetensors

    with tempfile.TemporaryDirectory(prefix="lesson-") as folder:
        path = Path(folder) / "weights.safetensors"
        write_safetensors(result(recipe, surgery), path)
        return path.stat().st_size


def quantised(recipe: Recipe, surgery: "Pruned") -> "Quantised":
    """Return a network's float32 and int8 ONNX files as measured, the latter of the recipe's kind.

    Accuracies are those of onnxruntime on the test split.
    """
    from pruning_core.quantising.quantise import quantise

    assert recipe.quantisation is not None
    found = quantise(
        result(recipe, surgery),
        recipe.quantisation.kind,
        data=subject(recipe.model).data,
        samples=recipe.quantisation.samples,
    ).quantised
    assert found is not None
    return found


@dataclass(frozen=True, slots=True, eq=False)
class InOnnx:
    """A network beside its ONNX file, on the test split.

    Attributes:
        n_bytes: Size of the file.
        worst: Largest difference of a logit.
        largest: Largest magnitude of a logit.
        changed: Samples whose answer is another one.
        n: Samples.
        accuracy: Of the file, in percent.
        example: Logits of the first sample, by PyTorch and by onnxruntime.
    """

    n_bytes: int
    worst: float
    largest: float
    changed: int
    n: int
    accuracy: float
    example: tuple[list[float], list[float]]


def in_onnx(recipe: Recipe, surgery: "Pruned") -> InOnnx:
    """Write the ONNX file of a pruned network, and run both on the test split."""
    import tempfile
    from pathlib import Path

    import torch

    from pruning_core.exporting.calling import open_session
    from pruning_core.exporting.formats.onnx import write_onnx

    test = subject(recipe.model).data.test
    with tempfile.TemporaryDirectory(prefix="lesson-") as folder:
        path = Path(folder) / "model.onnx"
        write_onnx(result(recipe, surgery), path)
        session, n_bytes = open_session(path), path.stat().st_size
        name = session.get_inputs()[0].name
        ours, theirs = [], []
        with torch.no_grad():
            for start in range(0, len(test), _BATCH):
                inputs, _ = test.batch(slice(start, start + _BATCH))
                ours.append(surgery.module(inputs))
                theirs.append(torch.from_numpy(session.run(None, {name: inputs.numpy()})[0]))
    one, other = torch.cat(ours), torch.cat(theirs)
    return InOnnx(
        n_bytes=n_bytes,
        worst=float((one.double() - other.double()).abs().max()),
        largest=float(one.abs().max()),
        changed=int((one.argmax(1) != other.argmax(1)).sum()),
        n=len(test),
        accuracy=100 * float((other.argmax(1) == test.labels).double().mean()),
        example=(rounded(one[0].tolist(), 9), rounded(other[0].tolist(), 9)),
    )
