"""Metrics as rows of text."""

from pruning_core.exporting.metric_table import class_rows, measured_stages, metric_rows

REPORT = {
    "accuracy": {"dense": 0.92824, "pruned": 0.9, "tuned": None},
    "f1": {"dense": 0.9, "pruned": 0.8},
    "loss": {"dense": 0.25, "pruned": None},
    "top5": {"dense": None, "pruned": None},
    "n": {"dense": 1000, "pruned": 1000},
    "details": {
        "dense": {
            "accuracy_interval": [0.92, 0.935],
            "intervals": {"f1": [0.88, 0.92], "loss": [0.2, 0.3]},
            "per_class": [
                {"label": 0, "n": 1200, "precision": 0.5, "recall": 1.0, "f1": 2 / 3,
                 "intervals": {"recall": [0.9, 1.0]}},
                {"label": 1, "n": 0, "precision": 0.0, "recall": 0.0, "f1": 0.0},
            ],
        },
        "pruned": {"accuracy_interval": [0.88, 0.92]},
    },
}  # fmt: skip


def test_each_value_has_its_interval_and_what_nobody_measured_is_left_out():
    assert measured_stages(REPORT) == ("dense", "pruned")
    rows = {title: cells for title, *cells in metric_rows(REPORT)}
    assert rows["Accuracy"] == ["92.82 % (92.00 to 93.50)", "90.00 % (88.00 to 92.00)"]
    assert rows["F1 (macro)"] == ["90.00 % (88.00 to 92.00)", "80.00 %"]  # an older report
    assert rows["Loss (cross-entropy)"] == ["0.2500 (0.2000 to 0.3000)", "not finite"]
    assert rows["Test samples n"] == ["1,000", "1,000"]
    assert not {"Top-5 accuracy", "Precision (macro)"} & set(rows)


def test_classes_have_names_as_far_as_there_are_some():
    first, second = class_rows(REPORT, "dense", ["boot"])
    assert first == ("boot", "1,200", "50.00 %", "100.00 % (90.00 to 100.00)", "66.67 %")
    assert second[0] == "1"
