"""Language modelling: the next token at every place of a text; how surprised the model is."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from pruning_core.errors import DataError
from pruning_core.tasks.metric import Metric
from pruning_core.tasks.output import called, shown, tensor_in
from pruning_core.tasks.task import IGNORED, TASKS, Array


class LanguageModelling:
    """Inputs and targets are tokens ``[N, T]``, a target is the token after its input.

    Answers are logits ``[N, T, vocabulary]``; the loss is the mean cross-entropy of a token, and
    perplexity is e to its power (Jelinek et al. 1977, doi:10.1121/1.2016299).
    """

    key = "language_modelling"
    title = "Language modelling"
    targets = "The next token at every place; places of -100 count for nothing."
    metrics = (
        Metric(
            "perplexity",
            "Perplexity",
            "perplexity",
            higher_is_better=False,
            unit="",
            least=1.0,
            relative=True,
        ),
        Metric(
            "bits",
            "Bits per token",
            "bits per token",
            higher_is_better=False,
            unit="",
            least=0.0,
            relative=True,
        ),
        Metric("token_accuracy", "Right tokens", "share of right tokens", least=0.0, most=1.0),
    )
    loss_name = "cross-entropy"
    naive_way = "knowing nothing but how frequent each token is"
    counts_classes = False
    has_classes = True
    reads_tokens = True
    moves_with_pixels = False

    def fitted(self, targets: Tensor) -> "LanguageModelling":  # noqa: ARG002 - one interface
        """Return the task itself: it has to know nothing of the targets."""
        return self

    def ask(self, call: Callable[[Tensor], object], inputs: Tensor, targets: Tensor) -> Tensor:
        """Return the logits ``[B, T, vocabulary]`` of tokens ``[B, T]``."""
        return self.answer(called(call, inputs), targets)

    def answer(self, output: Any, targets: Tensor) -> Tensor:
        """Return the logits ``[N, T, vocabulary]`` for targets ``[N, T]``."""
        logits = tensor_in(output)
        if logits is None or logits.ndim != 3 or logits.shape[:2] != targets.shape:
            raise DataError(
                f"The model returns {shown(output if logits is None else logits)} for texts of "
                f"{targets.shape[1]} tokens; a language model returns logits "
                f"({len(targets)}, {targets.shape[1]}, vocabulary). Choose one, or other data."
            )
        if logits.shape[2] <= int(targets.max()):
            raise DataError(
                f"The model knows {logits.shape[2]} tokens, but the text holds the token "
                f"{int(targets.max())}. Choose the data the model was made for."
            )
        return logits

    def loss(self, answer: Tensor, targets: Tensor, *, smoothing: float = 0.0) -> Tensor:
        """Return the mean cross-entropy of a token in nats."""
        return functional.cross_entropy(
            answer.flatten(0, 1),
            targets.flatten(),
            label_smoothing=smoothing,
            ignore_index=IGNORED,
        )

    def criterion_loss(self, output: Any, targets: Tensor, temperature: float = 1.0) -> Tensor:
        """Return the same of what a model returned."""
        return self.loss(self.answer(output, targets) / temperature, targets)

    def imitation(self, student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
        """Return ``T^2 KL(teacher || student)`` of the softened answers, the mean over tokens."""
        divergence = functional.kl_div(
            functional.log_softmax(student.flatten(0, 1) / temperature, dim=1),
            functional.log_softmax(teacher.flatten(0, 1) / temperature, dim=1),
            reduction="batchmean",
            log_target=True,
        )
        return divergence * temperature**2

    def naive(self, training: Tensor, targets: Tensor) -> Tensor:
        """Return the logarithms of how frequent each token is; each is counted once more."""
        n_tokens = int(max(training.max(), targets.max())) + 1
        counts = torch.bincount(training[training != IGNORED].long(), minlength=n_tokens) + 1
        return (counts / counts.sum()).log().expand(*targets.shape, -1)

    def statistics(self, answer: Tensor, targets: Tensor) -> Tensor:
        """Return ``[B, 3]``: the summed loss in nats, tokens that count, and right ones."""
        counts = targets != IGNORED
        losses = functional.cross_entropy(
            answer.flatten(0, 1), targets.flatten(), reduction="none", ignore_index=IGNORED
        )
        right = counts & (answer.argmax(dim=2) == targets)
        sums = (losses.double().reshape(targets.shape), counts.double(), right.double())
        return torch.stack([each.sum(dim=1) for each in sums], dim=1)

    def values(self, sums: Array) -> dict[str, Array]:
        """Return perplexity, bits and right tokens, and the loss."""
        nats, n_tokens, right = (sums[..., place] for place in range(3))
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            loss = nats / n_tokens
            return {
                "perplexity": np.exp(loss),
                "bits": loss / math.log(2),
                "token_accuracy": right / n_tokens,
                "loss": loss,
            }


TASKS.add(LanguageModelling.key, LanguageModelling())
