"""Fine-tuning: a generator that trains a module in place and reports every batch and epoch."""

import math
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from pruning_core.devices import CPU, check_precision, device_of
from pruning_core.errors import RunError
from pruning_core.evaluation.evaluate import evaluate
from pruning_core.evaluation.stopping import ShouldStop, check_stop
from pruning_core.loading.split import Dataset
from pruning_core.planning.recipe import Tuning
from pruning_core.surgery.optimiser import carry_over
from pruning_core.surgery.prune import Pruned
from pruning_core.tasks import CLASSES
from pruning_core.team import ALONE, LEAST_SHARE, Team
from pruning_core.tuning.augmentations import AUGMENTATIONS
from pruning_core.tuning.averaging import WeightAverage
from pruning_core.tuning.distilling import Kept, Teacher
from pruning_core.tuning.draws import flipped, generator, seeded_globally
from pruning_core.tuning.optimiser import make_optimiser, step_size
from pruning_core.tuning.penalty import EVERY, Step
from pruning_core.tuning.preparing import (
    batch_starts,
    kept_bits,
    trained_parameters,
    training_samples,
)
from pruning_core.tuning.schedules import learning_rate
from pruning_core.tuning.watch import Watch

TrainState = dict[str, Any]
Shrink = Callable[[Step], None]

NO_MASKS: Mapping[str, Tensor] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class BatchProgress:
    """One training batch is done.

    Attributes:
        epoch: From 1, over all rounds.
        batch: From 1.
        n_batches: Batches of one epoch.
        loss: What was minimised on this batch, in nats: the cross-entropy, with label smoothing
            and distillation where they are asked for.
    """

    epoch: int
    batch: int
    n_batches: int
    loss: float


@dataclass(frozen=True, slots=True)
class EpochResult:
    """One epoch is done and validated.

    Attributes:
        epoch: From 1, over all rounds.
        n_epochs: Epochs of all rounds.
        loss: Mean of what was minimised, in nats, measured while the weights changed.
        accuracy: Share of right answers on the training samples, 0..1, likewise; of other tasks
            than classification the metric they are judged by.
        validation_loss: Mean loss of the task (cross-entropy) on the validation split afterwards.
        validation_accuracy: Share of right answers there, 0..1, or that metric.
        learning_rate: Rate of the epoch's last step.
        seconds: Wall-clock time of training and validation, without the time the caller took.
        examples_per_second: Training samples per second of training time.
        task: Key of what was trained.
    """

    epoch: int
    n_epochs: int
    loss: float
    accuracy: float
    validation_loss: float
    validation_accuracy: float
    learning_rate: float
    seconds: float
    examples_per_second: float
    task: str = CLASSES


@dataclass(frozen=True, slots=True)
class Rounds:
    """Where one run of fine-tuning lies among the rounds of a recipe.

    Attributes:
        n_epochs_done: Epochs of earlier rounds.
        n_epochs_total: Epochs of all rounds; None means this round is the last.
        gradual: True when the learning rate follows one curve over the epochs of all rounds; then
            only the last round may end early or go back to its best epoch.
        is_last: True in the last round.
        n_epochs_before: Epochs of other training before the first round; they only count.
    """

    n_epochs_done: int = 0
    n_epochs_total: int | None = None
    gradual: bool = False
    is_last: bool = True
    n_epochs_before: int = 0


@dataclass(slots=True)
class _Tally:
    """Sums over one epoch."""

    loss: float = 0.0
    statistics: float | np.ndarray[tuple[int, ...], np.dtype[np.float64]] = 0.0
    n: int = 0
    seconds: float = 0.0
    rate: float = 0.0
    owed: float = 0.0


class FineTuner:
    """Trains one module for the epochs of the settings; can be stopped and continued exactly.

    Every random draw is a function of the seed and the epoch, so a run continued from the state of
    its last finished epoch ends with the same bits as one that was never stopped, given the same
    device and number of threads. The global random generators are left alone. It computes where
    the module lies; states always hold tensors of the processor.
    """

    def __init__(
        self,
        module: nn.Module,
        data: Dataset,
        settings: Tuning,
        *,
        seed: int,
        masks: Mapping[str, Tensor] = NO_MASKS,
        trainable: Collection[str] | None = None,
        rounds: Rounds = Rounds(),
    ) -> None:
        """Prepare the run and zero the masked weights; the caller owns ``module``.

        Args:
            module: It answers what the task of the data asks, e.g. logits ``[B, classes]``;
                trained in place.
            data: Trained on ``train``, measured on ``validation``.
            settings: Optimiser, learning rate, epochs and so on.
            seed: Decides the order of samples, flips and dropout.
            masks: By parameter name, bool of the parameter's shape, True where a weight stays.
            trainable: Names of the parameters to train; None means all that require gradients.
            rounds: Where this run lies among several.

        Raises:
            RunError: If a name is unknown, a mask does not fit, there is nothing to train or the
                device lacks the precision.
            UnknownNameError: If a layer to freeze or an augmentation is unknown.
            DataError: If the settings ask for changed images and the inputs are no images.
        """
        self._module = module
        self._settings = settings
        self._seed = seed
        self._rounds = rounds
        self._shrink: Shrink | None = None
        self._teacher: Teacher | None = None
        self._lineage: Kept = {}
        self._team = ALONE
        self._trainee = module
        self._device = device_of(module)
        check_precision(settings.precision, self._device)
        self._validation = data.validation
        self._train = training_samples(data.train, settings, seed)
        self._trained = trained_parameters(module, trainable, settings.freeze)
        self._masks = kept_bits(module, masks)
        self._optimiser = make_optimiser(self._trained.values(), settings)
        self._starts = batch_starts(len(self._train), settings.batch_size)
        self._task = self._train.task
        hands_on = rounds.is_last or not rounds.gradual
        self._watch = Watch(settings, is_asked=hands_on, metric=self._task.metrics[0])
        self._epoch = 0
        self._in_epoch = False
        self._zero_removed()
        decay = settings.average_decay if hands_on else None
        self._average = None if decay is None else WeightAverage(module, decay)

    def run(self, should_stop: ShouldStop | None = None) -> Iterator[BatchProgress | EpochResult]:
        """Train the epochs that are left; closing the iterator stops.

        At the end the module holds the weights of the best epoch, if the settings ask for them.

        Whatever happens, the module is in eval mode afterwards and its parameters require
        gradients as before.

        Args:
            should_stop: Asked before every batch, also while validating.

        Raises:
            StoppedError: If ``should_stop`` says so; the epoch begun is lost.
            RunError: If the loss is no longer a number.
            DataError: If the data does not fit the model.
        """
        required = {name: item.requires_grad for name, item in self._module.named_parameters()}
        images = self._train.inputs.ndim == 4 and _has_convolution(self._module)
        layout = torch.channels_last if images else torch.contiguous_format
        self._change_layout(layout)
        try:
            for name, parameter in self._module.named_parameters():
                parameter.requires_grad_(name in self._trained)
            if self._teacher is not None:
                same = not (self._settings.horizontal_flip or self._settings.augmentations)
                self._teacher.prepare(self._train, same_inputs=same, should_stop=should_stop)
            self._trainee = self._team.averaging(self._module)
            while self._epoch < self._settings.epochs and not self._watch.gave_up:
                yield from self._run_epoch(layout, should_stop)
            if self._watch.best_weights is not None:
                self._module.load_state_dict(self._watch.best_weights)
            elif self._average is not None:
                self._average.handed_on()
        finally:
            self._trainee = self._module
            self._change_layout(torch.contiguous_format)
            self._optimiser.zero_grad(set_to_none=True)
            for name, parameter in self._module.named_parameters():
                parameter.requires_grad_(required[name])
            self._module.eval()

    @property
    def remarks(self) -> tuple[str, ...]:
        """Sentences on why the run ended early, and which epoch's weights the module holds."""
        return self._watch.remarks

    def state(self) -> TrainState:
        """Return a copy of all that the next epoch depends on: tensors and plain data only.

        ``torch.save`` it and read it with ``torch.load(..., weights_only=True)``.

        Raises:
            ValueError: If an epoch has begun and not finished.
        """
        if self._in_epoch:
            raise ValueError("The state of a run can be taken only between epochs.")
        optimiser = self._optimiser.state_dict()
        return {
            "epoch": self._epoch,
            "module": self._weights(),
            "optimiser": {
                "groups": [dict(group) for group in optimiser["param_groups"]],
                "state": {
                    index: {
                        key: _copy(item) if isinstance(item, Tensor) else item
                        for key, item in values.items()
                    }
                    for index, values in optimiser["state"].items()
                },
            },
            "watch": self._watch.state(),
            "average": None if self._average is None else self._average.state(),
        }

    def load_state(self, state: TrainState) -> None:
        """Go to where the run was when ``state`` was taken.

        Raises:
            RunError: If the state is not one of this run.
        """
        try:
            self._module.load_state_dict(state["module"])
            saved = state["optimiser"]
            self._optimiser.load_state_dict(
                {"param_groups": saved["groups"], "state": saved["state"]}
            )
            self._epoch = int(state["epoch"])
            self._watch.load_state(state.get("watch", {}))
            self._zero_removed()
            if self._average is not None:
                self._average.load_state(state.get("average"))
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise RunError(
                "The saved state does not belong to this run: "
                f"{' '.join(str(error).split())[:160]}. Start the run again."
            ) from None
        self._in_epoch = False

    def learn_from(self, teacher: Teacher, kept: Kept) -> None:
        """Let ``teacher`` add to the loss; ``kept`` says which of its indices this module kept."""
        self._teacher, self._lineage = teacher, kept

    def share_with(self, team: Team) -> None:
        """Train together with the other processes of ``team``, each its share of every batch.

        The batches are those of one process. A sample's weight in the loss does not depend on the
        process that sees it, so the gradient is that of the whole batch; augmentation and dropout
        draw differently in each process, and batch norm sees the share of its own process. A rest
        of a batch that is too small to be shared joins the batch before.

        Raises:
            RunError: If batches are too small to be shared.
        """
        least = LEAST_SHARE * team.size
        if team.size > 1 and min(self._settings.batch_size, len(self._train)) < least:
            raise RunError(
                f"{team.size} processes share batches of {self._settings.batch_size} samples "
                f"(there are {len(self._train):,}), and each needs {LEAST_SHARE} or more of every "
                f"batch. Set tuning.batch_size to {least} or more, or start fewer processes."
            )
        self._team = team
        self._starts = batch_starts(len(self._train), self._settings.batch_size, least)

    def shrink_by(self, shrink: Shrink) -> None:
        """Call ``shrink`` with :func:`step_size`, every ``EVERY`` batches and after each epoch.

        The losses reported are without its penalty.
        """
        self._shrink = shrink

    def fork_from(self, state: TrainState) -> None:
        """Go on from the state of a run with other settings, with the settings of this one.

        What the optimiser gathered is taken over where it updates as many parameters and keeps the
        same things about them; stopping early and the best epoch are judged anew.

        Raises:
            RunError: If the weights do not fit.
        """
        fresh = self._optimiser.state_dict()["param_groups"]
        saved = state["optimiser"]
        fits = [(set(group), len(group["params"])) for group in saved["groups"]] == [
            (set(group), len(group["params"])) for group in fresh
        ]
        optimiser = {"groups": fresh, "state": saved["state"] if fits else {}}
        self.load_state({**state, "optimiser": optimiser, "watch": {}})

    def go_on_from(self, earlier: "FineTuner", surgery: Pruned) -> None:
        """Take over what the optimiser of the round before has gathered (momentum, averages).

        Args:
            earlier: Trained the module that ``surgery`` pruned.
            surgery: Its result is the module of this run.
        """
        carried = carry_over(earlier._optimiser, earlier._module, surgery)
        for parameter in self._trained.values():
            if parameter in carried.state:
                self._optimiser.state[parameter] = carried.state[parameter]

    def _run_epoch(
        self, layout: torch.memory_format, should_stop: ShouldStop | None
    ) -> Iterator[BatchProgress | EpochResult]:
        self._in_epoch = True
        epoch = self._rounds.n_epochs_before + self._rounds.n_epochs_done + self._epoch + 1
        order = torch.randperm(len(self._train), generator=generator(self._seed, "order", epoch))
        tally = _Tally()
        self._set_training()
        for batch, (start, end) in enumerate(self._starts):
            check_stop(should_stop)
            began = time.perf_counter()
            loss = self._step(epoch, batch, order[start:end], tally, layout)
            tally.seconds += time.perf_counter() - began
            yield BatchProgress(epoch, batch + 1, len(self._starts), loss)
        self._team.same_buffers(self._module)
        with self._as_handed_on():
            result = self._finish_epoch(epoch, tally, should_stop)
            self._watch.note(
                epoch, result.validation_loss, result.validation_accuracy, self._weights
            )
        self._epoch += 1
        self._in_epoch = False
        yield result

    def _step(
        self,
        epoch: int,
        batch: int,
        indices: Tensor,
        tally: _Tally,
        layout: torch.memory_format,
    ) -> float:
        """Train on one batch and return its loss."""
        n_samples, indices = len(indices), self._team.share(indices)
        place = (epoch, batch, *self._team.place)
        inputs, labels = self._train.batch(indices, self._device)
        inputs = self._changed(inputs, place).contiguous(memory_format=layout)
        tally.rate = self._rate(batch)
        for group in self._optimiser.param_groups:
            group["lr"] = tally.rate
        self._optimiser.zero_grad(set_to_none=True)
        with seeded_globally(self._seed, "dropout", *place, device=self._device):
            logits, loss = self._answer(indices, inputs, labels)
            if self._team.size > 1:  # gradients are averaged over processes, not over samples
                loss = loss * (len(indices) * self._team.size / n_samples)
            loss.backward()  # type: ignore[no-untyped-call]
        if self._settings.gradient_clip is not None:
            nn.utils.clip_grad_norm_(self._trained.values(), self._settings.gradient_clip)
        self._optimiser.step()
        self._shrink_sometimes(batch, tally)
        self._zero_removed()
        if self._average is not None:
            self._average.update()
        value = loss.item()
        statistics = self._task.statistics(logits.detach(), labels).sum(dim=0).cpu().tolist()
        if self._team.size > 1:
            summed, *statistics = self._team.sums(value, *statistics)
            value = summed / self._team.size
        if not math.isfinite(value):
            raise RunError(
                f"Training failed in epoch {epoch}: the loss is {value}. Choose a lower learning "
                "rate or prune less."
            )
        tally.loss += value * n_samples
        tally.statistics = tally.statistics + np.array(statistics)
        tally.n += n_samples
        return value

    def _shrink_sometimes(self, batch: int, tally: _Tally) -> None:
        """Do the proximal step that the batches since the last one call for, if it is time."""
        if self._shrink is None:
            return
        tally.owed += tally.rate
        n_batches = len(self._starts)
        n_steps = max(1, n_batches // EVERY)  # spread evenly; the last is at the end of the epoch
        if (batch + 1) * n_steps // n_batches > batch * n_steps // n_batches:
            self._shrink(partial(step_size, self._optimiser, tally.owed))
            tally.owed = 0.0

    def _rate(self, batch: int) -> float:
        """Return the learning rate of a batch (from 0) of the epoch that runs."""
        done, n_epochs = self._epoch, self._settings.epochs
        if self._rounds.gradual:
            done += self._rounds.n_epochs_done
            n_epochs = self._rounds.n_epochs_total or self._rounds.n_epochs_done + n_epochs
        step = done * len(self._starts) + batch
        return learning_rate(self._settings, step, n_epochs * len(self._starts), n_epochs)

    def _changed(self, inputs: Tensor, place: tuple[int, ...]) -> Tensor:
        """Return the inputs as the augmentations of the settings change them."""
        if self._settings.horizontal_flip:
            inputs = flipped(inputs, generator(self._seed, "flip", *place))
        black = -self._train.mean / self._train.std
        for key, strength in self._settings.augmentations.items():
            draw = generator(self._seed, key, *place)
            inputs = AUGMENTATIONS[key].change(inputs, strength, draw, black)
        return inputs

    def _answer(self, indices: Tensor, inputs: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Return the logits of a batch, and the loss that is minimised."""
        if self._teacher is None:
            logits = self._logits(inputs, labels)
            return logits, self._loss(logits, labels)
        with self._teacher.lesson(self._module, self._lineage, indices, inputs, labels) as lesson:
            logits = self._logits(inputs, labels)
            return logits, self._teacher.loss(lesson, self._loss(logits, labels), logits)

    def _logits(self, inputs: Tensor, labels: Tensor) -> Tensor:
        with self._precision():
            return self._task.ask(self._trainee, inputs, labels).float()

    def _loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        return self._task.loss(logits, labels, smoothing=self._settings.label_smoothing)

    def _precision(self) -> AbstractContextManager[object]:
        if self._settings.precision == "float32":
            return nullcontext()
        return torch.autocast(self._device.type, torch.bfloat16)

    def _set_training(self) -> None:
        """Put the module into training mode, except for what is frozen."""
        self._module.train()
        for path in self._settings.freeze:
            for name, part in self._module.named_modules():
                if name == path or name.startswith(path + "."):
                    part.training = False

    def _as_handed_on(self) -> AbstractContextManager[None]:
        """Let the module have inside the weights that it would hand on now."""
        return nullcontext() if self._average is None else self._average.in_place()

    def _weights(self) -> dict[str, Tensor]:
        return {name: _copy(item) for name, item in self._module.state_dict().items()}

    def _finish_epoch(
        self, epoch: int, tally: _Tally, should_stop: ShouldStop | None
    ) -> EpochResult:
        began = time.perf_counter()
        self._team.same_buffers(self._module)
        validation = self._team.first(
            lambda: evaluate(self._module, self._validation, should_stop=should_stop)
        )
        last = self._rounds.n_epochs_done + self._settings.epochs
        reached = self._task.values(np.asarray(tally.statistics))[self._task.metrics[0].key]
        return EpochResult(
            epoch=epoch,
            n_epochs=self._rounds.n_epochs_before + (self._rounds.n_epochs_total or last),
            loss=tally.loss / tally.n,
            accuracy=float(reached),
            validation_loss=validation.loss,
            validation_accuracy=validation.headline,
            learning_rate=tally.rate,
            seconds=tally.seconds + time.perf_counter() - began,
            examples_per_second=tally.n / tally.seconds,
            task=self._task.key,
        )

    def _zero_removed(self) -> None:
        with torch.no_grad():
            for parameter, bits in self._masks:
                parameter.view(bits.dtype).bitwise_and_(bits)

    def _change_layout(self, layout: torch.memory_format) -> None:
        """Store all four-axis tensors that a step reads together in ``layout``, others contiguous.

        Values and parameter objects stay; the fused optimisers rely on equal layouts.
        """
        for parameter in self._module.parameters():
            parameter.data = _arranged(parameter.data, layout)
        for values in self._optimiser.state.values():
            for key, item in values.items():
                if isinstance(item, Tensor):
                    values[key] = _arranged(item, layout)
        self._masks = [(item, _arranged(bits, layout)) for item, bits in self._masks]
        if self._average is not None:
            self._average.rearrange()


def finetune(
    module: nn.Module,
    data: Dataset,
    settings: Tuning,
    *,
    seed: int,
    masks: Mapping[str, Tensor] = NO_MASKS,
    pruned_parameters: Collection[str] | None = None,
    start: TrainState | None = None,
) -> Iterator[BatchProgress | EpochResult]:
    """Train ``module`` in place and yield its progress; see :class:`FineTuner`.

    Args:
        module: It answers what the task of the data asks, e.g. logits ``[B, classes]``.
        data: Trained on ``train``, measured on ``validation``.
        settings: Optimiser, learning rate, epochs and so on.
        seed: Decides every random draw.
        masks: By parameter name, True where a weight stays; the others stay exactly zero.
        pruned_parameters: What ``settings.layers == "pruned"`` trains; not read otherwise.
        start: State of an interrupted run to continue.

    Raises:
        RunError: If a name is unknown, a mask does not fit, there is nothing to train, ``start``
            is of another run or the loss is no longer a number.
        DataError: If the data does not fit the model or the settings.
    """
    trainable = (pruned_parameters or ()) if settings.layers == "pruned" else None
    tuner = FineTuner(module, data, settings, seed=seed, masks=masks, trainable=trainable)
    if start is not None:
        tuner.load_state(start)
    yield from tuner.run()


def _has_convolution(module: nn.Module) -> bool:
    return any(isinstance(part, nn.Conv2d) for part in module.modules())


def _arranged(tensor: Tensor, layout: torch.memory_format) -> Tensor:
    """Return a copy; ``contiguous`` would keep the slow strides of axes of size 1."""
    return tensor.clone(memory_format=layout if tensor.ndim == 4 else torch.contiguous_format)


def _copy(tensor: Tensor) -> Tensor:
    """Return a copy on the processor."""
    return tensor.detach().to(CPU, copy=True, memory_format=torch.contiguous_format)
