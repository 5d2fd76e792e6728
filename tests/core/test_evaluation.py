"""Evaluation: every metric against scikit-learn and torch, and numbers worked by hand."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics
from torch import nn

from pruning_core.errors import DataError, RunError
from pruning_core.evaluation.evaluate import StoppedError, evaluate, wilson_interval
from pruning_core.loading.split import Split


class Answers(nn.Module):
    """Returns its inputs as logits, and counts what it was asked."""

    def __init__(self):
        super().__init__()
        self.asked = []
        self.child = nn.Dropout()

    def forward(self, inputs):
        self.asked.append((len(inputs), self.training, self.child.training))
        return inputs


def split_of(logits, labels):
    return Split(torch.as_tensor(logits), torch.as_tensor(labels), 1.0, 0.0, 1.0)


@given(
    n=st.integers(1, 40),
    n_classes=st.integers(2, 6),
    seed=st.integers(0, 10**6),
    batch_size=st.integers(1, 50),
)
@settings(max_examples=60, deadline=None)
def test_all_metrics_agree_with_scikit_learn(n, n_classes, seed, batch_size):
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(n, n_classes)).astype(np.float32)
    labels = rng.integers(0, n_classes, n)
    answers = logits.argmax(axis=1)

    measured = evaluate(Answers(), split_of(logits, labels), batch_size=batch_size)

    known = list(range(n_classes))
    assert np.array_equal(
        measured.confusion, metrics.confusion_matrix(labels, answers, labels=known)
    )
    assert measured.accuracy == pytest.approx(metrics.accuracy_score(labels, answers))
    expected = metrics.precision_recall_fscore_support(
        labels, answers, average="macro", zero_division=0
    )[:3]
    assert (measured.precision, measured.recall, measured.f1) == pytest.approx(expected)
    by_class = metrics.precision_recall_fscore_support(
        labels, answers, labels=known, zero_division=0
    )
    for name, values in zip(("precision", "recall", "f1", "n"), by_class, strict=True):
        ours = [getattr(item, name) for item in measured.per_class]
        assert ours == pytest.approx(list(values))
    assert [item.label for item in measured.per_class] == known
    probabilities = torch.softmax(torch.from_numpy(logits).double(), dim=1).numpy()
    loss = metrics.log_loss(labels, probabilities, labels=known)
    assert measured.loss == pytest.approx(loss, rel=1e-5)
    assert measured.n == n


def test_three_samples_worked_by_hand():
    logits = [[2.0, 0.0], [2.0, 0.0], [0.0, 2.0]]
    measured = evaluate(Answers(), split_of(logits, [0, 1, 1]))
    assert measured.confusion.tolist() == [[1, 0], [1, 1]]
    assert measured.accuracy == pytest.approx(2 / 3)
    assert measured.precision == pytest.approx((1 / 2 + 1) / 2)
    assert measured.recall == pytest.approx((1 + 1 / 2) / 2)
    right, wrong = np.log(1 + np.exp(-2)), np.log(1 + np.exp(2))
    assert measured.loss == pytest.approx((2 * right + wrong) / 3)


@pytest.mark.parametrize(
    ("share", "n", "low", "high"),
    [
        (0.5, 100, 0.4038, 0.5962),  # Brown, Cai and DasGupta 2001
        (0.0, 10, 0.0, 0.2775),
        (1.0, 10, 0.7225, 1.0),
        (0.9, 10_000, 0.8940, 0.9057),
    ],
)
def test_the_wilson_interval_has_its_published_values(share, n, low, high):
    assert wilson_interval(share, n) == pytest.approx((low, high), abs=1e-4)


def test_the_interval_of_an_evaluation_holds_its_accuracy():
    measured = evaluate(Answers(), split_of([[1.0, 0.0]] * 4, [0, 0, 0, 1]))
    low, high = measured.accuracy_interval
    assert low < measured.accuracy == 0.75 < high


def test_the_module_is_measured_in_eval_mode_and_left_in_its_old_modes():
    module = Answers().train()
    module.child.eval()
    evaluate(module, split_of([[1.0, 0.0]] * 5, [0] * 5), batch_size=2)
    assert module.asked == [(2, False, False), (2, False, False), (1, False, False)]
    assert (module.training, module.child.training) == (True, False)


def test_a_stop_ends_the_measuring_before_the_next_batch():
    module = Answers().train()
    answers = iter([False, False, True])
    with pytest.raises(StoppedError, match="stopped on request"):
        evaluate(
            module,
            split_of([[1.0, 0.0]] * 5, [0] * 5),
            batch_size=1,
            should_stop=lambda: next(answers),
        )
    assert len(module.asked) == 2
    assert module.training
    assert issubclass(StoppedError, RunError)


@pytest.mark.parametrize(
    ("module", "labels", "words"),
    [
        (nn.Identity(), [0, 2], "tells 2 classes apart, but the data has the label 2"),
        (nn.Flatten(0), [0, 1], r"returns \(4,\) for 2 inputs"),
        (nn.Unflatten(1, (1, 2)), [0, 1], r"returns \(2, 1, 2\) for 2 inputs"),
    ],
)
def test_data_that_does_not_fit_the_model_is_refused(module, labels, words):
    with pytest.raises(DataError, match=words):
        evaluate(module, split_of([[1.0, 0.0]] * 2, labels))


def test_an_empty_split_is_refused():
    with pytest.raises(DataError, match="no sample to measure on"):
        evaluate(Answers(), split_of(torch.zeros(0, 2), torch.zeros(0, dtype=torch.int64)))
