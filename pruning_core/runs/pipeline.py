"""The one way a recipe is carried out: worker, command line and notebook all use it.

:func:`execute` is a generator of events; closing it stops the run. A round of pruning is: trace
and rate the network as it is, choose what stays in units of the dense network, prune, fine-tune.
One-shot pruning is one round.
"""

import hashlib
import itertools
import time
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

import numpy as np
import torch
from torch import Tensor, nn

from pruning_core.devices import CPU, check_precision, chosen_device, placed
from pruning_core.errors import ExportError, RunError
from pruning_core.evaluation.evaluate import Evaluation, evaluate
from pruning_core.evaluation.stopping import ShouldStop
from pruning_core.exporting.exporter import write_files
from pruning_core.exporting.result import DataSummary, RunResult
from pruning_core.granularities import GRANULARITIES
from pruning_core.loading.dataset import Dataset, load_dataset
from pruning_core.loading.initial import fresh_module, initial_module
from pruning_core.loading.model import LoadedModel, fitted, load_model
from pruning_core.modes import copied
from pruning_core.planning.recipe import Recipe, Sparse, Tuning
from pruning_core.planning.resolve import Plan, resolve
from pruning_core.preview import Preview, preview
from pruning_core.quantising.quantise import check_quantisation, quantise
from pruning_core.runs import atomic
from pruning_core.runs.checkpoint import Checkpoint, HeldState, PlanState, epochs_added
from pruning_core.runs.counting import check_counts, counted
from pruning_core.runs.environment import describe_environment
from pruning_core.runs.events import (
    Evaluated,
    Event,
    Finished,
    Loaded,
    Moment,
    Note,
    Previewed,
    RoundFinished,
    StageStarted,
)
from pruning_core.runs.process import default_threads
from pruning_core.runs.rounds import (
    check_rounds,
    composed,
    in_dense_units,
    in_present_units,
    progress_of,
    round_recipe,
    walk,
)
from pruning_core.runs.shrinking import Shrinking, check_penalty
from pruning_core.scoring.criterion import CRITERIA
from pruning_core.scoring.score import score
from pruning_core.surgery.prune import Pruned, prune
from pruning_core.surgery.rewind import put_weights
from pruning_core.tasks import CLASSES
from pruning_core.tasks.registry import CLASSIFICATION
from pruning_core.team import ALONE, Team
from pruning_core.tracing.network import Network
from pruning_core.tracing.trace import trace
from pruning_core.tuning.augmentations import check_augmentations
from pruning_core.tuning.batchnorm import recalibrate_batchnorm
from pruning_core.tuning.distilling import Teacher
from pruning_core.tuning.draws import generator
from pruning_core.tuning.finetune import EpochResult, FineTuner, Rounds
from pruning_core.tuning.preparing import check_frozen, has_parameters, trained_parameters

__all__ = ["RunResult", "execute", "write_run"]

_N_SAMPLES: Final = 7


def execute(  # noqa: PLR0913 - a word for each circumstance
    recipe: Recipe,
    *,
    data: Dataset | None = None,
    allow_python: bool = True,
    resume: Checkpoint | None = None,
    threads: int | None = None,
    device: str | None = None,
    should_stop: ShouldStop | None = None,
    team: Team = ALONE,
) -> Generator[Event, None, None]:
    """Carry a recipe out and yield what happens; the last event is ``Finished``.

    A :class:`Checkpoint` follows each epoch. Given back as ``resume`` it makes a new call go on
    after that epoch and end with the same bits, if device and number of threads are the same.

    Args:
        recipe: What to do.
        data: The data set; None loads the one the recipe or else the model names. When they name
            none, nothing is measured and nothing fine-tuned.
        allow_python: False refuses models whose loading runs code that the recipe names.
        resume: Where an earlier call of the same recipe was.
        threads: Threads to compute with; None means :func:`default_threads`. The process has its
            own number back when the iterator ends or is closed.
        device: Where to train and measure: ``cpu``, ``cuda``, ``mps`` or ``auto``; None asks the
            variable ``PRUNING_STUDIO_DEVICE``. Scores are computed on the processor in any case.
        should_stop: Asked often during long operations.
        team: The processes that share the work; every one of them calls this with the same recipe
            and, if any, the same checkpoint. Events and result are the same in all of them, except
            that only the first quantises.

    Raises:
        PruningError: If the recipe cannot be carried out.
        StoppedError: If ``should_stop`` says so.
    """
    check_rounds(recipe)
    check_augmentations(recipe.tuning.augmentations)
    if recipe.sparse is not None:
        check_penalty(recipe.sparse.kind)
    place = chosen_device(device)
    check_precision(recipe.tuning.precision, place)
    threads_before = torch.get_num_threads()
    torch.set_num_threads(threads or default_threads(team.n_local))
    try:
        run = _Run(recipe, data, place, should_stop, team)
        yield from _load(run, allow_python=allow_python)
        if resume is not None:
            _restore(run, resume)
        if recipe.sparse is not None and (resume is None or resume.round == 0):
            yield from _shrink(run, recipe.sparse, resume)
        for number in range(1, recipe.schedule.rounds + 1):
            yield from _round(run, number, resume)
            if _is_over(run, number):
                break
        yield from _hand_out(run, number)
        yield from _finish(run)
    finally:
        torch.set_num_threads(threads_before)


def write_run(result: RunResult, folder: Path) -> RunResult:
    """Write every file of a run into ``folder``, each whole or not at all.

    Returns:
        The result with what the writing measured (the ONNX check) and what could not be written.

    Raises:
        ExportError: If a required file cannot be written.
    """
    completed = write_files(result, folder)
    atomic.sync_folder(folder)
    return completed


@dataclass(slots=True, eq=False)
class _Run:
    """What is known so far; only the functions of this module change it.

    ``model`` and ``network`` are dense; ``present`` and ``traced`` are what this round starts from
    and then what it left. ``surgery`` leads from the dense network to this round's, ``cut`` from
    the last round's. ``origin`` is what the first round starts from, ``base`` the last round that
    later ones start from. ``verdicts`` tells of each finished round whether it held the accuracy;
    ``held`` is the last that did, where that is judged. ``shift`` is how many epochs more than the
    recipe's went before a fork. ``start`` holds the weights that rounds are rewound to.
    """

    recipe: Recipe
    data: Dataset | None
    device: torch.device
    should_stop: ShouldStop | None
    team: Team
    model: LoadedModel = field(init=False)
    network: Network = field(init=False)
    present: LoadedModel = field(init=False)
    origin: LoadedModel = field(init=False)
    traced: Network = field(init=False)
    surgery: Pruned = field(init=False)
    cut: Pruned = field(init=False)
    start: nn.Module | None = None
    tuner: FineTuner | None = None
    teacher: Teacher | None = None
    shift: int = 0
    base: "_Base | None" = None
    held: Pruned | None = None
    held_pruned: Evaluation | None = None
    verdicts: list[bool] = field(default_factory=list)
    dense_validation: float | None = None
    plans: list[Plan] = field(default_factory=list)
    dense: Evaluation | None = None
    pruned: Evaluation | None = None
    tuned: Evaluation | None = None
    epochs: list[EpochResult] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def n_rounds(self) -> int:
        """Rounds of the whole run; of an adaptive one, at most."""
        return self.recipe.schedule.rounds

    @property
    def fell(self) -> bool:
        """True when the last finished round lost more accuracy than allowed."""
        return bool(self.verdicts) and not self.verdicts[-1]

    @property
    def removes(self) -> bool:
        """True when units leave, False when weights are only set to zero."""
        parts = self.recipe.parts.values()
        return any(GRANULARITIES[part.granularity].removes for part in parts)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Add the wall-clock time of the block to the stage ``name``."""
        began = time.perf_counter()
        try:
            yield
        finally:
            spent = time.perf_counter() - began
            self.seconds[name] = self.seconds.get(name, 0.0) + spent

    def started(self, stage: str, number: int = 0) -> StageStarted:
        """Return the event that says that ``stage`` of round ``number`` begins."""
        return StageStarted(stage, number, self.n_rounds)


@dataclass(frozen=True, slots=True, eq=False)
class _Base:
    """A finished round that the next one starts from."""

    plan: Plan
    surgery: Pruned


def _load(run: _Run, *, allow_python: bool) -> Iterator[Event]:
    recipe = run.recipe
    yield run.started("load")
    with run.stage("load"):
        run.model = load_model(
            recipe.model, input_shape=recipe.input_shape, allow_python=allow_python
        )
        key = recipe.data or run.model.data
        if run.data is None and key is not None:
            run.data = load_dataset(key, input_shape=run.model.input_shape)
        if run.data is not None:
            run.data = fitted(run.model, run.data)
        check_frozen(run.model.module, recipe.tuning.freeze)
        if recipe.tuning.distillation is not None:
            task = run.data.task if run.data else CLASSIFICATION
            run.teacher = Teacher(run.model.module, recipe.tuning.distillation, task)
        check_quantisation(recipe, run.data)
        _check_is_same(run)
        run.present = run.model
        if recipe.schedule.weights == "rewind":
            run.start = initial_module(run.model)
    tensors = run.model.module.state_dict().values()
    yield Loaded(
        model=recipe.model,
        n_params=sum(parameter.numel() for parameter in run.model.module.parameters()),
        n_bytes=sum(tensor.numel() * tensor.element_size() for tensor in tensors),
        data=run.data.key if run.data else None,
        source=run.data.source if run.data else "",
    )
    if run.model.note:
        yield Note(run.model.note)
    if run.data is None:
        tuning = " and fine-tuning is left out" if recipe.tuning.epochs else ""
        yield Note(f"Neither the recipe nor the model names data: no accuracy is measured{tuning}.")
        _check_has_no_need_of_data(recipe)
    elif run.start is not None and recipe.schedule.rewind_epoch and run.team.is_first:
        yield from _train_early(run, run.data)


def _check_is_same(run: _Run) -> None:
    """Make sure that all processes loaded the same.

    Raises:
        RunError: If they did not.
    """
    run.team.agree("The weights of the model", run.model.weights_sha256)
    if run.data is not None:
        sizes = [len(split) for split in (run.data.train, run.data.validation, run.data.test)]
        run.team.agree("The samples of the data", f"{run.data.key} {run.data.source} {sizes}")


def _check_has_no_need_of_data(recipe: Recipe) -> None:
    """Refuse schedules that mean nothing without data.

    Raises:
        RunError: If weights would be handed out untrained, or a drop cannot be measured.
    """
    schedule = recipe.schedule
    wish = "" if schedule.weights == "keep" else f"schedule.weights is '{schedule.weights}'"
    wish = wish or ("" if schedule.max_drop is None else "schedule.max_drop is set")
    wish = wish or ("" if recipe.sparse is None else "sparse training is asked for")
    if wish:
        raise RunError(
            f"{wish}, and neither the recipe nor the model names data to train and validate on. "
            "Name a data set, or leave it out."
        )


def _train_early(run: _Run, data: Dataset) -> Iterator[Event]:
    """Train the initial network for the first epochs of its own training, as its card says.

    Nothing of it is stored: it is done again, with the same bits, when the run is resumed. Of a
    team the first process does it alone; the others get the weights when fine-tuning begins.

    Raises:
        RunError: If it is not known how the network was trained.
    """
    n_epochs = run.recipe.schedule.rewind_epoch
    card, module = run.model.card, run.start
    if card is None or module is None:
        raise RunError(
            f"It is not known how '{run.model.identity}' was trained, so its weights after epoch "
            f"{n_epochs} cannot be found again. Save them yourself as the module's attribute "
            "'initial_state', and set schedule.rewind_epoch to 0."
        )
    if n_epochs >= card.epochs:
        raise RunError(
            f"'{run.model.identity}' was trained for {card.epochs} epochs, and "
            f"schedule.rewind_epoch is {n_epochs}. Choose an earlier one."
        )
    yield run.started("early")
    with run.stage("early"), placed(module, run.device):
        results = (
            event
            for event in FineTuner(module, data, card.training, seed=card.seed).run(run.should_stop)
            if isinstance(event, EpochResult)
        )
        with closing(results):
            last = next(itertools.islice(results, n_epochs - 1, None))
    metric = data.task.metrics[0]
    yield Note(
        f"Weights are rewound to those after epoch {n_epochs} of {card.epochs} of the model's own "
        f"training, done again on the {data.source}: validation {metric.name} "
        f"{metric.text(last.validation_accuracy)}."
    )


def _restore(run: _Run, resume: Checkpoint) -> None:
    """Take over what the checkpoint knows.

    Raises:
        RunError: If it is of another recipe, model or copy of the data.
    """
    if resume.fingerprint != run.recipe.fingerprint and not resume.is_fork:
        raise RunError("The checkpoint belongs to another recipe. Start the run again.")
    if resume.weights_sha256 != run.model.weights_sha256:
        raise RunError(
            f"The model '{run.model.identity}' changed since the run began. Start it again (with "
            "--overwrite, if it was started by a command)."
        )
    source = run.data.source if run.data else ""
    if resume.source != source:
        raise RunError(
            f"The run began on the {resume.source}, and now there is the {source}. Start it again."
        )
    run.dense, run.pruned = resume.dense, resume.pruned
    run.epochs.extend(resume.epochs)
    run.shift = epochs_added(run.recipe, resume)
    run.seconds.update(resume.seconds)


def _shrink(run: _Run, sparse: Sparse, resume: Checkpoint | None) -> Iterator[Event]:
    """Train a copy of the dense network towards sparsity; the rounds begin with it."""
    if run.data is None:
        return
    yield run.started("sparse")
    with run.stage("sparse"):
        run.network = trace(run.model.module, run.model.inputs)
        run.present = replace(run.model, module=copied(run.model.module))
    module, settings = run.present.module, sparse.settings(run.recipe.tuning)
    with run.stage("sparse"), placed(module, run.device):
        parameters = trained_parameters(module, None, settings.freeze)
        shrinker = Shrinking(sparse, run.network, parameters)
        rounds = Rounds(0, sparse.epochs + run.recipe.n_epochs, is_last=False)
        tuner = FineTuner(module, run.data, settings, seed=run.recipe.seed, rounds=rounds)
        tuner.shrink_by(shrinker.shrink)
        tuner.share_with(run.team)
        if resume is not None:
            tuner.load_state(dict(resume.tuner))
        else:
            yield shrinker.measured(0)
        for event in tuner.run(run.should_stop):
            yield event
            if isinstance(event, EpochResult):
                run.epochs.append(event)
                yield shrinker.measured(event.epoch)
                yield _checkpoint(run, 0, tuner)
        yield Note(shrinker.sentence())


def _round(run: _Run, number: int, resume: Checkpoint | None) -> Iterator[Event]:
    """Carry one round out; of the rounds a checkpoint knows only the shapes are made again."""
    known = resume is not None and number <= resume.round
    if number == 1:
        run.origin = run.present
    run.present = replace(
        run.present, module=run.base.surgery.module if run.base else run.origin.module
    )
    yield run.started("trace", number)
    with run.stage("trace"):
        run.traced = trace(run.present.module, run.present.inputs)
        if number == 1 and run.present.module is run.model.module:
            run.network = run.traced
    if resume is not None and number <= resume.round:
        state = resume.plans[number - 1]
        run.plans.append(
            Plan(
                recipe=run.recipe,
                keep=state.keep,
                thresholds=state.thresholds,
                notes=state.notes,
            )
        )
    else:
        yield from _plan(run, number)
    yield from _prune(run, number, known=known)
    if resume is not None and number < resume.round:
        _remember(run, number, resume)
        return
    yield from _tune(run, number, resume if known else None)


def _remember(run: _Run, number: int, resume: Checkpoint) -> None:
    """Take over from the checkpoint how a round ended that was over before it."""
    verdicts = resume.verdicts or (True,) * (resume.round - 1)
    run.verdicts.append(verdicts[number - 1])
    if run.fell:
        return
    run.base = _Base(run.plans[-1], run.surgery)
    if resume.held is not None and not any(verdicts[number:]):
        run.surgery.module.load_state_dict(dict(resume.held.module))
        run.held, run.held_pruned = run.surgery, resume.held.pruned


def _plan(run: _Run, number: int) -> Iterator[Event]:
    """Choose what stays after this round, in units of the dense network."""
    sites = GRANULARITIES[run.recipe.granularity].sites(run.network)
    progress = progress_of(run.recipe.schedule, number, run.verdicts)
    recipe = round_recipe(run.recipe, progress, {site.name: site.n_units for site in sites})
    yield run.started("score", number)
    with run.stage("score"):
        calibration = run.data.calibration if run.data else None
        raw = recipe.replace(normalise="none", reverse=False) if run.base else recipe
        scores = run.team.first(lambda: score(run.present, run.traced, raw, calibration))
    yield run.started("resolve", number)
    with run.stage("resolve"):
        if run.base:
            kept = run.base.plan.keep
            plan = resolve(recipe, run.network, in_dense_units(scores, kept, recipe))
            plan = replace(plan, keep={site: plan.keep[site] & kept[site] for site in plan.keep})
        else:
            plan = resolve(recipe, run.network, scores)
        run.plans.append(replace(plan, recipe=run.recipe))
    yield run.started("preview", number)
    with run.stage("preview"):
        cost = preview(run.network, run.plans[-1])
    yield _previewed(cost)
    if number == 1:
        yield from _measure(run, "dense", number)


def _previewed(cost: Preview) -> Previewed:
    layers = {layer.name: (layer.before.nonzero, layer.after.nonzero) for layer in cost.layers}
    return Previewed(cost.before, cost.after, layers)


def _prune(run: _Run, number: int, *, known: bool) -> Iterator[Event]:
    """Prune the present module, and check that it is as large as was said."""
    plan = run.plans[-1]
    yield run.started("prune", number)
    with run.stage("prune"):
        kept = run.base.plan.keep if run.base else None
        present = replace(plan, keep=in_present_units(plan.keep, kept, removes=run.removes))
        surgery = prune(run.present, run.traced, present)
        if not known:
            check_counts(surgery, preview(run.traced, present).after)
        run.cut = surgery
        run.surgery = composed(run.base.surgery, surgery) if run.base else surgery
        run.present = replace(run.present, module=surgery.module)
        run.team.agree("The masks", _digest(surgery))
    if known:
        return
    if run.removes and run.data is not None:
        yield run.started("recalibrate", number)
        with run.stage("recalibrate"), placed(run.surgery.module, run.device):
            recalibrate_batchnorm(run.surgery.module, run.data.calibration)
    if number == run.n_rounds or run.recipe.schedule.max_drop is not None:
        yield from _measure(run, "pruned", number)
    if run.recipe.schedule.weights != "keep":
        yield run.started("rewind", number)
        with run.stage("rewind"):
            put_weights(run.surgery, run.start or _fresh(run, number))


def _digest(surgery: Pruned) -> str:
    """Return the SHA-256 of all masks, and of which indices were kept of which tensor."""
    found = hashlib.sha256()
    for name, mask in sorted(surgery.masks.items()):
        found.update(f"{name}\0".encode() + mask.numpy().tobytes())
    for name, axes in sorted(surgery.kept.items()):
        lists = [None if axis is None else axis.tolist() for axis in axes]
        found.update(f"{name}\0{lists}".encode())
    return found.hexdigest()


def _fresh(run: _Run, number: int) -> nn.Module:
    """Return the network with random weights of this round's own."""
    seed = generator(run.recipe.seed, "reinitialise", number).initial_seed()
    return fresh_module(run.model, seed)


def _tune(run: _Run, number: int, resume: Checkpoint | None) -> Iterator[Event]:
    """Fine-tune the module of this round; afterwards it is what the next round starts from."""
    n_epochs = run.recipe.epochs_of_round(number)
    if run.data is not None and n_epochs:
        settings = run.recipe.tuning.model_copy(update={"epochs": n_epochs})
        gradual = run.recipe.schedule.gradual
        yield run.started("tune", number)
        teaching = run.device if run.teacher else CPU
        with (
            run.stage("tune"),
            placed(run.surgery.module, run.device),
            placed(run.model.module, teaching),
        ):
            tuner = FineTuner(
                run.surgery.module,
                run.data,
                _without_gone_layers(settings, run.surgery),
                seed=run.recipe.seed,
                masks=run.surgery.masks,
                trainable=_trainable(run) if settings.layers == "pruned" else None,
                rounds=Rounds(
                    (number - 1) * run.recipe.tuning.epochs + run.shift,
                    run.recipe.n_epochs + run.shift,
                    gradual,
                    is_last=number == run.n_rounds,
                    n_epochs_before=run.recipe.n_sparse_epochs,
                ),
            )
            if resume is not None and resume.is_fork:
                tuner.fork_from(dict(resume.tuner))
            elif resume is not None:
                tuner.load_state(dict(resume.tuner))
            elif gradual and run.tuner is not None:
                tuner.go_on_from(run.tuner, run.cut)
            run.tuner = tuner
            tuner.share_with(run.team)
            if run.teacher is not None:
                tuner.learn_from(run.teacher, run.surgery.kept)
            for event in tuner.run(run.should_stop):
                yield event
                if isinstance(event, EpochResult):
                    run.epochs.append(event)
                    yield _checkpoint(run, number, tuner)
        yield from map(Note, tuner.remarks)
    yield from _judge(run, number)
    if n_epochs and not run.fell and _is_over(run, number):
        yield from _measure(run, "tuned", number)


def _judge(run: _Run, number: int) -> Iterator[Event]:
    """End a round: note it as one that held the dense network's accuracy, or as one that fell."""
    limit = run.recipe.schedule.max_drop
    accuracy = run.epochs[-1].validation_accuracy if run.epochs else None
    if limit is not None and run.data is not None:
        yield run.started("validate", number)
        with run.stage("validate"):
            if run.dense_validation is None:
                run.dense_validation = _validated(run, run.model.module, run.data)
            accuracy = _validated(run, run.surgery.module, run.data)
        # Accuracies are whole numbers of samples, so a drop of exactly the limit must not be lost
        # to rounding.
        lost = run.data.task.metrics[0].lost(run.dense_validation, accuracy)
        run.verdicts.append(lost <= limit + 1e-9)
        if not run.fell:
            run.held, run.held_pruned = run.surgery, run.pruned
    else:
        run.verdicts.append(True)
    if not run.fell:
        run.base = _Base(run.plans[-1], run.surgery)
    yield _round_finished(run, number, accuracy)


def _is_over(run: _Run, number: int) -> bool:
    """Tell whether the finished round ``number`` was the last."""
    first_step = run.recipe.schedule.first_step
    if number == run.n_rounds or first_step is None:
        return number == run.n_rounds or run.fell
    return walk(first_step, run.verdicts).is_over


def _validated(run: _Run, module: nn.Module, data: Dataset) -> float:
    with placed(module, run.device):
        return run.team.first(
            lambda: evaluate(module, data.validation, should_stop=run.should_stop).headline
        )


def _hand_out(run: _Run, number: int) -> Iterator[Event]:
    """Hand out the last round, ``number``, or go back to the last one that held the accuracy."""
    if run.fell:
        yield from _hand_out_held(run, number)
    sentence = _how_far(run, number)
    if sentence:
        yield Note(sentence)
        _remark(run, sentence)


def _hand_out_held(run: _Run, number: int) -> Iterator[Event]:
    """Go back to the last round that held the accuracy; that is the dense network before any."""
    limit = run.recipe.schedule.max_drop
    if run.held is None:
        everything = {site: np.ones_like(stays) for site, stays in run.plans[0].keep.items()}
        run.plans = [Plan(run.recipe, everything, {}, {})]
        run.surgery = prune(run.model, run.network, run.plans[0])
        run.pruned = run.dense
        handed = "Nothing is pruned: the dense network is handed out. Prune less, or in more rounds"
    else:
        n_held = max(i for i, held in enumerate(run.verdicts, 1) if held)
        run.plans = run.plans[:n_held]
        run.surgery, run.pruned = run.held, run.held_pruned
        handed = f"Round {n_held} is handed out, the last that held it"
    metric = run.data.task.metrics[0] if run.data else CLASSIFICATION.metrics[0]
    unit = "percentage points" if metric.loss_unit == "points" else metric.loss_unit
    side = "below" if metric.higher_is_better else "above"
    sentence = (
        f"After round {number} of {run.n_rounds} the validation {metric.name} was more than "
        f"{limit:g} {unit} {side} the dense network's. {handed}."
    )
    _remark(run, sentence)
    yield Note(sentence)
    cost = preview(run.network, run.plans[-1])
    yield _previewed(cost)
    if run.pruned is not None:
        yield Evaluated("pruned", run.pruned)
    if run.epochs:
        yield from _measure(run, "tuned", number)


def _how_far(run: _Run, number: int) -> str:
    """Say of adaptive rounds that did not get to the target how far they came."""
    first_step = run.recipe.schedule.first_step
    if first_step is None:
        return ""
    reached = walk(first_step, run.verdicts).reached
    if reached >= 1:
        return ""
    return (
        f"Adaptive rounds came {100 * reached:.3g} % of the way to the target in {number} rounds. "
        "Allow a larger drop, or more rounds or epochs, to come further."
    )


def _remark(run: _Run, sentence: str) -> None:
    """Add a note to the final plan."""
    plan = run.plans[-1]
    run.plans[-1] = replace(plan, notes={**plan.notes, "": (*plan.notes.get("", ()), sentence)})


def _without_gone_layers(settings: Tuning, surgery: Pruned) -> Tuning:
    """Return the settings without layers to freeze that left with their branch."""
    left = tuple(path for path in settings.freeze if has_parameters(surgery.module, path))
    return settings if left == settings.freeze else settings.model_copy(update={"freeze": left})


def _trainable(run: _Run) -> tuple[str, ...]:
    """Return the parameters of the layers that pruning touched."""
    names = {name for name, _ in run.surgery.module.named_parameters()}
    touched = {name for name, mask in run.surgery.masks.items() if not bool(mask.all())}
    touched |= {
        name
        for name, axes in run.surgery.kept.items()
        if any(indices is not None for indices in axes)
    }
    layers = {name.rpartition(".")[0] for name in touched & names}
    return tuple(sorted(name for name in names if name.rpartition(".")[0] in layers))


def _measure(run: _Run, moment: Moment, number: int) -> Iterator[Event]:
    """Measure the dense or the present module on the test split, if there is one."""
    if run.data is None:
        return
    yield run.started(moment, number)
    split = run.data.test
    module = run.model.module if moment == "dense" else run.surgery.module
    with run.stage(moment), placed(module, run.device):
        evaluation = run.team.first(
            lambda: evaluate(module, split, should_stop=run.should_stop, full=True)
        )
    match moment:
        case "dense":
            run.dense = evaluation
        case "pruned":
            run.pruned = evaluation
        case "tuned":
            run.tuned = evaluation
    yield Evaluated(moment, evaluation)


def _round_finished(run: _Run, number: int, accuracy: float | None) -> RoundFinished:
    keep = run.plans[-1].keep.values()
    n_units = sum(mask.size for mask in keep)
    n_kept = sum(int(mask.sum()) for mask in keep)
    return RoundFinished(
        round=number,
        n_rounds=run.n_rounds,
        removed=1 - n_kept / n_units if n_units else 0.0,
        validation_accuracy=accuracy,
        held=not run.fell,
        task=run.data.task.key if run.data else CLASSES,
    )


def _checkpoint(run: _Run, number: int, tuner: FineTuner) -> Checkpoint:
    return Checkpoint(
        fingerprint=run.recipe.fingerprint,
        weights_sha256=run.model.weights_sha256,
        source=run.data.source if run.data else "",
        epoch=len(run.epochs),
        round=number,
        plans=tuple(PlanState(plan.keep, plan.thresholds, plan.notes) for plan in run.plans),
        tuner=tuner.state(),
        dense=run.dense,
        pruned=run.pruned,
        epochs=tuple(run.epochs),
        seconds=dict(run.seconds),
        held=HeldState(_state(run.held.module), run.held_pruned) if run.held else None,
        verdicts=tuple(run.verdicts),
    )


def _state(module: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in module.state_dict().items()}


def _finish(run: _Run) -> Iterator[Event]:
    """Quantise, if that was asked for, and hand the result over."""
    wanted = run.recipe.quantisation
    result = _result(run)
    if wanted is not None and run.team.is_first:
        yield run.started("quantise")
        with run.stage("quantise"):
            try:
                result = quantise(
                    result,
                    wanted.kind,
                    data=run.data,
                    samples=wanted.samples,
                    should_stop=run.should_stop,
                )
            except ExportError as error:
                result = result.with_problem("int8", str(error))
    yield Finished(result)


def _result(run: _Run) -> RunResult:
    cost = preview(run.network, run.plans[-1])
    return RunResult(
        recipe=run.recipe,
        model=run.model,
        network=run.network,
        plan=_with_note(run),
        preview=cost,
        counted=counted(run.surgery.module, macs=cost.after.macs),
        surgery=run.surgery,
        dense=run.dense,
        pruned=run.pruned,
        tuned=run.tuned,
        epochs=tuple(run.epochs),
        seconds=run.seconds,
        environment=describe_environment(run.device.type, run.team.size),
        data=_data_summary(run.recipe, run.data),
        rounds_kept=0 if run.fell and run.held is None else len(run.plans),
        samples=run.data.test.batch(slice(0, _N_SAMPLES))[0] if run.data else None,
    )


def _with_note(run: _Run) -> Plan:
    """Return the final plan, with a note when the fine-tuning asked for could not be done."""
    plan = run.plans[-1]
    if run.data is not None or not run.recipe.tuning.epochs:
        return plan
    left_out = "No fine-tuning was done: neither the recipe nor the model names data."
    return replace(plan, notes={**plan.notes, "": (*plan.notes.get("", ()), left_out)})


def _data_summary(recipe: Recipe, data: Dataset | None) -> DataSummary | None:
    if data is None:
        return None
    n_train = len(data.train)
    n_seen = min(recipe.calibration.samples, len(data.calibration))
    reads = any(CRITERIA[part.criterion].needs_data for part in recipe.parts.values())
    return DataSummary(
        key=data.key,
        title=data.title,
        source=data.source,
        n_train=min(recipe.tuning.train_samples or n_train, n_train),
        n_validation=len(data.validation),
        n_test=len(data.test),
        n_calibration=n_seen if reads else 0,
        classes=tuple(data.classes),
        task=data.task.key,
    )
