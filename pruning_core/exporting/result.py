"""What one run produced: the pipeline fills it, every exporter reads it, nobody changes it."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from torch import Tensor

from pruning_core.planning.recipe import Recipe
from pruning_core.tasks import CLASSES

if TYPE_CHECKING:
    from pruning_core.evaluation.evaluate import Evaluation
    from pruning_core.evaluation.latency import Comparison
    from pruning_core.loading.model import LoadedModel
    from pruning_core.planning.resolve import Plan
    from pruning_core.preview import Preview, Totals
    from pruning_core.surgery.prune import Pruned
    from pruning_core.tracing.network import Network
    from pruning_core.tuning.finetune import EpochResult


@dataclass(frozen=True, slots=True)
class DataSummary:
    """Which data the accuracies and the tuning were measured on.

    Attributes:
        key: Key in ``DATASETS``.
        title: Name on screen.
        source: ``bundled subset`` or ``full set``.
        n_train: Samples used for one epoch of tuning.
        n_validation: Samples each epoch is validated on.
        n_test: Samples behind the reported accuracies.
        n_calibration: Samples the criterion saw; 0 when it reads weights only.
        classes: Names of the classes, in the order of the logits; may be empty.
        task: Key of what was to be done with them.
    """

    key: str
    title: str
    source: str
    n_train: int
    n_validation: int
    n_test: int
    n_calibration: int
    classes: tuple[str, ...] = ()
    task: str = CLASSES


@dataclass(frozen=True, slots=True)
class OnnxCheck:
    """The comparison of the exported ONNX file with PyTorch.

    Attributes:
        max_abs_difference: Largest absolute difference of any output number.
        n: Samples compared, over all batch sizes tried.
    """

    max_abs_difference: float
    n: int


@dataclass(frozen=True, slots=True, eq=False)
class Quantised:
    """The int8 file of a run, measured against its float file; both in onnxruntime.

    Attributes:
        kind: Key in ``QUANTISERS``.
        content: The int8 ONNX file; None when it was taken away.
        float_bytes: Size of the float32 ONNX file.
        int8_bytes: Size of the int8 one.
        n_int8: Numbers it stores in one byte.
        n_float: Numbers it stores as float32.
        stored: Weights stored as int8 but multiplied as float32.
        left: Weights (two axes or more) that stayed float32.
        session: Settings of the onnxruntime session it was measured with.
        n_calibration: Samples whose activations were watched.
        before: Test metrics of the float32 file; None without data.
        after: Test metrics of the int8 file; None without data.
        agreement: Share of the test samples that both files give the same answer; None without
            data.
        change: 95 % interval of the change of the accuracy, on the same samples; None without data.
        speed: Both files measured in turns, float32 as ``dense`` and int8 as ``pruned``.
    """

    kind: str
    content: bytes | None
    float_bytes: int
    int8_bytes: int
    n_int8: int
    n_float: int
    stored: tuple[str, ...]
    left: tuple[str, ...]
    session: Mapping[str, str]
    n_calibration: int
    before: "Evaluation | None"
    after: "Evaluation | None"
    agreement: float | None
    change: tuple[float, float] | None
    speed: tuple["Comparison", ...]


@dataclass(frozen=True, slots=True, eq=False)
class RunResult:
    """Everything a finished run knows; ``exporting.exporter.write_files`` turns it into a folder.

    Attributes:
        recipe: What was asked for.
        model: The dense model, unchanged.
        network: Its trace.
        plan: The final plan, in the units of the dense network (all rounds together).
        preview: Totals and layers before and after, predicted from the plan.
        counted: Totals of the real pruned module: parameters and non-zeros counted by ``numel``.
        surgery: The pruned (and tuned) module with its masks and kept indices.
        dense: Test metrics of the dense model; None when there are no data.
        pruned: Test metrics after pruning, before tuning; None when there are no data.
        tuned: Test metrics after tuning; None without data or epochs.
        epochs: Results of every epoch of tuning, over all rounds.
        seconds: Wall-clock seconds by stage.
        environment: Versions, processor and thread count, as text.
        data: What was measured on; None when there are no data.
        rounds_kept: Rounds behind what is handed out; fewer than asked for where one fell too far.
        samples: Real model inputs, float32 ``[N, ...]`` with N >= 7, for the ONNX check; None when
            there are no data (seeded random inputs are used then).
        onnx: The check of the ONNX file; None until it was written.
        quantised: The int8 file and what it was measured to be; None when none was asked for.
        problems: Sentences about files that could not be written, by exporter key.
    """

    recipe: Recipe
    model: "LoadedModel"
    network: "Network"
    plan: "Plan"
    preview: "Preview"
    counted: "Totals"
    surgery: "Pruned"
    dense: "Evaluation | None"
    pruned: "Evaluation | None"
    tuned: "Evaluation | None"
    epochs: tuple["EpochResult", ...]
    seconds: Mapping[str, float]
    environment: Mapping[str, str]
    data: DataSummary | None
    rounds_kept: int = 1
    samples: Tensor | None = None
    onnx: OnnxCheck | None = None
    quantised: Quantised | None = None
    problems: Mapping[str, str] = field(default_factory=dict)

    def with_onnx(self, check: OnnxCheck) -> "RunResult":
        """Return a copy that carries the check of the ONNX file."""
        return replace(self, onnx=check)

    def with_problem(self, key: str, sentence: str) -> "RunResult":
        """Return a copy that says why the file of exporter ``key`` is missing."""
        return replace(self, problems={**self.problems, key: sentence})
