"""Tasks besides telling classes apart: against scikit-learn, torchmetrics, and by hand."""

import base64
import json
import math
import zipfile
from dataclasses import replace
from io import BytesIO

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn import metrics as sklearn_metrics
from torch import nn
from torchmetrics.functional.classification import multiclass_accuracy, multiclass_jaccard_index
from torchmetrics.functional.segmentation import dice_score
from torchmetrics.functional.text import perplexity

from pruning_core.command_line import main
from pruning_core.comparing.compare import Side, compare
from pruning_core.errors import DataError, RunError
from pruning_core.evaluation.baseline import baseline
from pruning_core.evaluation.evaluate import evaluate, headline_of, statistics_of
from pruning_core.evaluation.whatif import paired_change
from pruning_core.exporting.reopen import open_run
from pruning_core.exporting.schema import checked_report
from pruning_core.loading.dataset import load_dataset, task_of
from pruning_core.loading.model import check_fits, fitted, load_model
from pruning_core.loading.own_data import keep_card, load_own, take_in_data
from pruning_core.loading.split import Split
from pruning_core.planning.recipe import Tuning
from pruning_core.runs.view import TestMetrics as Shown
from pruning_core.steps import run_to_end
from pruning_core.tasks.metric import Metric
from pruning_core.tasks.registry import CLASSIFICATION, TASKS, headline
from pruning_core.tuning.finetune import finetune
from tests.core.task_zoo import TEXT, letters, number_data, numbers, pixel_data, pixels, word_data

REGRESSION, SEGMENTATION, LANGUAGE = (
    TASKS[key] for key in ("regression", "segmentation", "language_modelling")
)


def npz(path, **arrays):
    np.savez(path, **arrays)
    return path


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tasks")
    x, y = number_data()
    images, masks = pixel_data()
    tokens, classes = word_data()
    (folder / "text.txt").write_text(TEXT, encoding="utf-8")
    return {
        "numbers": npz(folder / "numbers.npz", x=x, y=y),
        "pixels": npz(folder / "pixels.npz", images=images, masks=masks),
        "letters": folder / "text.txt",
        "words": npz(folder / "words.npz", x=tokens, y=classes),
    }


# ------------------------------------------------------------------ metrics against others


@pytest.mark.parametrize("k", [1, 3])
def test_regression_is_what_scikit_learn_says(k):
    torch.manual_seed(0)
    answers, targets = torch.randn(57, k), 1e4 + torch.randn(57, k) * torch.arange(1, k + 1)
    answers = targets + answers
    split = Split(answers, targets, 1.0, 0.0, 1.0, REGRESSION.fitted(targets))
    found = evaluate(nn.Identity(), split, batch_size=10, full=True)
    expected = {
        "r2": sklearn_metrics.r2_score(targets, answers),
        "mae": sklearn_metrics.mean_absolute_error(targets, answers),
        "rmse": math.sqrt(sklearn_metrics.mean_squared_error(targets, answers)),
    }
    assert found.values == pytest.approx(expected, rel=1e-5)
    assert found.headline == found.values["r2"]
    assert math.isnan(found.accuracy)
    by_target = ((answers - targets).double() / targets.double().std(0, correction=0)).square()
    assert found.loss == pytest.approx(by_target.mean().item(), rel=1e-5)
    loss = split.task.loss(answers, targets).item()
    assert loss == pytest.approx(found.loss, rel=1e-5)
    low, high = found.intervals["r2"]
    assert low < found.headline < high <= 1


def test_segmentation_is_what_torchmetrics_says():
    torch.manual_seed(0)
    logits, masks = (
        torch.randn(9, 4, 6, 5),
        torch.randint(0, 3, (9, 6, 5)),
    )  # class 3: answers alone
    masks[0, :2] = -100
    split = Split(logits, masks, 1.0, 0.0, 1.0, SEGMENTATION)
    found = evaluate(nn.Identity(), split, batch_size=4, full=True)
    arguments = (logits.argmax(1), masks, 4)
    index = multiclass_jaccard_index(*arguments, average="macro", ignore_index=-100)
    assert found.headline == pytest.approx(index.item(), abs=1e-6)
    right = multiclass_accuracy(*arguments, average="micro", ignore_index=-100)
    assert found.values["pixel_accuracy"] == pytest.approx(right.item(), abs=1e-6)
    loss = nn.functional.cross_entropy(logits, masks, ignore_index=-100)
    assert found.loss == pytest.approx(loss.item(), rel=1e-6)
    clean = replace(split, inputs=logits[1:], labels=masks[1:])
    flat = [x.reshape(1, -1) for x in (logits[1:].argmax(1), masks[1:])]
    dice = dice_score(
        *flat, 4, include_background=True, average="none", input_format="index",
    )  # fmt: skip
    assert evaluate(nn.Identity(), clean).values["dice"] == pytest.approx(
        dice.nan_to_num().mean().item(), abs=1e-6
    )


def test_perplexity_is_e_to_the_mean_surprise():
    torch.manual_seed(0)
    logits, targets = torch.randn(7, 11, 20), torch.randint(0, 20, (7, 11))
    targets[2, 5:] = -100
    split = Split(logits, targets, 1.0, 0.0, 1.0, LANGUAGE)  # the identity answers its input
    found = evaluate(nn.Identity(), split, batch_size=3, full=True)
    probabilities = logits.double().softmax(-1)
    surprise = [
        -math.log(probabilities[n, t, targets[n, t]])
        for n in range(7)
        for t in range(11)
        if targets[n, t] != -100
    ]
    assert found.headline == pytest.approx(math.exp(sum(surprise) / len(surprise)), rel=1e-6)
    theirs = perplexity(logits, targets, ignore_index=-100)
    assert found.headline == pytest.approx(theirs.item(), rel=1e-5)
    assert found.values["bits"] == pytest.approx(math.log2(found.headline), rel=1e-9)
    uniform = replace(split, inputs=torch.zeros_like(logits))
    assert evaluate(nn.Identity(), uniform).headline == pytest.approx(20, rel=1e-6)


def test_classification_has_the_same_accuracy_by_either_way():
    torch.manual_seed(0)
    split = Split(torch.randn(40, 5), torch.randint(0, 5, (40,)), 1.0, 0.0, 1.0)
    statistics = statistics_of(nn.Identity(), split)
    assert headline_of(CLASSIFICATION, statistics) == evaluate(nn.Identity(), split).accuracy


def test_the_change_of_two_networks_is_told_from_the_same_samples():
    torch.manual_seed(0)
    targets = torch.randn(200, 1)
    noise = torch.randn(200, 1)
    task = REGRESSION.fitted(targets)
    first, second = (
        statistics_of(nn.Identity(), Split(targets + size * noise, targets, 1, 0, 1, task))
        for size in (0.5, 0.55)
    )
    _, (low, high) = paired_change(task, first, second)
    change = headline_of(task, second) - headline_of(task, first)
    assert low < change < high < 0  # alone, their intervals overlap
    (_, top), (bottom, _) = (paired_change(task, x, x)[0] for x in (second, first))
    assert bottom < top
    assert paired_change(task, first, first)[1] == (0.0, 0.0)


def test_guessing_without_the_inputs_reaches_what_is_known_of_it():
    targets = torch.tensor([[1.0], [2.0], [6.0]])
    statistics = REGRESSION.statistics(REGRESSION.naive(targets, targets), targets)
    assert headline_of(REGRESSION, statistics.numpy()) == pytest.approx(0, abs=1e-9)
    tokens = torch.tensor([[0, 0, 0, 1]] * 1000)
    statistics = LANGUAGE.statistics(LANGUAGE.naive(tokens, tokens), tokens)
    entropy = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25))
    found = headline_of(LANGUAGE, statistics.numpy())
    assert found == pytest.approx(math.exp(entropy), rel=1e-3)
    masks = torch.tensor([[[0, 0], [0, 1]]])
    statistics = SEGMENTATION.statistics(SEGMENTATION.naive(masks, masks), masks)
    assert headline_of(SEGMENTATION, statistics.numpy()) == pytest.approx(0.75 / 2)
    labels = torch.tensor([2, 2, 0])
    assert CLASSIFICATION.naive(labels, labels).argmax(1).tolist() == [2, 2, 2]


# ------------------------------------------------------------------ every task alike


@pytest.mark.parametrize("task", TASKS.values(), ids=list(TASKS))
def test_a_task_describes_itself_and_its_loss_agrees_with_its_statistics(task):
    torch.manual_seed(0)
    answers, targets = {
        "classification": (torch.randn(6, 3), torch.randint(0, 3, (6,))),
        "regression": (torch.randn(6, 2), torch.randn(6, 2)),
        "segmentation": (torch.randn(6, 3, 4, 4), torch.randint(0, 3, (6, 4, 4))),
        "language_modelling": (torch.randn(6, 5, 9), torch.randint(0, 9, (6, 5))),
    }[task.key]
    fitted_task = task.fitted(targets)
    assert headline(task.key) is task.metrics[0]
    assert len({metric.key for metric in task.metrics}) == len(task.metrics)
    sums = fitted_task.statistics(answers, targets).sum(0).numpy()
    values = fitted_task.values(sums)
    assert set(values) - {"loss"} == {metric.key for metric in task.metrics}
    if "loss" in values:
        assert values["loss"] == pytest.approx(fitted_task.loss(answers, targets).item(), rel=1e-5)
    assert fitted_task.imitation(answers, answers, 2.0).item() == pytest.approx(0, abs=1e-6)
    assert fitted_task.imitation(answers, answers + answers.flip(0), 2.0).item() > 0
    student = answers.clone().requires_grad_()
    fitted_task.criterion_loss({"logits": student}, targets).backward()
    assert student.grad.abs().sum() > 0


def test_metrics_say_values_and_losses_in_their_own_units():
    accuracy, r2, surprise = (headline(k) for k in ("classification", "regression", LANGUAGE.key))
    assert accuracy.text(0.92824) == "92.82 %"
    assert accuracy.lost(0.9, 0.875) == pytest.approx(2.5)
    assert (accuracy.axis, accuracy.loss_unit) == ("accuracy (%)", "points")
    assert (r2.text(0.51234), r2.axis) == ("0.5123", "R²")
    assert r2.lost(0.5, 0.45) == pytest.approx(5)
    assert surprise.lost(10.0, 10.5) == pytest.approx(5)
    assert surprise.change(10.0, 10.5) == "+5.0 %"
    assert surprise.is_better(3.0, 4.0)
    assert (surprise.text(12_345.6), surprise.text(None)) == ("12,346", "not measured")
    assert Metric("x", "X", "x", unit="").text(math.nan) == "not measured"


@pytest.mark.parametrize(
    ("task", "answers", "targets", "says"),
    [
        (REGRESSION, torch.zeros(4, 3), torch.zeros(4, 1), r"regression needs \(4, 1\)"),
        (SEGMENTATION, torch.zeros(4, 3), torch.zeros(4, 2, 2).long(), "answers every pixel"),
        (SEGMENTATION, torch.zeros(1, 2, 2, 2), torch.full((1, 2, 2), 5), "hold the class 5"),
        (LANGUAGE, torch.zeros(4, 3), torch.zeros(4, 3).long(), "a language model returns"),
        (LANGUAGE, torch.zeros(1, 2, 7), torch.full((1, 2), 7), "knows 7 tokens"),
    ],
)
def test_an_answer_of_another_task_is_refused(task, answers, targets, says):
    with pytest.raises(DataError, match=says):
        task.answer(answers, targets)


def test_a_coarser_answer_is_interpolated_and_one_number_may_lack_its_axis():
    coarse = SEGMENTATION.answer(torch.randn(2, 3, 4, 4), torch.zeros(2, 8, 8).long())
    assert coarse.shape == (2, 3, 8, 8)
    assert REGRESSION.answer(torch.zeros(5), torch.zeros(5, 1)).shape == (5, 1)


# ------------------------------------------------------------------ files


def test_files_tell_their_task(files, tmp_path):
    made = load_dataset(str(files["numbers"]))
    assert (made.task.key, made.train.labels.shape[1], made.classes) == ("regression", 1, ())
    spread = made.train.labels.double().std(correction=0).item()
    assert made.task.spread == pytest.approx((spread,))
    assert made.validation.task is made.task
    made = load_dataset(str(files["pixels"]))
    assert (made.task, made.classes) == (SEGMENTATION, ("0", "1", "2"))
    table = tmp_path / "t.csv"
    table.write_text("a,b,target\n" + "".join(f"{i},{-i},{2 * i}\n" for i in range(30)))
    assert load_dataset(str(table)).task is CLASSIFICATION
    named = load_dataset(f"regression:{table}")
    assert named.task.key == task_of(f"regression:{table}").key == "regression"
    assert sorted(named.train.labels[:, 0] / 2) == sorted(named.train.inputs[:, 0])


def test_a_text_is_cut_into_pieces_whose_targets_are_the_next_bytes(files):
    made = load_dataset(str(files["letters"]), input_shape=(16,))
    raw = TEXT.encode()
    inputs, targets = made.train.batch(slice(0, 2))
    assert inputs.dtype == torch.int64
    assert bytes(inputs.flatten().tolist()) == raw[:32]
    assert bytes(targets.flatten().tolist()) == raw[1:33]
    parts = (made.train, made.validation, made.test)
    joined = b"".join(bytes(part.inputs.flatten().tolist()) for part in parts)
    assert joined == raw[: len(joined)]  # measured is what comes after what is learnt
    assert made.input_shape == (16,)


def test_masks_and_images_go_together_by_name(tmp_path):
    images, masks = pixel_data(6)
    content = BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for place, (image, mask) in enumerate(zip(images, masks, strict=True)):
            for folder, pixels_, mode in (("images", image[0], "L"), ("masks", mask, "L")):
                file = BytesIO()
                Image.fromarray(pixels_, mode).save(file, "PNG")
                archive.writestr(f"data/{folder}/{place}.png", file.getvalue())
    path = tmp_path / "scans.zip"
    path.write_bytes(content.getvalue())
    made = load_own(keep_card(take_in_data({path.name: path})))
    assert made.task is SEGMENTATION
    stored = {image.tobytes(): mask for image, mask in zip(images, masks, strict=True)}
    inputs, targets = made.train.inputs.numpy(), made.train.batch(slice(None))[1].numpy()
    for image, mask in zip(inputs, targets, strict=True):
        assert (stored[image.tobytes()] == mask).all()
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("data/images/9.png", b"")
    with pytest.raises(DataError, match="'9' has an image or a mask, not both"):
        take_in_data({path.name: path})


@pytest.mark.parametrize(
    ("arrays", "says"),
    [
        ({"x": np.zeros((4, 3)), "y": np.array([1.5, np.inf, 0, 1])}, "1 targets are NaN"),
        ({"x": np.zeros((4, 1, 4, 4)), "y": np.zeros((4, 5, 5), int)}, r"\[5, 5\] pixels"),
        ({"x": np.zeros((4, 1, 2, 2)), "y": np.full((4, 2, 2), 30_000)}, "the class 30,000"),
    ],
)
def test_targets_that_fit_nothing_are_refused(tmp_path, arrays, says):
    path = npz(tmp_path / "d.npz", **arrays)
    with pytest.raises(DataError, match=says):
        take_in_data({path.name: path})


@pytest.mark.parametrize(
    ("content", "shape", "says"),
    [
        (b"\xff\xfe\x00abc", None, "no text in UTF-8"),
        (b"short", None, "5 bytes; pieces of 128"),
        (bytes(range(1, 20)) * 100, None, "control characters"),
        (b"plain text " * 100, (1, 28, 28), r"takes \[1, 28, 28\]"),
    ],
)
def test_what_is_no_text_is_refused(tmp_path, content, shape, says):
    path = tmp_path / "t.txt"
    path.write_bytes(content)
    with pytest.raises(DataError, match=says):
        take_in_data({path.name: path}, shape)


def test_black_and_white_masks_are_two_classes_and_void_counts_for_nothing(tmp_path):
    _, masks = pixel_data(8)
    white = npz(tmp_path / "w.npz", images=masks[:, None], masks=255 * (masks > 0).astype(np.uint8))
    card = take_in_data({"w.npz": white})
    assert "255 is read as class 1" in " ".join(card.notes)
    made = load_own(keep_card(card))
    assert made.train.labels.unique().tolist() == [0, 1]
    void = masks.copy()
    void[:, 0] = 255
    card = take_in_data({"v.npz": npz(tmp_path / "v.npz", images=masks[:, None], masks=void)})
    assert "Pixels of 255 count for nothing" in " ".join(card.notes)
    assert (load_own(keep_card(card)).train.labels[:, 0] == -100).all()


# ------------------------------------------------------------------ models


def test_models_that_take_something_else_are_told_apart_from_the_data(files):
    text = load_dataset(str(files["letters"]), input_shape=(16,))
    with pytest.raises(DataError, match="gives tokens"):
        check_fits(
            replace_inputs(load_model("python:tests.core.task_zoo:letters")),
            text.input_shape, text.key, text.task,
        )  # fmt: skip
    model = load_model("python:tests.core.task_zoo:words")
    data = fitted(model, load_dataset(str(files["words"])))
    assert data.train.batch(slice(0, 2))[0].dtype == torch.int64
    large = replace(data.validation, inputs=data.validation.inputs + 20)
    with pytest.raises(DataError, match=r"token 4[0-9], which the model does not know"):
        fitted(model, replace(data, validation=large))
    halves = replace(data.validation, inputs=data.validation.inputs / 2, tokens=False)
    with pytest.raises(DataError, match="whole numbers from 0"):
        halves.as_tokens()


def replace_inputs(model):
    inputs = model.inputs.with_tensors([model.example_inputs[0].float()])
    return replace(model, inputs=inputs)


def test_a_first_look_says_what_guessing_reaches_and_finds_looking_ahead(files):
    data = load_dataset(str(files["letters"]), input_shape=(16,))
    found = baseline(letters()[0], data)
    assert found.task == LANGUAGE.key
    assert found.chance < 9 < found.accuracy  # seven letters and a space, and all other bytes once
    assert "no better than knowing nothing but how frequent" in found.suspicions[0]

    class Ahead(nn.Module):
        def forward(self, tokens):
            return 9 * nn.functional.one_hot(tokens.roll(-1, 1), 256).float()

    (sentence,) = baseline(Ahead(), data).suspicions
    assert "reads the tokens that it shall predict" in sentence
    data = load_dataset(str(files["numbers"]))
    found = baseline(numbers()[0], data)
    assert found.chance == pytest.approx(0, abs=0.2)
    assert found.suspicions


def test_settings_that_mean_nothing_for_a_task_are_refused(files):
    data = load_dataset(str(files["pixels"]))
    with pytest.raises(RunError, match="not their masks"):
        next(finetune(pixels()[0], data, Tuning(horizontal_flip=True), seed=0))
    data = load_dataset(str(files["numbers"]))
    with pytest.raises(RunError, match="regression has no classes"):
        next(finetune(numbers()[0], data, Tuning(label_smoothing=0.1), seed=0))


# ------------------------------------------------------------------ from data to result


@pytest.mark.parametrize(
    ("name", "task", "criterion"),
    [
        ("numbers", "regression", "activation_gradient"),
        ("pixels", "segmentation", "taylor"),
        ("letters", "language_modelling", "wanda"),
        ("words", "classification", "accuracy_drop"),
    ],
)
def test_a_run_of_each_task_through_the_command_line(
    files, tmp_path, capsys, name, task, criterion
):
    recipe = {
        "version": 1,
        "model": f"python:tests.core.task_zoo:{name}",
        "criterion": criterion,
        "granularity": "weight" if criterion == "wanda" else "unit",
        "target": {"kind": "ratio", "value": 0.25},
        "calibration": {"samples": 32},
        "tuning": {
            "epochs": 2,
            "learning_rate": 0.02,
            "batch_size": 16,
            "watched": "accuracy",
            "restore_best": True,
            "distillation": {"alpha": 0.2},
        },
        "quantisation": {"kind": "dynamic"},
    }
    path, out = tmp_path / "recipe.json", tmp_path / "out"
    path.write_text(json.dumps(recipe))
    assert main(["run", str(path), "--data", str(files[name]), "--out", str(out)]) == 0
    said = capsys.readouterr()
    metric = headline(task)
    assert f"tuned: test {metric.name}" in said.err
    report = json.loads((out / "report.json").read_text())
    assert report["task"] == report["data"]["task"] == task
    page = (out / "report.html").read_text()
    assert f"Test {metric.name} went from" in page
    if task != "classification":
        assert "ccuracy" not in said.err.replace("share of right", "")
        values = report["details"]["tuned"]["values"]
        assert metric.is_better(
            values[metric.key], report["details"]["pruned"]["values"][metric.key]
        )
        assert report["accuracy"]["tuned"] is None
        assert "validation_score" in report["epochs"][0]
        assert "Accuracy" not in page
        assert report["quantised"]["change"][0] is not None
    opened = open_run(out)
    data = fitted(
        opened.model, load_dataset(str(files[name]), input_shape=opened.model.input_shape)
    )
    again = evaluate(opened.surgery.module, data.test)
    assert again.headline == pytest.approx(opened.tuned.headline, rel=1e-5)
    assert opened.tuned.task == task
    assert opened.epochs[-1].task == task
    assert checked_report((out / "report.json").read_bytes())["task"] == task
    assert Shown(accuracy=again.headline, loss=again.loss, n=again.n, task=task).precision is None
    assert main(["compare", f"{out}:dense", str(out)]) == 0
    assert f"{metric.name}" in capsys.readouterr().out
    if task != "classification":
        found = run_to_end(compare(Side(out, "dense"), Side(out, "tuned")))["behaviour"]["samples"]
        check_samples(found, data.test, opened.model.module, opened.surgery.module)


def check_samples(found, split, dense, tuned):
    """The samples that changed most are those that a plain loop finds."""
    errors, answers = [], []
    for module in (dense.eval(), tuned.eval()):
        with torch.inference_mode():
            inputs, targets = split.batch(slice(0, len(split)))
            answer = module(inputs)
            answer = answer["out"] if isinstance(answer, dict) else answer
        if found["kind"] == "numbers":
            errors.append((answer - targets).abs()[:, 0])
        elif found["kind"] == "masks":
            errors.append(
                nn.functional.cross_entropy(answer, targets, reduction="none").mean((1, 2))
            )
        else:
            errors.append(-answer.log_softmax(-1).gather(2, targets[..., None])[..., 0])
        answers.append(answer)
    change = errors[1] - errors[0]
    for name, sign in (("worse", 1), ("better", -1)):
        if found["kind"] == "tokens":
            assert found[f"n_tokens_{name}"] == int((sign * change > 0).sum())
        else:
            assert found[f"n_{name}"] == int((sign * change > 0).sum())
        for one in found[name]:
            spot = (one["sample"], one["position"]) if "position" in one else one["sample"]
            ours = [float(each[spot]) for each in errors]
            assert one.get("errors", one.get("nats")) == pytest.approx(ours, rel=1e-4, abs=1e-5)
        first = found[name][:1]
        if first:
            spot = (
                (first[0]["sample"], first[0]["position"])
                if "position" in first[0]
                else (first[0]["sample"])
            )
            assert float(sign * change[spot]) == pytest.approx(
                float((sign * change).max()), rel=1e-4, abs=1e-5
            )
    one = (found["worse"] + found["better"])[0]
    if found["kind"] == "masks":
        shown = np.frombuffer(base64.b64decode(one["masks"][2]), np.uint8).reshape(one["shape"])
        expected = answers[1][one["sample"]].argmax(0).numpy()
        np.testing.assert_array_equal(shown, expected)
    elif found["kind"] == "numbers":
        assert one["answers"][1] == pytest.approx(answers[1][one["sample"]].tolist(), rel=1e-5)
    else:
        place = (one["sample"], one["position"])
        assert one["before"][-1] == int(split.inputs[place])
        assert one["next"] == int(split.labels[place])
        assert one["says"][1] == int(answers[1][place].argmax())
