"""Regression: one or more numbers a sample; the share of their variance that is explained."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pruning_core.errors import DataError
from pruning_core.tasks.metric import Metric
from pruning_core.tasks.output import called, shown, tensor_in
from pruning_core.tasks.task import TASKS, Array


@dataclass(frozen=True, slots=True)
class Regression:
    """Targets are numbers ``[N, k]``, and so are answers; the loss is the squared error.

    Errors count in units of the variance of each training target, so that neither their unit nor
    which of several targets is large decides how fast is learnt: naming the mean costs 1.

    Attributes:
        centre: Mean of each training target; nothing depends on it but rounding.
        spread: Standard deviation of each training target.
    """

    centre: tuple[float, ...] = ()
    spread: tuple[float, ...] = ()

    key = "regression"
    title = "Regression"
    targets = "One number for each sample, or several."
    metrics = (
        Metric("r2", "R² (explained variance)", "R²", unit="", digits=4, most=1.0),
        Metric(
            "rmse", "RMSE (unit of the target)", "RMSE", higher_is_better=False, unit="", least=0.0
        ),
        Metric(
            "mae",
            "Mean absolute error (unit of the target)",
            "mean absolute error",
            higher_is_better=False,
            unit="",
            least=0.0,
        ),
    )
    loss_name = "squared error / variance"
    naive_way = "always naming the mean of the training targets"
    counts_classes = False
    has_classes = False
    reads_tokens = False
    moves_with_pixels = False

    def fitted(self, targets: Tensor) -> "Regression":
        """Return the task with mean and deviation of the training targets ``[N, k]``."""
        values = targets.double()
        spread = values.std(dim=0, correction=0)
        spread = torch.where(spread > 0, spread, torch.ones_like(spread))
        return Regression(tuple(values.mean(dim=0).tolist()), tuple(spread.tolist()))

    def ask(self, call: Callable[[Tensor], object], inputs: Tensor, targets: Tensor) -> Tensor:
        """Return the numbers ``[B, k]`` that are answered to inputs ``[B, ...]``."""
        return self.answer(called(call, inputs), targets)

    def answer(self, output: Any, targets: Tensor) -> Tensor:
        """Return the numbers ``[N, k]``; for one target a model may return ``[N]`` as well."""
        found = tensor_in(output)
        if found is not None and found.ndim == 1 and targets.shape[1] == 1:
            found = found[:, None]
        if found is None or found.shape != targets.shape:
            n, k = targets.shape
            raise DataError(
                f"The model returns {shown(output if found is None else found)} for {n} inputs "
                f"with {k} {'number' if k == 1 else 'numbers'} to predict each; regression needs "
                f"({n}, {k}). Choose a model with {k} {'output' if k == 1 else 'outputs'}, or "
                "other data."
            )
        return found

    def loss(self, answer: Tensor, targets: Tensor, *, smoothing: float = 0.0) -> Tensor:  # noqa: ARG002
        """Return the mean squared error in units of the variance of the training targets."""
        return ((answer - targets) / self._spread(targets)).square().mean()

    def criterion_loss(self, output: Any, targets: Tensor, temperature: float = 1.0) -> Tensor:  # noqa: ARG002
        """Return the same of what a model returned."""
        return self.loss(self.answer(output, targets), targets)

    def imitation(self, student: Tensor, teacher: Tensor, temperature: float) -> Tensor:  # noqa: ARG002
        """Return the squared distance of two answers, in units of the variance."""
        return self.loss(student, teacher)

    def naive(self, training: Tensor, targets: Tensor) -> Tensor:
        """Return the mean of the training targets."""
        return training.mean(dim=0).expand_as(targets)

    def statistics(self, answer: Tensor, targets: Tensor) -> Tensor:
        """Return ``[B, 1 + 4 k]``: 1, target and its square from the centre, both errors."""
        wanted = targets.double()
        error = answer.double() - wanted
        if self.centre:
            wanted = wanted - torch.tensor(self.centre, dtype=torch.float64, device=wanted.device)
        ones = torch.ones_like(wanted[:, :1])
        return torch.cat([ones, wanted, wanted.square(), error.square(), error.abs()], dim=1)

    def values(self, sums: Array) -> dict[str, Array]:
        """Return R² (the mean over targets), RMSE and absolute error, and the loss."""
        n, rest = sums[..., :1], sums[..., 1:]
        first, second, squared, absolute = np.split(rest, 4, axis=-1)
        spread = np.array(self.spread) if self.spread else np.ones(first.shape[-1])
        with np.errstate(divide="ignore", invalid="ignore"):
            around = second - first**2 / n
            # What is left of a constant target is rounding.
            explained = np.where(around > 1e-12 * second, 1 - squared / around, np.nan)
            return {
                "r2": explained.mean(axis=-1),
                "rmse": np.sqrt((squared / n).mean(axis=-1)),
                "mae": (absolute / n).mean(axis=-1),
                "loss": (squared / n / spread**2).mean(axis=-1),
            }

    def _spread(self, targets: Tensor) -> Tensor | float:
        if not self.spread:
            return 1.0
        return torch.tensor(self.spread, dtype=targets.dtype, device=targets.device)


TASKS.add(Regression.key, Regression())
