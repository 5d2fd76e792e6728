"""Which epoch of a round was the best on validation data, and whether to go on."""

import math
from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor

from pruning_core.planning.recipe import Tuning
from pruning_core.tasks import ACCURACY, Metric


class Watch:
    """Follows the validation results of one round.

    Attributes:
        best_weights: Weights of the best epoch so far (the first of equals), when the settings ask
            for them; None otherwise.
        gave_up: True when the last ``patience`` epochs brought no improvement.
    """

    def __init__(
        self,
        settings: Tuning,
        *,
        is_asked: bool = True,
        metric: Metric = ACCURACY,
    ) -> None:
        """Begin a round of ``settings``; one that is not asked goes on and hands its end on.

        ``metric`` is what the task is judged by; the settings call it accuracy.
        """
        self._is_asked = is_asked
        self._metric = metric
        self._settings = settings
        self._mark: float | None = None
        self._waited = 0
        self._epoch = 0
        self._best: tuple[float, int] | None = None
        self.best_weights: dict[str, Tensor] | None = None

    @property
    def gave_up(self) -> bool:
        """Tell whether the patience is used up."""
        patience = self._settings.patience
        return self._is_asked and patience is not None and self._waited >= patience

    def note(
        self, epoch: int, loss: float, accuracy: float, weights: Callable[[], dict[str, Tensor]]
    ) -> None:
        """Take the validation results of ``epoch`` into account; ``weights`` copies them."""
        value = -loss if self._settings.watched == "loss" else self._metric.merit(accuracy)
        value = -math.inf if math.isnan(value) else value
        self._epoch = epoch
        if self._mark is None or value > self._mark + self._settings.min_delta:
            self._mark, self._waited = value, 0
        else:
            self._waited += 1
        if self._best is None or value > self._best[0]:
            self._best = (value, epoch)
            if self._is_asked and self._settings.restore_best:
                self.best_weights = weights()

    @property
    def remarks(self) -> tuple[str, ...]:
        """Sentences on an early end, and on which epoch's weights are handed on."""
        found = []
        watches_loss = self._settings.watched == "loss"
        name = f"validation {'loss' if watches_loss else self._metric.name}"
        if self.gave_up:
            found.append(
                f"Fine-tuning stopped after epoch {self._epoch}: the {name} had not improved for "
                f"{self._waited} {'epoch' if self._waited == 1 else 'epochs'}."
            )
        if self.best_weights is not None and self._best is not None:
            value, epoch = self._best
            shown = (
                f"{-value:.4f}" if watches_loss else self._metric.text(self._metric.merit(value))
            )
            found.append(
                f"The weights of epoch {epoch} are kept: its {name} was the best, {shown}."
            )
        return tuple(found)

    def state(self) -> dict[str, Any]:
        """Return all that the next epoch depends on."""
        return {
            "mark": self._mark,
            "waited": self._waited,
            "epoch": self._epoch,
            "best": list(self._best) if self._best else None,
            "weights": dict(self.best_weights) if self.best_weights is not None else None,
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Go to where :meth:`state` was taken; an empty one, of an older version, says nothing."""
        if not state:
            return
        self._mark, self._waited = state["mark"], int(state["waited"])
        self._epoch = int(state["epoch"])
        self._best = (float(state["best"][0]), int(state["best"][1])) if state["best"] else None
        self.best_weights = dict(state["weights"]) if state["weights"] is not None else None
