"""Searches for plans between accuracy and cost: by Optuna, kept in a storage, shared by machines.

The storage (SQLite in the state folder, or a database by URL) is Optuna's; each measured plan is
also a line of a file, which pages read. Source of the sampler: Ozaki et al. 2022, multiobjective
tree-structured Parzen estimator, doi:10.1613/jair.1.13188.
"""

import hashlib
import json
from collections.abc import Generator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from torch import nn

from pruning_core.errors import DataError, RunError
from pruning_core.evaluation import latency
from pruning_core.evaluation.asking import Asking
from pruning_core.evaluation.evaluate import headline_of, statistics_of
from pruning_core.evaluation.stopping import ShouldStop
from pruning_core.evaluation.tradeoff import Cost, Trial, knobs, varied
from pruning_core.evaluation.whatif import what_if
from pruning_core.folders import state_folder
from pruning_core.planning.recipe import Recipe
from pruning_core.planning.resolve import resolve
from pruning_core.preview import preview
from pruning_core.runs.atomic import exclusive, write_bytes
from pruning_core.runs.setup import Setup
from pruning_core.runs.storages import open_study
from pruning_core.steps import run_to_end
from pruning_core.surgery.prune import prune
from pruning_core.tasks import CLASSES, Metric

if TYPE_CHECKING:
    import optuna

EXAMPLES: Final = 500
_VERSION: Final = 1
_TIMED_SECONDS: Final = 0.6
_DECIDES_NOTHING: Final = frozenset({"target", "layers", "pins", "scope", "tuning", "schedule"})


@dataclass(frozen=True, slots=True)
class Study:
    """What is known of a search.

    Attributes:
        trials: Measured so far.
        dense: The dense model, as a trial with no ratios.
        n: Examples measured, the first of the validation split.
        source: Which copy of the data they are from.
        task: Key of what was measured.
    """

    trials: tuple[Trial, ...]
    dense: Trial
    n: int
    source: str
    task: str = CLASSES


def name_of(recipe: Recipe, weights_sha256: str, data: str, cost: Cost) -> str:
    """Return the name of the study; the same on every machine for the same question."""
    decides = recipe.parts[""].model_dump(mode="json", exclude=set(_DECIDES_NOTHING))
    pinned = {
        pin: None if pin not in recipe.layers else recipe.layers[pin].model_dump()
        for pin in sorted(recipe.pins)
    }
    text = json.dumps([_VERSION, weights_sha256, data, cost, decides, pinned], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def path_of(name: str) -> Path:
    """Return the file that pages read."""
    return state_folder() / "studies" / f"{name}.json"


def read(path: Path) -> Study | None:
    """Return what is known of a search; None when there is nothing."""
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    trials = tuple(Trial(**trial) for trial in found["trials"])
    dense, task = Trial(**found["dense"]), found.get("task", CLASSES)
    return Study(trials, dense, found["n"], found["source"], task)


def default_storage() -> str:
    """Return the URL of the storage of this server."""
    folder = state_folder() / "studies"
    folder.mkdir(parents=True, exist_ok=True)
    return f"sqlite:///{folder / 'optuna.sqlite3'}"


def carry_out(
    setup: Setup,
    cost: Cost,
    *,
    n_trials: int,
    n: int = EXAMPLES,
    storage: str | None = None,
    should_stop: ShouldStop | None = None,
) -> Generator[tuple[float, Trial], None, None]:
    """Measure plans until ``n_trials`` are known in the storage; yields the share, and each plan.

    The first plans are those of the global ranking at six ratios, so that the front begins with
    what one slider could reach; after them the sampler chooses a ratio for every layer. Any number
    of processes, on any machines that reach the storage, may work on the same study.

    Args:
        setup: What is pruned and measured; pinned layers keep their own targets.
        cost: What is weighed against the accuracy.
        n_trials: Of the whole study, those of other workers included.
        n: Validation examples of each plan, at most those there are.
        storage: URL for Optuna; None is the one of this server.
        should_stop: Asked before every batch.

    Raises:
        DataError: If there is no validation example.
        RunError: If nothing can be varied or the storage cannot be used.
        StoppedError: If ``should_stop`` says so; what was measured is kept.
    """
    worker = _Worker(setup, cost, n, should_stop)
    metric = setup.data.task.metrics[0]
    study = _opened(storage or default_storage(), worker.name, setup.recipe.seed, metric)
    while (done := len(_finished(study))) < n_trials:
        worker.step(study)
        yield min(1.0, (done + 1) / n_trials), worker.publish(study)[-1]
    worker.publish(study)


class _Worker:
    """Measures the plans that a study asks for."""

    def __init__(self, setup: Setup, cost: Cost, n: int, should_stop: ShouldStop | None) -> None:
        self._is = setup
        self._cost = cost
        self._should_stop = should_stop
        recipe, data = setup.recipe.parts[""], setup.data
        self._recipe = recipe
        if not knobs(recipe, setup.network):
            raise RunError("Every layer is pinned, so nothing can be varied. Unpin some layers.")
        self._asking = Asking(recipe, setup.network, setup.scores)
        self._sample = data.validation.first(n)
        if not len(self._sample):
            raise DataError(f"The data set '{data.key}' has no validation examples to measure.")
        self.name = name_of(setup.recipe, setup.model.weights_sha256, data.key, cost)
        self._known_dense: Trial | None = None
        self._statistics = statistics_of(setup.model.module, self._sample, should_stop=should_stop)

    def step(self, study: "optuna.Study") -> None:
        """Measure one more plan: of the global ranking at first, then of the sampler."""
        known = {trial.user_attrs["ranked"] for trial in _finished(study)}
        asked = self._asking.next_plan(study, known)
        found = self._measured(asked.ratios)
        attributes = {"found": asdict(found), "ranked": asked.ranked}
        asked.tell(study, (found.accuracy, found.cost(self._cost)), attributes)

    def publish(self, study: "optuna.Study") -> list[Trial]:
        """Write the file that pages read, with what every worker measured; return that."""
        trials = [
            replace(Trial(**trial.user_attrs["found"]), number=trial.number)
            for trial in _finished(study)
        ]
        path = path_of(self.name)
        path.parent.mkdir(parents=True, exist_ok=True)
        with exclusive(path.with_suffix(".lock")):
            content = {
                "n": len(self._sample),
                "source": self._is.data.source,
                "task": self._is.data.task.key,
                "dense": asdict(self._dense()),
                "trials": [asdict(trial) for trial in trials],
            }
            write_bytes(path, json.dumps(content).encode())
        return trials

    def _measured(self, ratios: Mapping[str, float]) -> Trial:
        plan = resolve(varied(self._recipe, ratios), self._is.network, self._is.scores)
        after = preview(self._is.network, plan).after
        found = what_if(
            self._is.model,
            self._is.network,
            plan,
            self._is.data,
            n=len(self._sample),
            dense=self._statistics,
            should_stop=self._should_stop,
        )
        milliseconds = None
        if self._cost == "milliseconds":
            module = prune(self._is.model, self._is.network, plan).module
            milliseconds = self._timed(module)
        return Trial(
            0,  # the study counts
            ratios,
            found.accuracy,
            after.params,
            after.nonzero,
            after.macs,
            after.n_bytes,
            milliseconds,
            plan.fingerprint,
        )

    def _dense(self) -> Trial:
        if self._known_dense is None:
            before = preview(
                self._is.network,
                resolve(varied(self._recipe, {}), self._is.network, self._is.scores),
            ).before
            timed = self._cost == "milliseconds"
            self._known_dense = Trial(
                -1,
                {},
                headline_of(self._sample.task, self._statistics),
                before.params,
                before.nonzero,
                before.macs,
                before.n_bytes,
                self._timed(self._is.model.module) if timed else None,
                "",
            )
        return self._known_dense

    def _timed(self, module: nn.Module) -> float:
        """Return the median milliseconds of one sample, measured in turns with the dense model."""
        steps = latency.compare(
            self._is.model.module, module, self._is.model.inputs, seconds=_TIMED_SECONDS
        )
        return run_to_end(steps).pruned.median_ms


def _opened(storage: str, name: str, seed: int, metric: Metric) -> "optuna.Study":
    """Open the study, or make it.

    Raises:
        RunError: If the storage cannot be used.
    """
    import optuna

    better: Literal["maximize", "minimize"] = "maximize" if metric.higher_is_better else "minimize"
    study = open_study(storage, name, [better, "minimize"])
    # Workers that start with the same seed would ask for the same plans.
    study.sampler = optuna.samplers.TPESampler(seed=seed + len(study.get_trials(deepcopy=False)))
    return study


def _finished(study: "optuna.Study") -> list["optuna.trial.FrozenTrial"]:
    """Return the trials that were measured, by any worker."""
    from optuna.trial import TrialState

    found = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    return [trial for trial in found if "found" in trial.user_attrs]
