"""What happens in a run, in the order it happens; every consumer draws, prints or stores these."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

from pruning_core.tasks import CLASSES

if TYPE_CHECKING:
    from pruning_core.evaluation.evaluate import Evaluation
    from pruning_core.exporting.result import RunResult
    from pruning_core.preview import Totals
    from pruning_core.runs.checkpoint import Checkpoint
    from pruning_core.tuning.finetune import BatchProgress, EpochResult

Moment = Literal["dense", "pruned", "tuned"]

STAGES: Final[Mapping[str, str]] = {
    "wait": "waiting for its turn",
    "start": "starting the worker",
    "load": "loading the model and the data",
    "trace": "tracing the network",
    "sparse": "training towards sparsity",
    "score": "rating units",
    "resolve": "choosing what stays",
    "preview": "counting the cost",
    "dense": "testing the dense network",
    "prune": "pruning",
    "early": "training the dense network to its early weights",
    "rewind": "putting the weights of the beginning in",
    "recalibrate": "recalibrating batch normalisation",
    "pruned": "testing the pruned network",
    "tune": "fine-tuning",
    "validate": "measuring what was lost against the dense network's",
    "tuned": "testing the fine-tuned network",
    "quantise": "quantising to int8 and measuring it",
    "export": "writing the files",
}


@dataclass(frozen=True, slots=True)
class StageStarted:
    """The run begins to do something else.

    Attributes:
        stage: A key of ``STAGES``.
        round: Round of pruning, 1-based; 0 before the first.
        n_rounds: Rounds of the whole run.
    """

    stage: str
    round: int
    n_rounds: int

    @property
    def title(self) -> str:
        """The stage in words, e.g. ``fine-tuning (round 2 of 3)``."""
        title = STAGES[self.stage]
        if self.n_rounds > 1 and self.round:
            return f"{title} (round {self.round} of {self.n_rounds})"
        return title


@dataclass(frozen=True, slots=True)
class Loaded:
    """The model and its data are in memory.

    Attributes:
        model: Identity of the model.
        n_params: Its parameters.
        n_bytes: Bytes of its parameters and buffers.
        data: Key of the data set; None when there is none.
        source: ``bundled subset`` or ``full set``; empty without data.
    """

    model: str
    n_params: int
    n_bytes: int
    data: str | None
    source: str


@dataclass(frozen=True, slots=True)
class Previewed:
    """The totals of the dense network and of this round's plan; both exact.

    ``nonzero`` holds the parameters that are not zero, before and after, by layer.
    """

    before: "Totals"
    after: "Totals"
    nonzero: Mapping[str, tuple[int, int]]


@dataclass(frozen=True, slots=True)
class Shrunk:
    """How large the penalised things are after an epoch of sparse training.

    Attributes:
        penalty: Its key.
        epoch: From 1; 0 is before the first epoch.
        n_zero: How many are exactly zero.
        counts: How many of the others lie below, between (by bins) and above the limits
            ``tuning.penalty.EDGES``.
    """

    penalty: str
    epoch: int
    n_zero: int
    counts: tuple[int, ...]

    @property
    def n(self) -> int:
        """All of them."""
        return self.n_zero + sum(self.counts)


@dataclass(frozen=True, slots=True, eq=False)
class Evaluated:
    """Test metrics at one of the three moments."""

    moment: Moment
    evaluation: "Evaluation"


@dataclass(frozen=True, slots=True)
class RoundFinished:
    """A round of pruning and fine-tuning is over.

    Attributes:
        round: 1-based.
        n_rounds: Rounds of the whole run.
        removed: Share of the dense network's units (or weights) removed so far, 0 to 1.
        validation_accuracy: After the round, 0 to 1, or the headline metric of another task; None
            where it was not measured.
        held: False when it fell more than the recipe allows, which ends the rounds, or takes this
            one back where they are adaptive.
        task: Key of what was measured.
    """

    round: int
    n_rounds: int
    removed: float
    validation_accuracy: float | None
    held: bool = True
    task: str = CLASSES


@dataclass(frozen=True, slots=True)
class Note:
    """Something the user should know, one sentence."""

    text: str


@dataclass(frozen=True, slots=True, eq=False)
class Finished:
    """The run is done except for writing its files; always the last event."""

    result: "RunResult"


Event: TypeAlias = (
    "StageStarted | Loaded | Shrunk | Previewed | Evaluated | BatchProgress | EpochResult"
    " | Checkpoint | RoundFinished | Note | Finished"
)
