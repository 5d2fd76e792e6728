"""What the explanations of lessons claim holds for the numbers they show: direction and size."""

import json

import numpy as np
import pytest
import torch
from torch.nn.utils import prune as torch_prune

from pruning_core.lessons import LESSONS, lab
from pruning_core.lessons.expected import expected
from pruning_core.lessons.lesson import HandIn, all_facts, measured
from pruning_core.lessons.texts import Words
from pruning_core.planning.recipe import Budget, Ratio, Recipe, Schedule, Tuning
from pruning_core.runs.bench_worker import Bench
from pruning_core.runs.pipeline import execute


def at(key, value, tries=None):
    """All facts of a lesson at a position; what takes long as it was measured for teachers."""
    lesson = LESSONS[key]
    kept = expected(lesson)
    facts = kept["facts"] if lesson.is_long else json.loads(json.dumps(measured(lesson)))
    return all_facts(lesson, facts, value, tries)


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


def test_convolutions_do_the_work_and_full_layers_hold_the_weights():
    facts = at("cost", "lenet_5")
    own = facts["models"]["lenet_5"]
    # LeNet-5 of Caffe by hand: positions x outputs x inputs x kernel
    assert own["macs"] == [24 * 24 * 20 * 25, 8 * 8 * 50 * 20 * 25, 500 * 800, 10 * 500]
    assert (facts["by_params"], facts["by_macs"]) == ("fc1", "conv2")
    assert facts["params_macs"] < 20
    assert facts["macs_share"] > 60


def test_wide_layers_have_narrow_weights():
    layers = at("weights", "fc1")["layers"]
    spread = {name: layers[name]["std"] for name in layers}
    assert spread["fc1"] < spread["fc2"] < spread["fc3"]  # 784, 300 and 100 inputs
    assert layers["fc1"]["share"] > layers["fc2"]["share"] > layers["fc3"]["share"]


def test_finer_shapes_lose_less():
    facts = at("granularity", "row")
    assert facts["order"] == ["weight", "block_1x4", "kernel", "row"]
    assert facts["worst_lost"] > 4 * facts["best_lost"] > 0
    assert all(own["zeros"] == pytest.approx(60, abs=0.5) for own in facts["shapes"].values())


def test_a_channel_of_a_residual_stream_takes_five_convolutions_along():
    facts = at("coupling", "conv1")
    own = facts["groups"]["conv1"]
    assert set(own["names"]) == {
        "conv1",  # 9 weights make it
        *("blocks.0.conv1", "blocks.0.conv2"),  # 16 x 9 each
        *("blocks.1.conv1", "blocks.1.shortcut.0"),  # 32 x 9 and 32 x 1
    }
    assert facts["n_weights"] == 9 + 2 * 16 * 9 + 32 * 9 + 32
    assert facts["n_others"] == 2 * 2  # scale and shift of the two batch norms


def test_the_ticket_lies_between_trained_and_fresh_weights_and_random_masks_fail():
    facts = at("ticket", "95")
    assert facts["order"] == ["trained", "rewound", "fresh", "random"]
    assert facts["gap"] > 2
    assert facts["fresh"] - facts["random"] > 20


def test_fine_tuning_recovers_with_a_medium_rate_only():
    facts = at("recovery", "0.001")
    assert facts["pruned"] < 30
    assert 90 < facts["asked"] < facts["dense"]
    last = {rate: curve[-1] for rate, curve in facts["curves"].items()}
    assert facts["best"] == "0.01"
    assert max(last["0.0001"], last["0.1"]) < last["0.001"]


def test_three_cuts_cost_more_than_their_sum():
    facts = at("joint", 80)
    assert [facts["fc1"], facts["fc2"], facts["fc3"]] == pytest.approx([4, 4, 13], abs=0.5)
    assert facts["joint"] > facts["total"] + 5


def test_solvers_that_look_at_the_weights_beat_uniform_and_a_hand_can_win():
    example = expected(LESSONS["budget"])["facts"]["example"]
    facts = at("budget", example["value"], [example])
    assert facts["best"] == "ranking"
    assert facts["uniform_before"] > 5 * facts["erk_before"] > 5 * facts["ranking_before"]
    assert facts["uniform_after"] < facts["uniform_before"] / 4  # fine-tuning forgives much
    assert facts["uniform_after"] > facts["loss_limit"] + 2  # and not everything
    assert facts["ranking_after"] < facts["erk_after"] < facts["uniform_after"]
    assert facts["best_after"] <= facts["loss_limit"] == 1
    assert facts["best_size"] == pytest.approx(facts["size"])
    assert facts["size"] <= facts["size_limit"] == 25
    assert facts["counts"] == {"conv1": 500, "conv2": 25_000, "fc1": 400_000, "fc2": 5_000}
    assert (facts["main"], facts["main_share"] > 90) == ("fc1", True)


def test_the_best_try_keeps_the_budget_before_it_keeps_the_accuracy():
    lesson = LESSONS["budget"]
    small = {"size": 24.0, "before": 9.0, "after": 3.0, "value": [0, 0, 80, 0]}
    large = {"size": 60.0, "before": 0.0, "after": 0.0, "value": [0, 0, 40, 0]}
    facts = at("budget", [0, 0, 0, 0], [large, small])
    assert facts["best_after"] == 3
    assert not lesson.reached(facts)
    good = {**small, "after": 1.0}
    assert lesson.reached(at("budget", [0, 0, 0, 0], [large, small, good]))
    assert not lesson.reached(at("budget", [0, 0, 0, 0], []))


def test_a_try_that_is_handed_in_is_pruned_trained_and_measured():
    question = {
        "kind": "lesson",
        "lesson": "budget",
        "attempt": [0, 0, 90, 0],
        "recipe": {"version": 1, "model": "bundled:lenet_5"},
        "threads": torch.get_num_threads(),
    }
    found = Bench(lambda: False).answer(question, lambda *_: None)["found"]
    assert found["size"] == pytest.approx(100 * (431_080 - 360_000) / 431_080)
    assert found["before"] > found["after"]


def test_a_neuron_is_a_row_a_bias_and_a_column():
    facts = at("neurons", [3, 50, 99])
    assert facts["one"] == 300 + 1 + 10
    assert facts["left"] == 3 * facts["one"]
    assert facts["params"] == 784 * 300 + 300 + 300 * 100 + 100 + 100 * 10 + 10
    assert at("neurons", list(range(100)))["gone"] == 99  # a layer cannot be empty


def test_silent_neurons_go_for_nothing_and_listening_counts_more_than_speaking():
    scores = expected(LESSONS["neurons"])["facts"]["scores"]["mean_output"]
    silent = [unit for unit, score in enumerate(scores) if score == 0]
    facts = at("neurons", silent)
    assert facts["silent"] == len(silent) >= 8
    assert facts["own_acc"] == pytest.approx(facts["dense"])
    assert facts["asked_outgoing"] > facts["asked_output"] + 2
    curves = facts["curves"]
    assert curves["mean_output"][0] == curves["outgoing_weight"][0] == facts["dense"]
    assert max(curves["mean_output"][-1], curves["outgoing_weight"][-1]) < 75


def test_gradual_beats_one_shot_beats_equal_steps_where_little_is_left():
    facts = at("schedule", "98")
    assert facts["order"] == ["gradual", "oneshot", "rounds"]
    assert facts["gradual_low"] > facts["oneshot_high"]
    assert facts["oneshot_low"] > facts["rounds_high"] + 10
    # Zhu and Gupta 2017, equation 1, from nothing: at half of the steps 7/8 of the way are done
    assert facts["half"] == pytest.approx(98 * 7 / 8)
    assert facts["last_of_left"] == pytest.approx(100 * 24.5 / 26.5)
    for own in facts["curves"]["98"].values():
        assert own["gone"][-1] == pytest.approx(98)
        assert own["epochs"][-1] == 20
    ends = [at("schedule", "90")[way] for way in facts["order"]]
    assert max(ends) - min(ends) < 1


def test_the_rounds_of_a_lesson_are_those_of_a_run():
    recipe = Recipe(
        model="bundled:mlp_digits",
        target=Ratio(value=0.95),
        schedule=Schedule(rounds=3, gradual=True, last_epochs=2),
        tuning=Tuning(epochs=1, batch_size=32),
    )
    moments = list(lab.scheduled(recipe))
    assert [moment.epoch for moment in moments] == [0, 1, 1, 2, 2, 3, 4]
    *_, finished = execute(recipe, threads=torch.get_num_threads())
    assert moments[-1].accuracy == pytest.approx(100 * finished.result.tuned.accuracy)


def test_speed_follows_the_macs_only_in_part():
    facts = at("speed", "half")
    assert facts["half_macs"] == pytest.approx(4, abs=0.2)
    assert 1.2 < facts["half_speed"] < facts["half_macs"]
    assert facts["odd_saved"] < 25
    for form in ("dense", "odd", "half"):
        own = at("speed", form)
        assert sum(own["shares"].values()) == pytest.approx(100)
        assert sum(own["work"].values()) == pytest.approx(100)
        assert own["work"]["norm"] == own["work"]["rest"] == 0
        assert own["first_time"] > 1.5 * own["first_macs"]
    assert facts["idle"] > at("speed", "dense")["idle"]  # it shrinks less than the rest


def test_a_small_mean_loss_hides_a_large_one():
    for plan in ("ranking", "erk"):
        facts = at("classes", plan)
        assert facts["worst_lost"] > 2 * facts["mean_lost"] > 0
        assert facts["worst_lost"] == pytest.approx(
            facts["worst_before"] - facts["worst_after"], abs=1e-3
        )
    assert abs(facts["ranking_acc"] - facts["erk_acc"]) < 1
    assert facts["differ"] > 3 * abs(facts["ranking_acc"] - facts["erk_acc"])


def test_one_ranking_of_plain_norms_nearly_empties_the_first_layer():
    facts = at("scope", 50)
    assert facts["answer"] == "conv1"
    assert facts["conv1_share"] < 20
    assert facts["local_kept"] == 8
    assert facts["mean_kept"] > facts["conv1_kept"]


def test_some_heads_can_go_and_most_cannot():
    facts = at("heads", 6)
    assert facts["answer"] == 6
    assert facts["accuracies"][-1] < 60
    assert facts["accuracies"][6] > 85
    assert len({tuple(one) for one in facts["order"]}) == 12  # one stays in each of four blocks
    assert facts["gru_half"] < facts["gru_dense"] - 20


def test_the_winner_depends_on_what_is_counted():
    files, work = at("one_budget", "bytes"), at("one_budget", "macs")
    assert files["weight_left"] == pytest.approx(100)
    assert files["neuron_left"] == pytest.approx(50, abs=1)
    assert files["structured_left"] == pytest.approx(50, abs=2)
    assert work["weight_left"] == pytest.approx(100)
    assert work["structured_left"] < 70
    assert work["neuron_left"] > 85
    assert work["weight_before"] > work["neuron_before"] > work["structured_before"] + 3
    assert work["structured_after"] > work["structured_before"] + 5


def test_only_the_l1_penalty_reaches_zero():
    from pruning_core.tuning.penalty import Elements

    facts = at("l1", 0.3)
    weights = torch.nn.Parameter(torch.tensor([1.0, 0.3]))
    Elements([weights]).shrink(0.3, lambda _: 1.0)  # one proximal step from the minimum without it
    assert weights.tolist() == pytest.approx([facts["l1_large"], facts["l1_small"]])
    w = torch.tensor([1.0, 0.3], requires_grad=True)
    fit = torch.optim.LBFGS([w], max_iter=50)

    def loss():
        fit.zero_grad()
        total = 0.5 * ((w - torch.tensor([1.0, 0.3])) ** 2).sum() + 0.5 * 0.3 * (w**2).sum()
        total.backward()
        return total

    fit.step(loss)
    assert w.tolist() == pytest.approx([facts["l2_large"], facts["l2_small"]], abs=1e-4)
    assert facts["none_zeros"] == 0
    assert facts["zeros"] == sorted(facts["zeros"])
    assert facts["most_zeros"] >= 5


def test_norms_agree_and_taylor_less():
    facts = at("criteria", "l1")
    assert facts["answer"] == "l1-l2"
    assert facts["l1_l2"] > facts["l1_taylor"] + 0.1


def test_numbers_that_questions_tell_are_those_that_were_measured():
    told = {key: Words("en", key)("guess.ask") for key in ("joint", "sensitivity", "recovery")}
    alone = [expected(LESSONS["joint"])["facts"][f"alone_fc{place}"] for place in (1, 2, 3)]
    assert "about 4 points in fc1, 4 in fc2 and 13 in fc3" in told["joint"]
    assert alone == pytest.approx([4, 4, 13], abs=0.5)
    for key, accuracy in (("joint", 92), ("sensitivity", 92), ("recovery", 99)):
        assert f"{accuracy} %" in told[key]
        assert expected(LESSONS[key])["facts"]["dense"] == pytest.approx(accuracy, abs=1.5)


def test_factors_multiply_savings_do_not_add_and_a_teacher_helps_where_labels_are_few():
    facts = at("combining", "teacher")
    dense, pruned, both = facts["sizes"]["teacher"]
    assert dense > 4 * 431_080  # LeNet-5's float32 numbers, and the graph
    assert 3.5 < dense / pruned < 4.2  # a quarter of the parameters
    assert 3 < pruned / both < 4  # one byte instead of four, and scales
    assert facts["times"] == pytest.approx(facts["prune_times"] * facts["int8_times"])
    assert facts["alone_saved"] > 3 * facts["int8_saved"]
    assert facts["sizes"]["none"] == facts["sizes"]["labels"] == facts["sizes"]["teacher"]
    assert facts["pruned"] + 5 < facts["labels"] < facts["teacher"] - 0.5
    assert facts["teacher"] < facts["dense"]
    assert abs(facts["int8_change"]) < 1


def test_a_search_that_measures_beats_rules_on_the_same_budget():
    few, all_of_them = at("automating", 6), at("automating", 60)
    assert max(all_of_them[f"{one}_macs"] for one in ("uniform", "ranking")) <= 50
    assert all_of_them["best_macs"] <= 50
    assert all_of_them["best"] > max(all_of_them["uniform"], all_of_them["ranking"]) + 2
    assert few["gain"] < all_of_them["gain"] == pytest.approx(all_of_them["answer"])
    points = {(one["macs"], one["accuracy"]) for one in all_of_them["trials"]}
    unbeaten = [
        (macs, accuracy)
        for macs, accuracy in points
        if not any(
            other != (macs, accuracy) and other[0] <= macs and other[1] >= accuracy
            for other in points
        )
    ]
    assert all_of_them["n_front"] == len(unbeaten)
    assert all_of_them["mixed_nonzero"] < 0.7 * all_of_them["best_params"]


def test_what_is_handed_out_is_what_was_promised_and_answers_alike():
    for ratio in ("30", "50", "70"):
        facts = at("final", ratio)
        assert facts["found_params"] == facts["params"]
        assert facts["found_kb"] == facts["kb"]
        assert 0 < facts["worst"] < 1e-4
        assert facts["changed"] == 0
        assert facts["after"] > facts["before"] + 5
    assert facts["columns"] == 4 * 4  # the second pooling leaves 4 x 4
    assert facts["fc1_share"] == pytest.approx(100 * 785 * 300 / 266_610)
    assert facts["masked_kb"] == pytest.approx(4 * 431_080 / 1000, rel=1e-2)


def test_plans_that_do_not_do_what_was_asked_are_not_accepted():
    lesson, facts = LESSONS["final"], at("final", "50")
    asked = {one.key: one.control for one in lesson.checks if isinstance(one.control, HandIn)}
    assert set(asked) == {"threshold", "square", "heads", "budget"}
    for control in asked.values():
        assert not control.judge(Recipe(model=control.model), facts)["right"]
    half = Recipe(model="bundled:lenet_5", target=Ratio(value=0.5))
    assert not asked["budget"].judge(half, facts)["right"]  # zeros do not shrink a file
    assert not asked["threshold"].judge(half, facts)["right"]  # other layers lose weights too
    uneven = Recipe(
        model="bundled:resnet_8", granularity="unit", target=Budget(kind="macs", value=0.25)
    )
    assert not asked["square"].judge(uneven, facts)["right"]
