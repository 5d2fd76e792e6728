"""A board on which workers of one scan, on any machines, say what they measure and have found.

It is a study of Optuna in a shared storage: a trial that runs is a claim, one that is complete is a
point. Claims only keep workers from doing the same; what a worker that died had claimed is measured
by another in the end.
"""

from typing import TYPE_CHECKING, Any, Final

from pruning_core.errors import RunError
from pruning_core.evaluation.sensitivity import Point
from pruning_core.runs.storages import open_study

if TYPE_CHECKING:
    import optuna

_VALUES: Final = ("accuracy", "lost", "gained")
_PLACE: Final = ("site", "n_removed", "n_units")


class Board:
    """The points of one scan in a shared storage.

    Attributes:
        n: Validation examples of each point, as the first worker chose.
    """

    def __init__(self, storage: str, name: str, *, n: int, source: str) -> None:
        """Open it, or make it.

        Args:
            storage: URL of the database.
            name: Of the scan; the same on every machine for the same question.
            n: Examples to measure if this worker is the first.
            source: Which copy of the data this worker has.

        Raises:
            RunError: If the storage cannot be used, or others measure on another copy of the data.
        """
        self._study = open_study(storage, f"scan-{name}", ["maximize", "minimize", "maximize"])
        head = self._study.user_attrs.get("head")
        if head is None:
            head = {"n": n, "source": source}
            self._study.set_user_attr("head", head)
        if head["source"] != source:
            raise RunError(
                f"The scan in this storage is measured on the {head['source']}, and here is the "
                f"{source}. Give the same data (--data-folder) to every worker, or another storage."
            )
        self.n: Final = int(head["n"])
        self._own: dict[tuple[str, int], int] = {}

    def points(self) -> tuple[Point, ...]:
        """Return all that was measured, by whatever worker, each place once."""
        found: dict[tuple[str, int], Point] = {}
        for trial in self._trials("COMPLETE"):
            accuracy, lost, gained = trial.values
            place: dict[str, Any] = {key: trial.user_attrs[key] for key in _PLACE}
            point = Point(**place, accuracy=accuracy, lost=int(lost), gained=int(gained))
            found.setdefault((point.site, point.n_removed), point)
        return tuple(found.values())

    def claim(self, site: str, n_removed: int, n_units: int) -> bool:
        """Take a place that nobody has measured or claimed; False if somebody has.

        Two that claim at the same moment may both have it, and measure the same twice.
        """
        taken = self._trials("COMPLETE", "RUNNING")
        if any(_place_of(trial) == (site, n_removed) for trial in taken):
            return False
        number = self._take(site, n_removed, n_units)
        running = self._trials("RUNNING")
        if min(one.number for one in running if _place_of(one) == (site, n_removed)) < number:
            self._give_back(site, n_removed)
            return False
        return True

    def claim_left(self, site: str, n_removed: int, n_units: int) -> bool:
        """Take a place that nobody has measured, whoever claimed it."""
        if any(_place_of(trial) == (site, n_removed) for trial in self._trials("COMPLETE")):
            return False
        self._take(site, n_removed, n_units)
        return True

    def add(self, point: Point) -> None:
        """Pin up what was measured at a place this worker has taken."""
        number = self._own.pop((point.site, point.n_removed))
        self._study.tell(number, [getattr(point, name) for name in _VALUES])

    def _take(self, site: str, n_removed: int, n_units: int) -> int:
        trial = self._study.ask()
        for key, value in zip(_PLACE, (site, n_removed, n_units), strict=True):
            trial.set_user_attr(key, value)
        self._own[site, n_removed] = trial.number
        return trial.number

    def _give_back(self, site: str, n_removed: int) -> None:
        from optuna.trial import TrialState

        self._study.tell(self._own.pop((site, n_removed)), state=TrialState.FAIL)

    def _trials(self, *states: str) -> "list[optuna.trial.FrozenTrial]":
        from optuna.trial import TrialState

        wanted = tuple(TrialState[state] for state in states)
        found = self._study.get_trials(deepcopy=False, states=wanted)
        return [trial for trial in found if _PLACE[-1] in trial.user_attrs]  # written last


def _place_of(trial: "optuna.trial.FrozenTrial") -> tuple[str, int]:
    return trial.user_attrs["site"], trial.user_attrs["n_removed"]
