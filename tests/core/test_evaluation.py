"""Evaluation: every metric against scikit-learn and torch, and numbers worked by hand."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics
from torch import nn
from torchmetrics.functional.classification import (
    multiclass_calibration_error,
    multiclass_f1_score,
    multiclass_precision,
    multiclass_recall,
)

from pruning_core.errors import DataError, RunError
from pruning_core.evaluation import intervals
from pruning_core.evaluation.evaluate import (
    INTERVAL_METHODS,
    StoppedError,
    evaluate,
    wilson_interval,
)
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


@given(
    n=st.integers(20, 60),
    n_classes=st.integers(3, 9),
    seed=st.integers(0, 10**6),
    batch_size=st.integers(1, 70),
)
@settings(max_examples=25, deadline=None)
def test_top_5_and_calibration_agree_with_scikit_learn_and_torchmetrics(
    n, n_classes, seed, batch_size
):
    rng = np.random.default_rng(seed)
    logits = (3 * rng.normal(size=(n, n_classes))).astype(np.float32)
    labels = rng.integers(0, n_classes, n)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(intervals, "RESAMPLES", 20)
        measured = evaluate(Answers(), split_of(logits, labels), batch_size=batch_size, full=True)
    if n_classes <= 5:
        assert measured.top5 is None
        assert "top5" not in measured.intervals
    else:
        expected = metrics.top_k_accuracy_score(labels, logits, k=5, labels=range(n_classes))
        assert measured.top5 == pytest.approx(expected)
    probabilities = torch.softmax(torch.from_numpy(logits), dim=1)
    error = multiclass_calibration_error(
        probabilities, torch.from_numpy(labels), n_classes, n_bins=15, norm="l1"
    )
    assert measured.calibration_error == pytest.approx(float(error), abs=1e-6)
    theirs = [
        function(
            torch.from_numpy(logits), torch.from_numpy(labels), n_classes, average=average
        ).numpy()
        for function in (multiclass_precision, multiclass_recall, multiclass_f1_score)
        for average in ("macro", "none")
    ]
    ours = [
        value
        for name in ("precision", "recall", "f1")
        for value in (getattr(measured, name), [getattr(c, name) for c in measured.per_class])
    ]
    for mine, expected in zip(ours, theirs, strict=True):
        assert mine == pytest.approx(expected, abs=1e-6)


def test_calibration_worked_by_hand():
    # Confidence 0.8 five times and right three times; confidence 0.6 five times, always right.
    first, second = float(np.log(4)), float(np.log(1.5))
    logits = [[first, 0.0]] * 5 + [[second, 0.0]] * 5
    measured = evaluate(Answers(), split_of(logits, [0, 0, 0, 1, 1] + [0] * 5), full=True)
    assert measured.calibration_error == pytest.approx(0.5 * 0.2 + 0.5 * 0.4)


def test_every_metric_has_an_interval_around_it_and_the_method_is_named():
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 7, 400)
    logits = rng.normal(size=(400, 7)).astype(np.float32)
    logits[np.arange(400), labels] += 2
    measured = evaluate(Answers(), split_of(logits, labels), full=True)
    for name, (low, high) in measured.intervals.items():
        assert low < getattr(measured, name) < high, name
        assert INTERVAL_METHODS[name]
    assert set(measured.intervals) == {
        *("accuracy", "top5", "precision", "recall", "f1", "loss", "calibration_error")
    }
    for item in measured.per_class:
        for name, (low, high) in item.intervals.items():
            assert low < getattr(item, name) < high, name
    again = evaluate(Answers(), split_of(logits, labels), full=True, batch_size=7)
    assert again.intervals["f1"] == measured.intervals["f1"]
    assert again.intervals["calibration_error"] == pytest.approx(
        measured.intervals["calibration_error"]
    )


def test_the_interval_of_macro_f1_is_as_wide_as_that_of_samples_drawn_anew():
    """The spread of macro F1 over many fresh test sets of the same kind, next to one interval."""
    rng = np.random.default_rng(2)

    def drawn(n=500):
        labels = rng.integers(0, 3, n)
        named = np.where(rng.random(n) < 0.8, labels, rng.integers(0, 3, n))
        return labels, named

    fresh = [metrics.f1_score(*drawn(), average="macro") for _ in range(400)]
    spread = np.percentile(fresh, 97.5) - np.percentile(fresh, 2.5)
    labels, named = drawn()
    measured = evaluate(Answers(), split_of(np.eye(3, dtype=np.float32)[named], labels), full=True)
    low, high = measured.intervals["f1"]
    assert high - low == pytest.approx(spread, rel=0.15)


def test_a_network_that_diverged_has_no_calibration_error():
    measured = evaluate(Answers(), split_of([[float("nan"), 0.0]] * 3, [0, 1, 1]), full=True)
    assert measured.calibration_error is None
    assert "calibration_error" not in measured.intervals


def test_the_interval_of_f1_is_that_of_its_share_and_never_empty():
    # Class 0: 8 right, 1 missed, 1 called so in error: q = 8/10, F1 = 16/18.
    labels, named = [0] * 9 + [1] * 9, [0] * 8 + [1] + [0] + [1] * 8
    measured = evaluate(Answers(), split_of(np.eye(2, dtype=np.float32)[named], labels), full=True)
    low, high = wilson_interval(0.8, 10)
    assert measured.per_class[0].f1 == pytest.approx(16 / 18)
    assert measured.per_class[0].intervals["f1"] == pytest.approx(
        (2 * low / (1 + low), 2 * high / (1 + high))
    )
    perfect = evaluate(Answers(), split_of(np.eye(2, dtype=np.float32)[labels], labels), full=True)
    assert perfect.intervals["f1"] == perfect.accuracy_interval
    assert perfect.per_class[0].intervals["f1"][0] < 0.9
