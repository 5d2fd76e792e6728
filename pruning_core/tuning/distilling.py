"""Distillation: the dense network teaches the pruned one, together with the labels."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from pruning_core.devices import device_of
from pruning_core.errors import RunError, UnknownNameError
from pruning_core.evaluation.stopping import ShouldStop, check_stop
from pruning_core.loading.split import Split
from pruning_core.modes import evaluating
from pruning_core.planning.recipe import Distillation
from pruning_core.tasks.registry import CLASSIFICATION, Task

Kept = Mapping[str, tuple[NDArray[np.int64] | None, ...]]
MAX_CACHED: Final = 64_000_000
_BATCH: Final = 500
_TRANSPOSED: Final = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)


def check_features(module: nn.Module, names: Sequence[str]) -> None:
    """Refuse names of layers to match that the dense model does not have.

    Raises:
        UnknownNameError: With the nearest name.
    """
    known = {name for name, _ in module.named_modules()} - {""}
    for name in names:
        if name not in known:
            raise UnknownNameError("layer to match", name, known)


class Teacher:
    """The dense network, asked for its answers to the batches of a training.

    Its logits are kept when every epoch shows the same inputs and they are few enough, so that it
    answers each sample once.
    """

    def __init__(
        self, module: nn.Module, settings: Distillation, task: Task = CLASSIFICATION
    ) -> None:
        """Let ``module`` teach ``task``; it is not changed, and must lie where the student does.

        Raises:
            UnknownNameError: If a layer to match does not exist.
        """
        check_features(module, settings.features)
        self._module = module
        self._settings = settings
        self._task = task
        self._known: Tensor | None = None

    def prepare(self, samples: Split, *, same_inputs: bool, should_stop: ShouldStop | None) -> None:
        """Answer all ``samples`` now if that is worth it.

        Args:
            samples: What the student will be trained on.
            same_inputs: False when augmentation changes them from epoch to epoch.
            should_stop: Asked before every batch.
        """
        if not same_inputs or self._settings.features or self._known is not None:
            return
        found, device = [], device_of(self._module)
        with evaluating(self._module), torch.no_grad():
            for start in range(0, len(samples), _BATCH):
                check_stop(should_stop)
                inputs, targets = samples.batch(slice(start, start + _BATCH), device)
                found.append(self._task.ask(self._module, inputs, targets).float().cpu())
                if found[0][0].numel() * len(samples) > MAX_CACHED:
                    return
        self._known = torch.cat(found)

    def loss(self, student: "Lesson", hard: Tensor, logits: Tensor) -> Tensor:
        """Return what is minimised: labels, softened answers and features together.

        Args:
            student: Of this batch.
            hard: The loss of the targets.
            logits: The student's answers, of classes ``[B, classes]``, float32.
        """
        alpha = self._settings.alpha
        answers, wanted = self._answers(student)
        soft = self._task.imitation(logits, answers, self._settings.temperature)
        loss = (1 - alpha) * hard + alpha * soft
        for name in self._settings.features:
            if name not in student.features or name not in wanted:
                raise _cannot_match(name, "it returns no tensor, or is part of a recorded graph")
            found = student.features[name].float()
            target = _matching(wanted[name].float(), found, name, student.indices_of(name))
            loss = loss + self._settings.feature_weight * functional.mse_loss(found, target)
        return loss

    @contextmanager
    def lesson(
        self, student: nn.Module, kept: Kept, indices: Tensor, inputs: Tensor, targets: Tensor
    ) -> Iterator["Lesson"]:
        """Watch the layers to match of ``student`` inside the block.

        Args:
            student: The pruned network.
            kept: Which indices of each dense tensor it kept.
            indices: ``[B]`` of the samples.
            inputs: ``[B, ...]`` as the student sees them.
            targets: Of the task.
        """
        with _watched(student, self._settings.features, "pruned") as features:
            yield Lesson(student, kept, indices, (inputs, targets), features)

    def _answers(self, student: "Lesson") -> tuple[Tensor, Mapping[str, Tensor]]:
        """Return the logits, and the outputs of the layers to match."""
        if self._known is not None:
            return self._known[student.indices].to(student.inputs.device), {}
        with (
            evaluating(self._module),
            torch.no_grad(),
            _watched(self._module, self._settings.features, "dense") as features,
        ):
            answers = self._task.ask(self._module, student.inputs, student.targets)
            return answers.float(), features


class Lesson:
    """One batch that a student learns from.

    Attributes:
        indices: ``[B]`` of the samples.
        inputs: ``[B, ...]`` as the student sees them.
        targets: Of the task.
        features: What the layers to match returned, by name, once the student ran.
    """

    def __init__(
        self,
        student: nn.Module,
        kept: Kept,
        indices: Tensor,
        batch: tuple[Tensor, Tensor],
        features: Mapping[str, Tensor],
    ) -> None:
        """Begin; ``features`` fills when the student runs."""
        self._student = student
        self._kept = kept
        self.indices = indices
        self.inputs, self.targets = batch
        self.features = features

    def indices_of(self, name: str) -> list[NDArray[np.int64]]:
        """Return the kept indices that may be those of a layer's outputs, the likeliest first."""
        axes = list(self._kept.get(f"{name}.weight", ()))
        if isinstance(self._student.get_submodule(name), _TRANSPOSED):
            axes.reverse()
        axes = [*self._kept.get(f"{name}.bias", ()), *axes]
        return [found for found in axes if found is not None]


@contextmanager
def _watched(module: nn.Module, names: Sequence[str], which: str) -> Iterator[dict[str, Tensor]]:
    """Yield a dict that holds the tensors that the modules ``names`` return, once ``module`` ran.

    Raises:
        RunError: If one of them is not there.
    """
    found: dict[str, Tensor] = {}
    parts = dict(module.named_modules())
    gone = [name for name in names if name not in parts]
    if gone:
        raise _cannot_match(gone[0], f"the {which} network no longer has it")

    def note(name: str) -> Callable[[nn.Module, object, object], None]:
        def keep(_part: nn.Module, _inputs: object, output: object) -> None:
            if isinstance(output, Tensor):
                found[name] = output

        return keep

    handles = [parts[name].register_forward_hook(note(name)) for name in names]
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()


def _matching(
    teacher: Tensor, student: Tensor, name: str, candidates: Sequence[NDArray[np.int64]]
) -> Tensor:
    """Return the dense features without those that the pruned layer lost.

    Raises:
        RunError: If the shapes cannot be brought together.
    """
    if teacher.shape == student.shape:
        return teacher
    if teacher.ndim == student.ndim:
        differing = [
            axis for axis in range(teacher.ndim) if teacher.shape[axis] != student.shape[axis]
        ]
        for indices in candidates:
            if len(differing) == 1 and len(indices) == student.shape[differing[0]]:
                chosen = torch.from_numpy(indices).to(teacher.device)
                return teacher.index_select(differing[0], chosen)
    raise _cannot_match(
        name,
        f"the dense one returns {tuple(teacher.shape)}, the pruned one {tuple(student.shape)}, and "
        "which of them were kept is not known",
    )


def _cannot_match(name: str, why: str) -> RunError:
    return RunError(
        f"The layer '{name}' cannot be matched between the dense and the pruned network: {why}. "
        "Leave it out of tuning.distillation.features, or name a layer that owns its weights."
    )
