"""The recipe: what a person wants pruned and how, as small strict JSON without code or paths."""

import hashlib
import json
from collections.abc import Mapping
from functools import cached_property
from typing import Annotated, Any, ClassVar, Final, Literal, NoReturn, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializationInfo,
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
    model_validator,
)

from pruning_core.errors import InvalidRecipeError

RECIPE_VERSION: Final = 1
MAX_RECIPE_BYTES: Final = 1_000_000
_SCORED_BY: Final = (
    *("version", "model", "data", "input_shape", "granularity", "criterion", "reduction"),
    *("normalise", "reverse", "calibration", "also", "seed"),
)

Name = Annotated[str, Field(min_length=1, max_length=512)]
Kept = Annotated[float, Field(gt=0, le=1)]
UnitNumber = Annotated[int, Field(ge=0, le=10**12)]


class _Strict(BaseModel):
    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, allow_inf_nan=False, ser_json_inf_nan="strings"
    )


class _Growing(_Strict):
    """Settings that grew: a fingerprint leaves out what came later while it is at its default.

    So the recipes of older files and of runs under way keep their fingerprints.
    """

    _later: ClassVar[frozenset[str]] = frozenset()

    @model_serializer(mode="wrap")
    def _leave_out_what_decides_nothing(
        self, write: SerializerFunctionWrapHandler, info: SerializationInfo
    ) -> dict[str, Any]:
        values: dict[str, Any] = write(self)
        if (info.context or {}).get("decides"):
            for name in self._later:
                default = type(self).model_fields[name].get_default(call_default_factory=True)
                if getattr(self, name) == default:
                    del values[name]
        return values


class Found(_Strict):
    """How a ratio was found by measuring; it says where a number comes from and decides nothing.

    ``drop``: at most ``limit`` percentage points of accuracy are lost, ``measured`` on ``n``
    validation examples. ``time``: a batch of ``n`` samples takes at most ``limit`` milliseconds.
    """

    handle: Literal["drop", "time"]
    limit: Annotated[float, Field(ge=0)]
    measured: float
    n: Annotated[int, Field(ge=1)]


class Ratio(_Strict):
    """Remove this share of the units, ``0 <= value < 1``.

    ``found`` says how it was measured where it was; fingerprints leave it out.
    """

    kind: Literal["ratio"] = "ratio"
    value: Annotated[float, Field(ge=0, lt=1)]
    found: Found | None = None

    @model_serializer(mode="wrap")
    def _leave_out_nothing(
        self, write: SerializerFunctionWrapHandler, info: SerializationInfo
    ) -> dict[str, Any]:
        values: dict[str, Any] = write(self)
        if self.found is None or (info.context or {}).get("decides"):
            values.pop("found", None)  # defaults may be left out already
        return values


class Count(_Strict):
    """Remove this many units, the lowest scores first."""

    kind: Literal["count"] = "count"
    value: Annotated[int, Field(ge=0, le=10**12)]


class Threshold(_Strict):
    """Remove every unit whose score is below the value; the unit is that of the criterion."""

    kind: Literal["threshold"] = "threshold"
    value: float


class Budget(_Strict):
    """Remove as few units as keep at most ``value`` of the dense MACs, parameters or bytes."""

    kind: Literal["macs", "params", "bytes"]
    value: Kept


LayerTarget = Annotated[Ratio | Count | Threshold, Field(discriminator="kind")]
Target = Annotated[Ratio | Count | Threshold | Budget, Field(discriminator="kind")]


class Calibration(_Strict):
    """What activation and gradient criteria read: the first samples of the training split."""

    samples: Annotated[int, Field(ge=1, le=2000)] = 512
    batch_size: Annotated[int, Field(ge=1, le=1024)] = 64


class Schedule(_Growing):
    """How the target is reached: in one shot, in rounds, or gradually during one training.

    ``shape`` says how much is gone after each round: ``cubic`` takes most at first (the automated
    gradual pruning of arXiv:1710.01878), ``linear`` the same share of the dense network in each
    round, ``exponential`` the same share of what is left (as lottery tickets are found).
    ``gradual`` makes one training of all rounds: the learning rate and what the optimiser gathered
    go on from round to round. ``last_epochs`` are those of the last round where they differ.
    ``weights`` says what each round trains: what pruning left, the initial weights of the network
    (lottery ticket, arXiv:1803.03635; ``rewind_epoch`` > 0: those after so many epochs of its own
    training, arXiv:1903.01611), or fresh random ones.
    ``max_drop`` ends the rounds when the validation accuracy after one is more than so many
    percentage points below the dense model's; the last round that held it is handed out.
    ``first_step`` makes the rounds adaptive: the first goes this share of the way to the target.
    A round that held the accuracy doubles the step of the next, unless it made up for one that did
    not; one that lost more than ``max_drop`` is undone and halves it. The run ends at the target,
    or after ``rounds`` rounds.
    """

    _later: ClassVar[frozenset[str]] = frozenset(
        {"gradual", "last_epochs", "weights", "rewind_epoch", "max_drop", "first_step"}
    )

    rounds: Annotated[int, Field(ge=1, le=50)] = 1
    shape: Literal["cubic", "linear", "exponential"] = "cubic"
    gradual: bool = False
    last_epochs: Annotated[int, Field(ge=1, le=1000)] | None = None
    weights: Literal["keep", "rewind", "reinitialise"] = "keep"
    rewind_epoch: Annotated[int, Field(ge=0, le=100)] = 0
    max_drop: Annotated[float, Field(ge=0, le=100)] | None = None
    first_step: Annotated[float, Field(gt=0, le=1)] | None = None


class Distillation(_Strict):
    """The dense network teaches the pruned one besides the labels (arXiv:1503.02531).

    ``alpha`` is the share of its softened answers in the loss, the labels have the rest;
    ``temperature`` softens both networks' answers. ``features`` are layers whose outputs shall be
    those of the dense network at the units that stayed (arXiv:1412.6550), by the mean of squared
    differences times ``feature_weight``.
    """

    temperature: Annotated[float, Field(gt=0, le=100)] = 4.0
    alpha: Annotated[float, Field(ge=0, le=1)] = 0.5
    features: Annotated[tuple[Name, ...], Field(max_length=100)] = ()
    feature_weight: Annotated[float, Field(gt=0, le=1e6)] = 1.0


class Tuning(_Growing):
    """Fine-tuning after each round of pruning; ``epochs`` counts per round, 0 means none.

    Attributes:
        learning_rate: The highest rate; reached after the warm-up.
        learning_rate_schedule: What the rate does in one round: half a cosine to 0; constant;
            ``step``, multiplied by ``step_factor`` after the epochs ``step_milestones``, or every
            ``step_every`` epochs when there are none; or one cycle up and down (arXiv:1708.07120).
        warmup_steps: Batches in which the rate rises; one cycle takes 30 % of the round when 0.
        augmentations: How training images are changed at random: name -> strength, see
            ``tuning.augmentations``; ``horizontal_flip`` mirrors them besides.
        label_smoothing: Share of each label that is spread over all classes (arXiv:1512.00567).
        gradient_clip: Gradients longer than this (L2 norm of all together) are scaled down to it.
        layers: Train all layers, or those that lost something.
        freeze: Module paths that are left alone: neither weights nor running statistics change.
        watched: What decides on validation data which epoch is better.
        patience: Stop a round after this many epochs without an improvement of more than
            ``min_delta`` (nats, or a share from 0 to 1); None never stops early.
        restore_best: The round hands on the weights of its best epoch instead of the last.
        precision: ``bfloat16`` computes in mixed precision where the device has it.
        average_decay: The round hands on a moving average of the weights after each step instead
            of the last ones; this share of it stays at each step (arXiv:1803.05407). None: off.
        distillation: What the dense network teaches; None: the labels are all there is.
    """

    _later: ClassVar[frozenset[str]] = frozenset(
        {
            *("step_milestones", "step_every", "step_factor", "augmentations", "label_smoothing"),
            *("gradient_clip", "freeze", "watched", "patience", "min_delta", "restore_best"),
            *("precision", "average_decay", "distillation"),
        }
    )

    epochs: Annotated[int, Field(ge=0, le=1000)] = 3
    optimiser: Literal["adam", "adamw", "sgd"] = "adam"
    learning_rate: Annotated[float, Field(gt=0, le=10)] = 1e-3
    learning_rate_schedule: Literal["cosine", "constant", "step", "one_cycle"] = "cosine"
    warmup_steps: Annotated[int, Field(ge=0, le=1_000_000)] = 0
    step_milestones: Annotated[
        tuple[Annotated[int, Field(ge=1, le=1000)], ...], Field(max_length=100)
    ] = ()
    step_every: Annotated[int, Field(ge=1, le=1000)] = 1
    step_factor: Annotated[float, Field(gt=0, lt=1)] = 0.1
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    weight_decay: Annotated[float, Field(ge=0, le=1)] = 0.0
    batch_size: Annotated[int, Field(ge=2, le=8192)] = 128
    train_samples: Annotated[int, Field(ge=2)] | None = None
    horizontal_flip: bool = False
    augmentations: dict[Name, Annotated[float, Field(gt=0, le=1000)]] = Field(
        default_factory=dict, max_length=20
    )
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    gradient_clip: Annotated[float, Field(gt=0, le=1e6)] | None = None
    layers: Literal["all", "pruned"] = "all"
    freeze: Annotated[tuple[Name, ...], Field(max_length=20_000)] = ()
    watched: Literal["loss", "accuracy"] = "loss"
    patience: Annotated[int, Field(ge=1, le=1000)] | None = None
    min_delta: Annotated[float, Field(ge=0, le=10)] = 0.0
    restore_best: bool = False
    precision: Literal["float32", "bfloat16"] = "float32"
    average_decay: Annotated[float, Field(gt=0, lt=1)] | None = None
    distillation: Distillation | None = None

    @model_validator(mode="after")
    def _milestones_rise(self) -> Self:
        if list(self.step_milestones) != sorted(set(self.step_milestones)):
            raise ValueError("step_milestones: each epoch must be later than the one before it")
        return self


class Sparse(_Strict):
    """Sparse training: before it is rated, the dense network learns to do with less.

    ``kind`` is a key of ``PENALTIES``: what is pulled to zero. ``strength`` is the factor of the
    penalty in the loss. ``learning_rate`` None means that of the tuning, whose optimiser, batches
    and augmentation are used as well. Early stop, best epoch and averages are not, and the rate is
    constant after the warm-up, so that the penalty pulls to the end.
    """

    kind: Name = "l1"
    strength: Annotated[float, Field(gt=0, le=1000)] = 1e-4
    epochs: Annotated[int, Field(ge=1, le=1000)] = 3
    learning_rate: Annotated[float, Field(gt=0, le=10)] | None = None

    def settings(self, tuning: Tuning) -> Tuning:
        """Return the settings of the training, given those of the fine-tuning."""
        plain = Tuning()
        unused = ("layers", "patience", "restore_best", "average_decay", "distillation")
        own = {
            "epochs": self.epochs,
            "learning_rate": self.learning_rate or tuning.learning_rate,
            "learning_rate_schedule": "constant",
        }
        return tuning.model_copy(update=own | {name: getattr(plain, name) for name in unused})


class Quantisation(_Strict):
    """An int8 ONNX file besides the float32 one.

    ``kind`` is a key of ``QUANTISERS``; ``samples`` of the training split are watched where it
    needs the range of activations.
    """

    kind: Name
    samples: Annotated[int, Field(ge=1, le=2000)] = 256

    @classmethod
    def read(cls, *, kind: str, samples: int) -> "Quantisation":
        """Return the settings, checked.

        Raises:
            InvalidRecipeError: If one of them is out of its bounds.
        """
        try:
            return cls(kind=kind, samples=samples)
        except ValidationError as error:
            raise InvalidRecipeError(_sentence(error)) from None


class Picks(_Strict):
    """Units of one layer that a person picked by hand: these stay, and those go."""

    keep: Annotated[tuple[UnitNumber, ...], Field(max_length=100_000)] = ()
    prune: Annotated[tuple[UnitNumber, ...], Field(max_length=100_000)] = ()

    @model_validator(mode="after")
    def _are_distinct(self) -> "Picks":
        picked = (*self.keep, *self.prune)
        if len(set(picked)) != len(picked):
            raise ValueError("picks: a unit is named twice")
        return self


class Part(_Growing):
    """What is pruned, how it is rated, and how much of it goes.

    ``layers`` holds targets of single layers (site names); ``pins`` names layers which the global
    ``target`` leaves alone: they keep their own target, or everything when they have none.
    ``picks`` holds units picked by hand, by layer; they count towards the target.
    ``reduction`` says how the slices of a coupled unit become one score: ``sum`` takes them as one
    set of elements; ``mean`` and ``max`` are over the scores of the single tensors' slices;
    ``first`` looks only at the tensor that makes the unit. ``reverse`` changes the sign of the
    scores, a control: what matters most leaves first.
    ``scope`` says how ``target`` is spread: over all layers with one ranking, the same in each
    layer, or by the Erdos-Renyi-Kernel densities, which leave more of small layers.
    ``min_kept`` and ``round_to`` count units and apply to granularities that remove units.
    """

    granularity: Name = "weight"
    criterion: Name = "l1"
    reduction: Literal["sum", "mean", "max", "first"] = "sum"
    normalise: Literal["none", "max", "mean", "sum", "standard"] = "none"
    reverse: bool = False
    scope: Literal["local", "global", "erk"] = "global"
    target: Target = Ratio(value=0.0)
    layers: dict[Name, LayerTarget] = Field(default_factory=dict, max_length=20_000)
    pins: Annotated[tuple[Name, ...], Field(max_length=20_000)] = ()
    picks: dict[Name, Picks] = Field(default_factory=dict, max_length=20_000)
    min_kept: Annotated[int, Field(ge=1, le=10**6)] = 1
    round_to: Annotated[int, Field(ge=1, le=1024)] = 1

    @model_validator(mode="after")
    def _pins_are_distinct(self) -> Self:
        if len(set(self.pins)) != len(self.pins):
            raise ValueError("pins: a layer is named twice")
        return self


class Recipe(Part):
    """Everything that decides the result; same recipe, same seed: the same masks, bit for bit.

    A mixed recipe prunes in several ways at once: ``also`` holds the ways besides the recipe's own,
    each with another granularity. All of them are rated and decided on the dense network.
    """

    _later: ClassVar[frozenset[str]] = frozenset({"sparse", "quantisation"})

    version: Literal[1] = RECIPE_VERSION
    model: Name
    data: Name | None = None
    input_shape: tuple[Annotated[int, Field(ge=1, le=10**6)], ...] | None = None
    also: Annotated[tuple[Part, ...], Field(max_length=20)] = ()
    calibration: Calibration = Calibration()
    sparse: Sparse | None = None
    schedule: Schedule = Schedule()
    tuning: Tuning = Tuning()
    quantisation: Quantisation | None = None
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0

    @model_validator(mode="after")
    def _granularities_are_distinct(self) -> Self:
        keys = [self.granularity, *(part.granularity for part in self.also)]
        twice = sorted({key for key in keys if keys.count(key) > 1})
        if twice:
            raise ValueError(
                f"also: the granularity '{twice[0]}' occurs twice; give its layers their own "
                "targets instead"
            )
        return self

    def __eq__(self, other: object) -> bool:
        """Compare the entries alone: what is remembered beside them (:attr:`parts`) leads back."""
        if not isinstance(other, Recipe):
            return NotImplemented
        return not self.changed(other)

    def changed(self, other: "Recipe") -> frozenset[str]:
        """Return the names of the entries that ``other`` has other values of."""
        if self is other:
            return frozenset()
        names = type(self).model_fields
        return frozenset(name for name in names if getattr(self, name) != getattr(other, name))

    __hash__ = None  # type: ignore[assignment]

    @cached_property
    def parts(self) -> Mapping[str, "Recipe"]:
        """The ways to prune, each as a recipe of its own, by the prefix of their sites in a plan.

        The recipe's own has no prefix; the sites of the others are called ``granularity/site``.
        """
        alone = self.replace(also=()) if self.also else self
        others = {f"{part.granularity}/": alone.replace(**dict(part)) for part in self.also}
        return {"": alone, **others}

    def locate(self, site: str) -> tuple[str, str]:
        """Return the prefix of the part that a site of a plan belongs to, and its name there."""
        prefix = next((p for p in self.parts if p and site.startswith(p)), "")
        return prefix, site.removeprefix(prefix)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 (hex) of the canonical JSON; equal recipes have equal fingerprints."""
        values = self.model_dump(mode="json", context={"decides": True})
        canonical = json.dumps(values, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()

    @cached_property
    def score_settings(self) -> str:
        """What decides the scores, as JSON that is itself a recipe: equal texts, equal scores."""
        return self.model_dump_json(include=set(_SCORED_BY))

    def epochs_of_round(self, number: int) -> int:
        """Return the epochs of fine-tuning after round ``number`` (1-based)."""
        last = self.schedule.last_epochs
        is_last = number == self.schedule.rounds
        return last if is_last and last is not None else self.tuning.epochs

    @property
    def n_epochs(self) -> int:
        """Epochs of fine-tuning over all rounds."""
        rounds = self.schedule.rounds
        return (rounds - 1) * self.tuning.epochs + self.epochs_of_round(rounds)

    @property
    def n_sparse_epochs(self) -> int:
        """Epochs of sparse training before the first round."""
        return self.sparse.epochs if self.sparse else 0

    @property
    def rated_by(self) -> str:
        """The criterion, with what is not usual about it in brackets: ``l1 (max, reversed)``."""
        reduction = [] if self.reduction == "sum" else [self.reduction]
        unusual = ", ".join([*reduction, *(["reversed"] if self.reverse else [])])
        return f"{self.criterion} ({unusual})" if unusual else self.criterion

    def to_json(self) -> str:
        """Return indented JSON that :meth:`from_json` reads back to an equal recipe."""
        values = self.model_dump(mode="json")
        first = {name: values.pop(name) for name in ("version", "model", "data", "input_shape")}
        return json.dumps({**first, **values}, indent=2) + "\n"

    def replace(self, **changes: Any) -> "Recipe":
        """Return a validated copy with ``changes``.

        Raises:
            InvalidRecipeError: If the result is no valid recipe.
        """
        values = {name: getattr(self, name) for name in type(self).model_fields} | changes
        try:
            return Recipe(**values)
        except ValidationError as error:
            raise InvalidRecipeError(_sentence(error)) from None

    def with_layer(self, name: str, target: Ratio | Count | Threshold | None) -> "Recipe":
        """Return a copy in which layer ``name`` has its own target, or None: follows the rest."""
        layers = {key: value for key, value in self.layers.items() if key != name}
        return self.replace(layers=layers if target is None else {**layers, name: target})

    @classmethod
    def from_json(cls, text: str | bytes) -> "Recipe":
        """Read a recipe; everything that is not exactly a recipe is refused.

        Args:
            text: JSON, at most 1 MB; UTF-8 when bytes.

        Raises:
            InvalidRecipeError: With every problem found and the value received.
        """
        raw = text.encode("utf-8", "replace") if isinstance(text, str) else text
        _check_json(raw)
        try:
            return cls.model_validate_json(raw)
        except ValidationError as error:
            raise InvalidRecipeError(_sentence(error)) from None


def _check_json(raw: bytes) -> None:
    """Refuse what lenient JSON readers let through: size, NaN, duplicate keys, depth, version."""
    if len(raw) > MAX_RECIPE_BYTES:
        raise InvalidRecipeError(
            f"The recipe has {len(raw):,} bytes; at most {MAX_RECIPE_BYTES:,} are read."
        )
    try:
        document = json.loads(raw, object_pairs_hook=_distinct, parse_constant=_no_constant)
    except RecursionError:
        raise InvalidRecipeError("The recipe is nested too deeply to be one.") from None
    except (ValueError, UnicodeDecodeError) as error:
        raise InvalidRecipeError(f"The recipe is not valid JSON: {str(error)[:160]}.") from None
    if not isinstance(document, Mapping):
        raise InvalidRecipeError(f"A recipe is a JSON object; this is a {type(document).__name__}.")
    version = document.get("version")
    if version != RECIPE_VERSION or isinstance(version, bool):
        said = "names none" if version is None else f"says {version!r:.40}"
        raise InvalidRecipeError(
            f"This program reads recipes of version {RECIPE_VERSION}; the recipe {said}. Write "
            f'"version": {RECIPE_VERSION} if it was made for that.'
        )


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        names = [key for key, _ in pairs]
        twice = next(key for key in names if names.count(key) > 1)
        raise InvalidRecipeError(f"The recipe holds the key '{twice[:60]}' twice.")
    return result


def _no_constant(text: str) -> NoReturn:
    raise InvalidRecipeError(f"The recipe holds {text}, which is not a number it can use.")


def _wording(message: str) -> str:
    """Say what is wrong in the words of this program rather than those of the validator."""
    lowered = message[:1].lower() + message[1:]
    lowered = lowered.replace("value error, ", "")
    if lowered == "extra inputs are not permitted":
        return "no recipe has such an entry"
    return lowered.replace("input should be", "it must be").replace("input tag", "the kind")


def _sentence(error: ValidationError) -> str:
    """Say every problem in one line each: where, what is wrong, and the value received."""
    problems = []
    for item in error.errors(include_url=False)[:10]:
        where = ".".join(str(part) for part in item["loc"])[:120] or "recipe"
        received = repr(item["input"])
        shown = received if len(received) <= 60 else received[:57] + "..."
        problems.append(f"{where}: {_wording(item['msg'])} (received {shown})")
    more = error.error_count() - len(problems)
    return "; ".join(problems) + (f"; and {more} more" if more > 0 else "") + "."
