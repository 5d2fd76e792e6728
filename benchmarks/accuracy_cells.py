"""What the accuracy benchmark measures: networks, points, and the methods that get to them.

A *cell* is one network at one point by one method with one seed. Every method of a network has the
same number of epochs, the same optimiser and the same order of the training data; only iterative
and gradual pruning spread these epochs over rounds. Goals are about one of them, the recommended
way (``planning.advice``, a button of the Run page), chosen by validation accuracy.

All cells together take a day on one core. A run without flags measures those of its *default*: what
the goals are about, at the points and for the seeds that a setting names.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final, Literal

from pruning_core.loading.architectures import ARCHITECTURES
from pruning_core.planning.advice import MAX_ROUNDS, TEACHER, recommended
from pruning_core.planning.recipe import Budget, Ratio, Recipe, Schedule, Tuning

Kind = Literal["weights", "channels", "dense"]

DISTILLED: Final = " + distillation"
SCHEDULES: Final = ("one-shot", "iterative", "gradual")
RECOMMENDED: Final = "recommended"
OURS: Final = (
    RECOMMENDED,
    *(name + suffix for suffix in ("", DISTILLED) for name in SCHEDULES),
)
PEERS: Final[Mapping[Kind, tuple[str, ...]]] = {
    "weights": ("torch L1", "torch L1 iterative"),
    "channels": ("TP L2", "TP Taylor", "TP L2 global", "TP Taylor global"),
    "dense": (),
}
RANDOM, SCRATCH, DENSE = "random", "from scratch", "dense + same epochs"


@dataclass(frozen=True, slots=True)
class Point:
    """Where a network is pruned to.

    Attributes:
        kind: What leaves.
        value: Share of the weights that leaves, or how many times fewer MACs are left.
    """

    kind: Kind
    value: float = 0.0

    @property
    def title(self) -> str:
        """As tables and files call it."""
        match self.kind:
            case "weights":
                return f"{self.value:.0%} of weights".replace("%", " %")
            case "channels":
                return f"{self.value:g}x fewer MACs"
            case "dense":
                return "dense"


POINTS: Final = (
    *(Point("weights", share) for share in (0.5, 0.8, 0.9, 0.95, 0.98, 0.99)),
    *(Point("channels", factor) for factor in (1.5, 2, 3, 4)),
)
UNPRUNED: Final = Point("dense")
TELLING: Final = (
    Point("weights", 0.95),
    Point("weights", 0.98),
    Point("channels", 2),
    Point("channels", 4),
)


@dataclass(frozen=True, slots=True)
class Cell:
    """One measurement; equal cells are measured once."""

    network: str
    point: Point
    method: str
    seed: int
    epochs: int

    @property
    def key(self) -> str:
        """What the file of results knows it by."""
        return f"{self.network} / {self.point.title} / {self.method} / {self.seed} / {self.epochs}"


@dataclass(frozen=True, slots=True)
class Setting:
    """How a network is fine-tuned here, and at which points.

    Attributes:
        tuning: Of every method; ``epochs`` is the default.
        points: Where it is pruned to; a channel of a linear layer is a neuron.
        default_points: Those of a run without flags.
        default_seeds: Those of a run without flags.
    """

    tuning: Tuning
    points: tuple[Point, ...] = POINTS
    default_points: tuple[Point, ...] = POINTS
    default_seeds: tuple[int, ...] = (0, 1, 2)


SETTINGS: Final[Mapping[str, Setting]] = {
    # Rates: of 1e-3, 2e-3 and 4e-3 the best for torch's global L1 at 98 % by validation accuracy
    # (87.7, 88.7, 89.1); ResNet-8 repeats the rate of its own training (arXiv:2003.02389).
    "lenet_300_100": Setting(Tuning(epochs=10, learning_rate=4e-3)),
    "lenet_5": Setting(
        Tuning(epochs=3, learning_rate=2e-3), default_points=TELLING, default_seeds=(0,)
    ),
    "resnet_8": Setting(
        Tuning(
            epochs=3, optimiser="sgd", learning_rate=0.05, weight_decay=5e-4, horizontal_flip=True
        ),
        default_points=TELLING,
        default_seeds=(0,),
    ),
}
SHORT: Final[Mapping[str, Setting]] = {
    "mlp_digits": Setting(
        Tuning(epochs=2, learning_rate=2e-3, batch_size=32), (Point("weights", 0.9),)
    ),
    "cnn_digits": Setting(
        Tuning(epochs=2, learning_rate=2e-3, batch_size=32), (Point("channels", 3),)
    ),
}

ALL: Final = {**SETTINGS, **SHORT}


@dataclass(frozen=True, slots=True)
class Promise:
    """How many points a network may lose at a point; trained from scratch as a control there."""

    network: str
    point: Point
    limit: float
    words: str


PROMISES: Final = (
    Promise("lenet_300_100", Point("weights", 0.95), 0.3, "95 % of its weights gone"),
    Promise("resnet_8", Point("channels", 2), 0.5, "half its MACs gone"),
)


@dataclass(frozen=True, slots=True)
class Grid:
    """Cells in the order in which they are measured: the most telling first."""

    settings: Mapping[str, Setting] = field(default_factory=lambda: SETTINGS)
    seeds: tuple[int, ...] = (0, 1, 2)
    epochs: int | None = None

    def cells(self) -> list[Cell]:
        """Return all cells, each once."""
        ordered = [
            replace(cell, epochs=self.epochs or cell.epochs)
            for wave in range(_N_WAVES)
            for seed in self.seeds
            for cell in self._wave(wave, seed)
        ]
        return list(dict.fromkeys(ordered))

    def _wave(self, number: int, seed: int) -> list[Cell]:
        found = []
        for name, setting in self.settings.items():
            epochs = setting.tuning.epochs
            pairs = [
                (point, method)
                for point in setting.points
                for method in methods(point.kind)
                if _wave_of(point, method) == number
            ]
            if number == 0:
                pairs.insert(0, (UNPRUNED, DENSE))
            found += [Cell(name, point, method, seed, epochs) for point, method in pairs]
        return found


_N_WAVES: Final = 4


def is_default(cell: Cell) -> bool:
    """Tell whether a run without flags measures the cell."""
    setting = ALL[cell.network]
    return (
        cell.seed in setting.default_seeds
        and cell.point in (UNPRUNED, *setting.default_points)
        and is_default_method(cell)
    )


def is_default_method(cell: Cell) -> bool:
    """Tell whether the goals are about the method of the cell."""
    if cell.method == SCRATCH:
        return (cell.network, cell.point) in {(goal.network, goal.point) for goal in PROMISES}
    return cell.method in (DENSE, RECOMMENDED, *PEERS[cell.point.kind][:2])


def methods(kind: Kind) -> tuple[str, ...]:
    """Return every method that reaches points of this kind."""
    return (DENSE,) if kind == "dense" else (*OURS, *PEERS[kind], RANDOM, SCRATCH)


def _wave_of(point: Point, method: str) -> int:
    """Return when a method comes: the goals, their peers, other schedules, then slow controls."""
    if method == RECOMMENDED or method in PEERS[point.kind][:2]:
        return 0 if point in TELLING else 1
    return 3 if method == SCRATCH else 2


def model_of(network: str, seed: int) -> str:
    """Return the identity of the dense network; the bundled one was trained from seed 0."""
    if seed == 0 or network in SHORT:
        return f"bundled:{network}"
    return f"python:benchmarks.dense:{network}_seed_{seed}"


def recipe_of(cell: Cell, tuning: Tuning) -> Recipe | None:
    """Return the recipe of one of our methods or controls, None for a peer."""
    if cell.method in PEERS[cell.point.kind]:
        return None
    settings = tuning.model_copy(update={"epochs": cell.epochs})
    plain = Recipe(
        model=model_of(cell.network, cell.seed),
        data=ARCHITECTURES[cell.network].data,
        tuning=settings,
        seed=cell.seed,
    )
    match cell.point.kind:
        case "dense":
            return plain
        case "weights":
            base = plain.replace(target=Ratio(value=cell.point.value), criterion="l1")
        case "channels":
            base = plain.replace(
                granularity="unit",
                target=Budget(kind="macs", value=1 / cell.point.value),
                criterion="taylor",
                normalise="mean",
            )
    if cell.method == RANDOM:
        return base.replace(criterion="random", scope="local", normalise="none")
    if cell.method == SCRATCH:
        return _from_scratch(base, cell)
    if cell.method == RECOMMENDED:
        return recommended(base)
    name, _, distilled = cell.method.partition(" + ")
    if distilled:
        settings = settings.model_copy(update={"distillation": TEACHER})
    return _in_rounds(base, name, cell.epochs, settings)


def _in_rounds(base: Recipe, name: str, epochs: int, settings: Tuning) -> Recipe:
    """Spread the epochs over the rounds of a schedule; a round has at least one."""
    if name == "one-shot":
        return base.replace(tuning=settings)
    if name == "iterative":
        rounds = min(MAX_ROUNDS, epochs)
        each, gradual = epochs // rounds, False
    else:
        rounds, each, gradual = max(1, 2 * epochs // 3), 1, True
    last = epochs - (rounds - 1) * each
    schedule = Schedule(rounds=rounds, gradual=gradual, last_epochs=None if last == each else last)
    return base.replace(schedule=schedule, tuning=settings.model_copy(update={"epochs": each}))


def _from_scratch(base: Recipe, cell: Cell) -> Recipe:
    """Train the one-shot network from new weights, as long as both trainings together."""
    training = ARCHITECTURES[cell.network].training
    return base.replace(
        schedule=Schedule(weights="reinitialise"),
        tuning=training.model_copy(update={"epochs": training.epochs + cell.epochs}),
    )
