"""Fine-tuning: a generator that trains a module in place and reports every batch and epoch."""

import math
import time
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from pruning_core.errors import DataError, RunError
from pruning_core.evaluation.evaluate import evaluate
from pruning_core.evaluation.logits import logits_of
from pruning_core.evaluation.stopping import ShouldStop, check_stop
from pruning_core.loading.split import Dataset, Split
from pruning_core.planning.recipe import Tuning
from pruning_core.surgery.optimiser import carry_over
from pruning_core.surgery.prune import Pruned
from pruning_core.tuning.draws import flipped, generator, seeded_globally
from pruning_core.tuning.optimiser import learning_rate, make_optimiser

TrainState = dict[str, Any]

NO_MASKS: Mapping[str, Tensor] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class BatchProgress:
    """One training batch is done.

    Attributes:
        epoch: From 1, over all rounds.
        batch: From 1.
        n_batches: Batches of one epoch.
        loss: Mean cross-entropy of this batch in nats.
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
        loss: Mean training cross-entropy in nats, measured while the weights changed.
        accuracy: Share of right answers on the training samples, 0..1, likewise.
        validation_loss: Mean cross-entropy on the validation split after the epoch.
        validation_accuracy: Share of right answers there, 0..1.
        learning_rate: Rate of the epoch's last step.
        seconds: Wall-clock time of training and validation, without the time the caller took.
        examples_per_second: Training samples per second of training time.
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


@dataclass(frozen=True, slots=True)
class Rounds:
    """Where one run of fine-tuning lies among the rounds of a recipe.

    Attributes:
        n_epochs_done: Epochs of earlier rounds.
        n_epochs_total: Epochs of all rounds; None means this round is the last.
        gradual: True when the learning rate follows one curve over the epochs of all rounds.
    """

    n_epochs_done: int = 0
    n_epochs_total: int | None = None
    gradual: bool = False


@dataclass(slots=True)
class _Tally:
    """Sums over one epoch."""

    loss: float = 0.0
    right: int = 0
    n: int = 0
    seconds: float = 0.0
    rate: float = field(default=0.0)


class FineTuner:
    """Trains one module for the epochs of the settings; can be stopped and continued exactly.

    Every random draw is a function of the seed and the epoch, so a run continued from the state of
    its last finished epoch ends with the same bits as one that was never stopped, given the same
    number of threads. The global random generator is left alone.
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
            module: A classifier that returns logits ``[B, classes]``; trained in place.
            data: Trained on ``train``, measured on ``validation``.
            settings: Optimiser, learning rate, epochs and so on.
            seed: Decides the order of samples, flips and dropout.
            masks: By parameter name, bool of the parameter's shape, True where a weight stays.
            trainable: Names of the parameters to train; None means all that require gradients.
            rounds: Where this run lies among several.

        Raises:
            RunError: If a name is unknown, a mask does not fit or there is nothing to train.
            DataError: If the settings ask for flips and the inputs are no images.
        """
        self._module = module
        self._settings = settings
        self._seed = seed
        self._rounds = rounds
        self._validation = data.validation
        self._train = _training_samples(data.train, settings, seed)
        self._trained = _trained_parameters(module, trainable)
        self._removed = _removed_weights(module, masks)
        self._optimiser = make_optimiser(self._trained.values(), settings)
        self._starts = _batch_starts(len(self._train), settings.batch_size)
        self._epoch = 0
        self._in_epoch = False
        self._zero_removed()

    def run(self, should_stop: ShouldStop | None = None) -> Iterator[BatchProgress | EpochResult]:
        """Train the epochs that are left; closing the iterator stops.

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
            while self._epoch < self._settings.epochs:
                yield from self._run_epoch(layout, should_stop)
        finally:
            self._change_layout(torch.contiguous_format)
            self._optimiser.zero_grad(set_to_none=True)
            for name, parameter in self._module.named_parameters():
                parameter.requires_grad_(required[name])
            self._module.eval()

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
            "module": {name: _copy(item) for name, item in self._module.state_dict().items()},
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
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise RunError(
                "The saved state does not belong to this run: "
                f"{' '.join(str(error).split())[:160]}. Start the run again."
            ) from None
        self._in_epoch = False
        self._zero_removed()

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
        epoch = self._rounds.n_epochs_done + self._epoch + 1
        order = torch.randperm(len(self._train), generator=generator(self._seed, "order", epoch))
        tally = _Tally()
        self._module.train()
        for batch, (start, end) in enumerate(self._starts):
            check_stop(should_stop)
            began = time.perf_counter()
            loss = self._step(epoch, batch, order[start:end], tally, layout)
            tally.seconds += time.perf_counter() - began
            yield BatchProgress(epoch, batch + 1, len(self._starts), loss)
        result = self._finish_epoch(epoch, tally, should_stop)
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
        inputs, labels = self._train.batch(indices)
        if self._settings.horizontal_flip:
            inputs = flipped(inputs, generator(self._seed, "flip", epoch, batch))
        done, n_epochs = self._epoch, self._settings.epochs
        if self._rounds.gradual:
            done += self._rounds.n_epochs_done
            n_epochs = self._rounds.n_epochs_total or self._rounds.n_epochs_done + n_epochs
        n_batches = len(self._starts)
        tally.rate = learning_rate(self._settings, done * n_batches + batch, n_epochs * n_batches)
        for group in self._optimiser.param_groups:
            group["lr"] = tally.rate
        self._optimiser.zero_grad(set_to_none=True)
        with seeded_globally(self._seed, "dropout", epoch, batch):
            logits = logits_of(self._module, inputs.contiguous(memory_format=layout), labels)
            loss = functional.cross_entropy(logits, labels)
            loss.backward()  # type: ignore[no-untyped-call]
        self._optimiser.step()
        self._zero_removed()
        value = loss.item()
        if not math.isfinite(value):
            raise RunError(
                f"Training failed in epoch {epoch}: the loss is {value}. Choose a lower learning "
                "rate or prune less."
            )
        tally.loss += value * len(labels)
        tally.right += int((logits.detach().argmax(dim=1) == labels).sum())
        tally.n += len(labels)
        return value

    def _finish_epoch(
        self, epoch: int, tally: _Tally, should_stop: ShouldStop | None
    ) -> EpochResult:
        began = time.perf_counter()
        validation = evaluate(self._module, self._validation, should_stop=should_stop)
        last = self._rounds.n_epochs_done + self._settings.epochs
        return EpochResult(
            epoch=epoch,
            n_epochs=self._rounds.n_epochs_total or last,
            loss=tally.loss / tally.n,
            accuracy=tally.right / tally.n,
            validation_loss=validation.loss,
            validation_accuracy=validation.accuracy,
            learning_rate=tally.rate,
            seconds=tally.seconds + time.perf_counter() - began,
            examples_per_second=tally.n / tally.seconds,
        )

    def _zero_removed(self) -> None:
        with torch.no_grad():
            for parameter, removed in self._removed:
                parameter.masked_fill_(removed, 0.0)

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
        self._removed = [(item, _arranged(removed, layout)) for item, removed in self._removed]


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
        module: A classifier that returns logits ``[B, classes]``.
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


def _training_samples(split: Split, settings: Tuning, seed: int) -> Split:
    """Return the samples to train on: all, or the first of a seeded permutation."""
    if settings.horizontal_flip and split.inputs.ndim < 4:
        raise DataError(
            f"Horizontal flips need images; these inputs have the shape "
            f"{tuple(split.inputs.shape[1:])}. Switch the flips off."
        )
    if len(split) < 2:
        raise DataError("Training needs at least two samples.")
    n = settings.train_samples
    if n is None or n >= len(split):
        return split
    chosen = torch.randperm(len(split), generator=generator(seed, "samples"))[:n]
    return Split(split.inputs[chosen], split.labels[chosen], split.scale, split.mean, split.std)


def _trained_parameters(
    module: nn.Module, trainable: Collection[str] | None
) -> dict[str, nn.Parameter]:
    """Return the parameters to train by name."""
    parameters = dict(module.named_parameters())
    if trainable is None:
        chosen = {name: item for name, item in parameters.items() if item.requires_grad}
    else:
        unknown = sorted(set(trainable) - set(parameters))
        if unknown:
            raise RunError(f"The model has no parameter '{unknown[0]}' to train.")
        chosen = {name: item for name, item in parameters.items() if name in set(trainable)}
    if not chosen:
        raise RunError(
            "There is no parameter to train. Prune a layer, or train all layers of the model."
        )
    return chosen


def _removed_weights(
    module: nn.Module, masks: Mapping[str, Tensor]
) -> list[tuple[nn.Parameter, Tensor]]:
    """Return each masked parameter with a bool tensor that is True where a weight is removed."""
    parameters = dict(module.named_parameters(remove_duplicate=False))
    pairs = []
    for name, mask in masks.items():
        if name not in parameters:
            raise RunError(f"The model has no parameter '{name}', for which there is a mask.")
        if mask.shape != parameters[name].shape or mask.dtype is not torch.bool:
            raise RunError(
                f"The mask of '{name}' is {mask.dtype} {tuple(mask.shape)}; it must be torch.bool "
                f"{tuple(parameters[name].shape)}."
            )
        pairs.append((parameters[name], ~mask))
    return pairs


def _batch_starts(n: int, batch_size: int) -> tuple[tuple[int, int], ...]:
    """Return start and end of each batch; a single sample left over joins the last batch.

    Batch norm cannot train on one sample.
    """
    starts = list(range(0, n, batch_size))
    if n - starts[-1] == 1 and len(starts) > 1:
        starts.pop()
    return tuple(zip(starts, [*starts[1:], n], strict=True))


def _has_convolution(module: nn.Module) -> bool:
    return any(isinstance(part, nn.Conv2d) for part in module.modules())


def _arranged(tensor: Tensor, layout: torch.memory_format) -> Tensor:
    """Return a copy; ``contiguous`` would keep the slow strides of axes of size 1."""
    return tensor.clone(memory_format=layout if tensor.ndim == 4 else torch.contiguous_format)


def _copy(tensor: Tensor) -> Tensor:
    return tensor.detach().clone(memory_format=torch.contiguous_format)
