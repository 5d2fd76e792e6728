"""What the explanations of lessons claim holds for the numbers they show: direction and size."""

import json

import numpy as np
import pytest
import torch
from torch.nn.utils import prune as torch_prune

from pruning_core.lessons import LESSONS
from pruning_core.lessons.expected import expected
from pruning_core.lessons.lesson import all_facts, measured


def at(key, value):
    """All facts of a lesson at a position; what takes long as it was measured for teachers."""
    lesson = LESSONS[key]
    kept = expected(lesson)
    facts = kept["facts"] if lesson.is_long else json.loads(json.dumps(measured(lesson)))
    return all_facts(lesson, facts, value)


def test_a_threshold_keeps_what_torch_keeps():
    facts = at("threshold", 0.15)
    kernel = torch.tensor(facts["kernel"])
    layer = torch.nn.Linear(5, 5, bias=False)
    layer.weight.data = kernel
    torch_prune.l1_unstructured(layer, "weight", amount=facts["gone"])
    assert int(layer.weight_mask.sum()) == facts["kept"] == 10
    assert layer.weight[layer.weight_mask.bool()].abs().min().item() == pytest.approx(
        facts["smallest"]
    )
    assert facts["low"] < 0.15 <= facts["high"]


def test_a_mask_leaves_the_file_as_it_is_and_removal_does_not():
    facts = at("mask_or_cut", "cut")
    table = facts["table"]
    assert table["mask"]["bytes"] == table["dense"]["bytes"]
    assert table["mask"]["macs"] == table["dense"]["macs"]
    assert facts["cut_times"] > 3
    assert table["mask"]["zip"] < 0.6 * table["dense"]["bytes"]
    assert facts["mask_verdict"] == "no measurable gain"
    assert facts["cut_verdict"] == "faster"


def test_thirty_percent_of_channels_are_half_of_the_work():
    facts = at("square", 30)
    assert facts["square"] == pytest.approx(49)
    assert facts["asked_macs"] == pytest.approx(49, abs=2)  # Lab 1, question 8: about one half
    for ratio, left in zip(facts["ratios"], facts["macs"], strict=True):
        assert left == pytest.approx((100 - ratio) ** 2 / 100, abs=3)


def test_smallest_first_beats_random_beats_largest_first():
    facts = at("baselines", 50)
    curves = {rule: np.array(curve) for rule, curve in facts["curves"].items()}
    before_chance = slice(1, 8)
    assert (curves["smallest"] > curves["random"])[before_chance].all()
    assert (curves["random"] >= curves["largest"])[before_chance].all()
    assert facts["breaks_largest"] < facts["breaks"] < facts["breaks_smallest"]


def test_the_fragile_layer_is_small_and_the_robust_one_large():
    facts = at("sensitivity", "conv1")
    assert facts["worst_lost"] > 3 * facts["best_lost"]
    assert facts["worst_n"] == min(facts["counts"].values())
    assert facts["best_n"] == max(facts["counts"].values())
