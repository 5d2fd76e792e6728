"""The report of a stranger: read strictly, entry by entry; what is unknown is left out."""

import json
from typing import Annotated, Any, Final, Literal, NoReturn

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
    model_validator,
)

from pruning_core.errors import ExportError
from pruning_core.exporting.document import DOCUMENT_VERSION, Document
from pruning_core.tasks import CLASSES
from pruning_core.tasks.registry import TASKS

MAX_REPORT_BYTES: Final = 16_000_000

_Text = Annotated[str, Field(max_length=2000)]
_Name = Annotated[str, Field(max_length=512)]
_Word = Annotated[str, Field(pattern=r"^[\w .,:;+()@/&#®™-]{0,200}$")]
"""Plain words, e.g. the name of a processor: nothing that Markdown or HTML could act on."""
_Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
_Count = Annotated[int, Field(ge=0, le=10**15)]
_Share = Annotated[float, Field(ge=0, le=1)]
_Interval = tuple[float | None, float | None]
_Intervals = dict[_Name, _Interval]


def _known(task: str) -> str:
    if task not in TASKS:
        raise ValueError("no such task is known")
    return task


_Task = Annotated[_Name, AfterValidator(_known)]


class _Entry(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", strict=True, allow_inf_nan=False)


class _Change(_Entry):
    before: _Count
    after: _Count


class _Totals(_Entry):
    params: _Count
    nonzero: _Count
    macs: _Count
    bytes: _Count


class _Layer(_Entry):
    name: _Name
    kind: _Name
    before: _Totals
    after: _Totals


class _Shares(_Entry):
    dense: _Share | None
    pruned: _Share | None
    tuned: _Share | None


class _Numbers(_Entry):
    dense: float | None
    pruned: float | None
    tuned: float | None


class _Counts(_Entry):
    dense: _Count | None
    pruned: _Count | None
    tuned: _Count | None


class _Class(_Entry):
    label: _Count
    precision: _Share
    recall: _Share
    f1: _Share
    n: _Count
    intervals: _Intervals = {}


class _AsGiven(_Entry):
    """An entry whose names depend on the task: what was not there is not written."""

    @model_serializer(mode="wrap")
    def _only_given(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        found = write(self)
        return {name: found[name] for name in found if name in self.model_fields_set}


class _Detail(_AsGiven):
    accuracy_interval: tuple[_Share, _Share] | None
    intervals: _Intervals = {}
    values: dict[_Name, float | None] | None = None
    per_class: Annotated[list[_Class], Field(max_length=100_000)]
    confusion: Annotated[list[list[_Count]], Field(max_length=100_000)]

    @model_validator(mode="after")
    def _is_square(self) -> "_Detail":
        n = len(self.per_class)
        if len(self.confusion) != n or any(len(row) != n for row in self.confusion):
            raise ValueError(f"the confusion matrix must be {n} by {n}, like the classes")
        if [item.label for item in self.per_class] != list(range(n)):
            raise ValueError("the classes must be numbered 0, 1, ...")
        return self


class _Details(_Entry):
    dense: _Detail | None
    pruned: _Detail | None
    tuned: _Detail | None


class _Epoch(_AsGiven):
    epoch: _Count
    n_epochs: _Count
    loss: float | None
    validation_loss: float | None
    learning_rate: float | None
    seconds: float | None
    examples_per_second: float | None
    accuracy: float | None = None
    validation_accuracy: float | None = None
    score: float | None = None
    validation_score: float | None = None


class _Data(_Entry):
    key: _Name
    title: _Name
    source: _Name
    n_train: _Count
    n_validation: _Count
    n_test: _Count
    n_calibration: _Count
    classes: Annotated[list[_Name], Field(max_length=100_000)] = []
    task: _Task = CLASSES


class _Surgery(_Entry):
    form: Literal["masked", "module", "graph"]
    reason: _Text


class _Onnx(_Entry):
    max_abs_difference: float | None
    n: _Count | None


class _Mask(_Entry):
    n: Annotated[int, Field(ge=0, le=10**9)]
    bits: str


class _Report(_Entry):
    version: Literal[1]
    model: _Name
    model_title: _Name
    model_sha256: _Digest
    recipe_fingerprint: _Digest
    mask_fingerprint: _Digest
    params: _Change
    nonzero: _Change
    macs: _Change
    bytes: _Change
    accuracy: _Shares
    top5: _Shares
    precision: _Shares
    recall: _Shares
    f1: _Shares
    calibration_error: _Shares
    loss: _Numbers
    n: _Counts
    details: _Details
    task: _Task = CLASSES
    interval_methods: dict[_Name, _Text]
    layers: Annotated[list[_Layer], Field(max_length=100_000)]
    rounds_kept: _Count
    epochs: Annotated[list[_Epoch], Field(max_length=100_000)]
    seconds: dict[_Name, float]
    environment: dict[_Word, _Word]
    data: _Data | None
    surgery: _Surgery
    onnx: _Onnx
    problems: dict[_Name, _Text]
    notes: dict[_Name, list[_Text]]
    thresholds: dict[_Name, float | None]
    kept: dict[_Name, list[list[_Count] | None]]
    keep: dict[_Name, _Mask]


def checked_report(raw: bytes) -> Document:
    """Return what a report.json from elsewhere says, every entry of the type and range it must be.

    Numbers of an int8 file are left out: such a file does not travel with an import.

    Raises:
        ExportError: With the first entries that are wrong.
    """
    if len(raw) > MAX_REPORT_BYTES:
        raise ExportError(
            f"report.json has {len(raw):,} bytes; at most {MAX_REPORT_BYTES:,} are read."
        )
    try:
        found = json.loads(raw, object_pairs_hook=_distinct, parse_constant=_no_constant)
        if not isinstance(found, dict) or found.get("version") != DOCUMENT_VERSION:
            raise ExportError(f"report.json is no report of version {DOCUMENT_VERSION}.")
        report = _Report.model_validate_json(raw)
    except ValidationError as error:
        raise ExportError(f"report.json cannot be used: {_sentence(error)}") from None
    except RecursionError:
        raise ExportError("report.json is nested too deeply to be a report.") from None
    except (ValueError, UnicodeDecodeError) as error:
        raise ExportError(f"report.json is not valid JSON: {str(error)[:120]}.") from None
    return report.model_dump(mode="json") | {"quantised": None}


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("a key occurs twice in one object")
    return result


def _no_constant(text: str) -> NoReturn:
    raise ValueError(f"it holds {text}, which is no number")


def _sentence(error: ValidationError) -> str:
    """Name at most three entries that are wrong."""
    items = error.errors(include_url=False, include_input=False)
    said = [
        f"{'.'.join(str(part) for part in item['loc'])[:80] or 'report'}: {item['msg'][:80]}"
        for item in items[:3]
    ]
    more = len(items) - len(said)
    return "; ".join(said) + (f"; and {more} more" if more > 0 else "") + "."
