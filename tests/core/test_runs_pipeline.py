"""The pipeline: order, numbers, rounds, resuming, and refusing."""

import itertools
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from pruning_core.errors import InvalidRecipeError, PruningError, RunError, UnsupportedModelError
from pruning_core.evaluation.stopping import StoppedError
from pruning_core.exporting.reopen import open_run
from pruning_core.exporting.result import RunResult
from pruning_core.loading.dataset import load_dataset
from pruning_core.loading.model import load_model
from pruning_core.loading.weights import digest
from pruning_core.planning.recipe import Budget, Count, Ratio, Recipe, Schedule, Threshold, Tuning
from pruning_core.planning.resolve import resolve
from pruning_core.runs import checkpoint, counting
from pruning_core.runs.checkpoint import (
    Checkpoint,
    checkpoint_files,
    newest_checkpoint,
    save_checkpoint,
)
from pruning_core.runs.events import Evaluated, Finished, Note, RoundFinished, StageStarted
from pruning_core.runs.pipeline import execute, write_run
from pruning_core.scoring.score import score
from pruning_core.surgery.prune import prune
from pruning_core.tracing.trace import trace
from pruning_core.tuning.batchnorm import recalibrate_batchnorm
from pruning_core.tuning.finetune import EpochResult

QUICK = Tuning(epochs=2, train_samples=300)


def recipe(**changes) -> Recipe:
    base = Recipe(
        model="bundled:mlp_digits", granularity="unit", target=Ratio(value=0.5), tuning=QUICK
    )
    return base.replace(**changes)


def carried_out(wanted: Recipe, **options) -> tuple[list, RunResult]:
    events = list(execute(wanted, **options))
    assert isinstance(events[-1], Finished)
    return events, events[-1].result


def weights(result: RunResult) -> str:
    return digest(result.surgery.module.state_dict())


def of_kind(events, kind):
    return [event for event in events if isinstance(event, kind)]


def test_a_run_goes_through_its_stages_in_order() -> None:
    events, result = carried_out(recipe())
    stages = [event.stage for event in of_kind(events, StageStarted)]
    assert stages == [
        *("load", "trace", "score", "resolve", "preview", "dense"),
        *("prune", "recalibrate", "pruned", "tune", "tuned"),
    ]
    assert [event.moment for event in of_kind(events, Evaluated)] == ["dense", "pruned", "tuned"]
    assert [event.epoch for event in of_kind(events, EpochResult)] == [1, 2]
    assert [event.epoch for event in of_kind(events, Checkpoint)] == [1, 2]
    assert set(result.seconds) == set(stages)
    assert result.dense is not None
    assert result.dense.n == result.data.n_test
    assert result.dense.accuracy > 0.9
    assert result.counted == result.preview.after
    assert int(result.environment["threads"]) >= 1


def test_the_dense_model_is_never_changed() -> None:
    before = load_model("bundled:mlp_digits").weights_sha256
    _, result = carried_out(recipe(schedule=Schedule(rounds=2)))
    assert digest(result.model.module.state_dict()) == before


def test_without_epochs_nothing_is_tuned() -> None:
    events, result = carried_out(recipe(tuning=Tuning(epochs=0)))
    assert result.tuned is None
    assert result.epochs == ()
    assert result.pruned is not None
    assert not of_kind(events, Checkpoint)


def test_a_model_without_data_is_pruned_and_not_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "homeless.py").write_text(
        "from torch import nn\n"
        "def make():\n"
        "    return nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    wanted = recipe(model="python:homeless:make", input_shape=(6,))
    events, result = carried_out(wanted)
    (note,) = of_kind(events, Note)
    assert "no accuracy is measured and fine-tuning is left out" in note.text
    assert (result.dense, result.pruned, result.tuned, result.data) == (None, None, None, None)
    assert result.counted.params == 6 * 4 + 4 + 4 * 3 + 3
    with pytest.raises(UnsupportedModelError, match="run code"):
        list(execute(wanted, allow_python=False))


def test_units_leave_in_rounds_as_shares_of_the_dense_network() -> None:
    wanted = recipe(
        schedule=Schedule(rounds=3, shape="linear"), target=Ratio(value=0.6), scope="local"
    )
    events, result = carried_out(wanted)
    sizes = [mask.size for mask in result.plan.keep.values()]
    for event in of_kind(events, RoundFinished):
        share = 0.2 * event.round
        n_gone = sum(int(np.floor(share * size + 0.5)) for size in sizes)
        assert event.removed == pytest.approx(n_gone / sum(sizes))
    assert [event.epoch for event in of_kind(events, EpochResult)] == [1, 2, 3, 4, 5, 6]
    assert {event.n_epochs for event in of_kind(events, EpochResult)} == {6}
    assert result.counted == result.preview.after


def test_a_budget_in_rounds_is_a_share_of_the_dense_cost() -> None:
    wanted = recipe(schedule=Schedule(rounds=3), target=Budget(kind="macs", value=0.4))
    _, result = carried_out(wanted)
    assert result.counted.macs <= 0.4 * result.preview.before.macs
    assert result.counted.macs > 0.3 * result.preview.before.macs


def test_kept_indices_of_several_rounds_point_into_the_dense_weights() -> None:
    wanted = recipe(schedule=Schedule(rounds=3), tuning=Tuning(epochs=0))
    _, result = carried_out(wanted)
    dense = result.model.module.state_dict()
    assert result.surgery.kept
    for name, tensor in result.surgery.module.state_dict().items():
        expected = dense[name]
        for axis, indices in enumerate(result.surgery.kept.get(name, ())):
            if indices is not None:
                expected = expected.index_select(axis, torch.from_numpy(indices))
        assert torch.equal(tensor, expected), name


@pytest.mark.parametrize(
    ("granularity", "share"),
    [("weight", 0.9), ("block_4x4", 0.7), ("row", 0.6), ("column", 0.5), ("1:4", 0.75)],
)
def test_masked_weights_stay_zero_over_rounds_and_the_count_is_exact(
    granularity: str, share: float
) -> None:
    wanted = recipe(granularity=granularity, target=Ratio(value=share), schedule=Schedule(rounds=3))
    events, result = carried_out(wanted)
    plans = of_kind(events, Checkpoint)[-1].plans
    assert len(plans) == 3
    for earlier, later in itertools.pairwise(plans):
        for site, stays in later.keep.items():
            assert not (stays & ~earlier.keep[site]).any()
    n_weights = sum(mask.size for mask in result.plan.keep.values())
    n_kept = sum(int(mask.sum()) for mask in result.plan.keep.values())
    assert n_kept == n_weights - int(np.floor(share * n_weights + 0.5))
    parameters = dict(result.surgery.module.named_parameters())
    for name, mask in result.surgery.masks.items():
        assert not parameters[name][~mask].any()
    assert any(not mask.all() for mask in result.surgery.masks.values())


def test_branches_are_cut_over_rounds_and_the_rest_is_tuned() -> None:
    wanted = recipe(
        model="bundled:vit_tiny",
        granularity="depth",
        target=Ratio(value=0.5),
        schedule=Schedule(rounds=2, shape="linear"),
        tuning=QUICK.model_copy(update={"epochs": 1}),
    )
    events, result = carried_out(wanted)
    first, last = (state.keep["branches"] for state in of_kind(events, Checkpoint)[-1].plans)
    assert (first.sum(), last.sum()) == (6, 4)
    assert not (last & ~first).any()
    assert type(result.surgery.module) is type(result.model.module)
    assert result.counted.params == result.preview.after.params


def test_rounds_reach_the_masks_of_the_last_round_when_nothing_is_tuned() -> None:
    wanted = recipe(granularity="weight", target=Count(value=5000), tuning=Tuning(epochs=0))
    _, once = carried_out(wanted)
    _, thrice = carried_out(wanted.replace(schedule=Schedule(rounds=3)))
    assert once.plan.fingerprint == thrice.plan.fingerprint


def test_only_pruned_layers_are_trained_when_asked() -> None:
    sites = tuple(carried_out(recipe(granularity="weight", tuning=Tuning(epochs=0)))[1].plan.keep)
    wanted = recipe(
        granularity="weight",
        layers={sites[0]: Ratio(value=0.5)},
        target=Ratio(value=0.0),
        tuning=QUICK.model_copy(update={"layers": "pruned"}),
    )
    _, result = carried_out(wanted)
    dense = result.model.module.state_dict()
    changed = {
        name.rpartition(".")[0]
        for name, tensor in result.surgery.module.state_dict().items()
        if not torch.equal(tensor, dense[name])
    }
    assert changed == {sites[0]}


@pytest.mark.parametrize(
    ("model", "granularity"), [("bundled:cnn_digits", "unit"), ("bundled:mlp_digits", "weight")]
)
def test_a_run_resumed_after_any_epoch_ends_with_the_same_bits(
    model: str, granularity: str, tmp_path: Path
) -> None:
    wanted = recipe(model=model, granularity=granularity, schedule=Schedule(rounds=2))
    events, whole = carried_out(wanted)
    checkpoints = of_kind(events, Checkpoint)
    assert [(point.epoch, point.round) for point in checkpoints] == [(1, 1), (2, 1), (3, 2), (4, 2)]
    for point in checkpoints:
        folder = tmp_path / str(point.epoch)
        folder.mkdir()
        save_checkpoint(folder, point)
        resume, damaged = newest_checkpoint(folder)
        assert damaged == ()
        events, result = carried_out(wanted, resume=resume)
        first = point.epoch + 1
        assert [event.epoch for event in of_kind(events, EpochResult)] == [*range(first, 5)]
        assert weights(result) == weights(whole)
        assert result.plan.fingerprint == whole.plan.fingerprint
        assert [epoch.loss for epoch in result.epochs] == [epoch.loss for epoch in whole.epochs]
        assert result.dense.accuracy == whole.dense.accuracy
        assert result.pruned.accuracy == whole.pruned.accuracy
        assert np.array_equal(result.pruned.confusion, whole.pruned.confusion)
        assert result.surgery.kept.keys() == whole.surgery.kept.keys()


def test_two_checkpoints_are_kept_and_a_damaged_one_is_passed_over(tmp_path: Path) -> None:
    points = of_kind(execute(recipe(tuning=Tuning(epochs=3, train_samples=300))), Checkpoint)
    for point in points:
        save_checkpoint(tmp_path, point)
    files = checkpoint_files(tmp_path)
    assert [path.name for path in files] == [
        "epoch_00002_round_01.ckpt",
        "epoch_00003_round_01.ckpt",
    ]
    content = files[-1].read_bytes()
    flipped = bytearray(content)
    flipped[-100] ^= 1
    for damaged in (bytes(flipped), content[:-7], b"", b"rubbish"):
        files[-1].write_bytes(damaged)
        point, names = newest_checkpoint(tmp_path)
        assert (point.epoch, names) == (2, ("epoch_00003_round_01.ckpt",))
    files[0].write_bytes(b"")
    assert newest_checkpoint(tmp_path) == (None, tuple(path.name for path in reversed(files)))
    shutil.rmtree(tmp_path)
    tmp_path.mkdir()
    assert newest_checkpoint(tmp_path) == (None, ())


def test_a_checkpoint_of_another_recipe_or_model_is_refused() -> None:
    (point, *_) = of_kind(execute(recipe()), Checkpoint)
    with pytest.raises(RunError, match="another recipe"):
        list(execute(recipe(seed=1), resume=point))
    changed = Checkpoint(
        **{name: getattr(point, name) for name in point.__slots__} | {"weights_sha256": "0"}
    )
    with pytest.raises(RunError, match="changed since the run began"):
        list(execute(recipe(), resume=changed))


def test_a_run_folder_reopens_to_the_same_network(tmp_path: Path) -> None:
    _, result = carried_out(recipe(schedule=Schedule(rounds=2)))
    written = write_run(result, tmp_path)
    assert written.onnx is not None
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        *("model.onnx", "model.safetensors", "recipe.json", "report.html", "report.json")
    ]
    again = open_run(tmp_path)
    assert weights(again) == weights(result)
    assert again.plan.fingerprint == result.plan.fingerprint


def test_a_threshold_in_rounds_is_refused_before_anything_is_loaded() -> None:
    wanted = recipe(model="bundled:none", target=Threshold(value=1.0), schedule=Schedule(rounds=2))
    with pytest.raises(InvalidRecipeError, match="one round only"):
        next(execute(wanted))


def test_stopping_and_closing_put_the_number_of_threads_back() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        events = execute(recipe(), threads=1)
        next(events)
        assert torch.get_num_threads() == 1
        events.close()
        assert torch.get_num_threads() == 2
        with pytest.raises(StoppedError):
            list(execute(recipe(), threads=1, should_stop=lambda: True))
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_a_count_that_differs_from_the_preview_ends_the_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real = counting.counted

    def one_more(module, *, macs):
        totals = real(module, macs=macs)
        return type(totals)(totals.params + 1, totals.nonzero, totals.macs, totals.n_bytes)

    monkeypatch.setattr(counting, "counted", one_more)
    with pytest.raises(RunError, match="were predicted"):
        list(execute(recipe()))


def test_a_pruned_network_has_recalibrated_statistics():
    wanted = recipe(model="bundled:cnn_digits", tuning=Tuning(epochs=0))
    _, result = carried_out(wanted)
    model = load_model("bundled:cnn_digits")
    network = trace(model.module, model.inputs)
    plan = resolve(wanted, network, score(model, network, wanted))
    expected = prune(model, network, plan).module
    before = digest(expected.state_dict())
    recalibrate_batchnorm(expected, load_dataset("digits").calibration)
    assert before != weights(result) == digest(expected.state_dict())


def test_the_seed_reaches_the_fine_tuning():
    one, two = (carried_out(recipe(seed=seed))[1] for seed in (0, 1))
    assert one.plan.fingerprint == two.plan.fingerprint
    assert weights(one) != weights(two)


def test_best_weights_frozen_layers_and_an_early_end_go_through_rounds_and_are_told():
    tuning = QUICK.model_copy(
        update={
            "epochs": 6,
            "learning_rate": 0.1,
            "optimiser": "sgd",
            "patience": 1,
            "restore_best": True,
            "freeze": ("fc1",),
            "augmentations": {"crop": 1.0},
        }
    )
    wanted = recipe(
        granularity="weight",
        schedule=Schedule(rounds=2),
        tuning=Tuning.model_validate(tuning.model_dump()),
    )
    events, whole = carried_out(wanted)
    notes = [note.text for note in of_kind(events, Note)]
    assert sum("are kept" in note for note in notes) == 2
    dense = whole.model.module.state_dict()["fc1.weight"]
    kept = whole.surgery.masks["fc1.weight"]
    assert torch.equal(whole.surgery.module.state_dict()["fc1.weight"][kept], dense[kept])
    assert whole.environment["device"] == "cpu"
    for point in of_kind(events, Checkpoint)[1::3]:
        _, result = carried_out(wanted, resume=point)
        assert weights(result) == weights(whole)


def test_names_in_the_tuning_are_checked_before_the_long_work() -> None:
    for change, words in (
        ({"freeze": ("fc9",)}, r"No layer to freeze is called 'fc9'"),
        ({"augmentations": {"crops": 1.0}}, r"No augmentation is called 'crops'"),
    ):
        events = []
        with pytest.raises(PruningError, match=words):
            events.extend(execute(recipe(tuning={**QUICK.model_dump(), **change})))
    with pytest.raises(RunError, match="'gpu' is no device"):
        next(execute(recipe(), device="gpu"))


def test_the_ends_of_rounds_are_kept_beside_the_newest_two_while_they_fit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = recipe(schedule=Schedule(rounds=4), tuning=Tuning(epochs=3, train_samples=200))
    points = of_kind(execute(wanted), Checkpoint)

    def epochs(folder: Path) -> list[int]:
        return [checkpoint.epoch_of(path) for path in checkpoint_files(folder)]

    for point in points[:-1]:
        save_checkpoint(tmp_path, point)
    assert epochs(tmp_path) == [3, 6, 9, 10, 11]
    save_checkpoint(tmp_path, points[-1])
    assert epochs(tmp_path) == [3, 6, 9, 11, 12]
    checkpoint.tidy_checkpoints(tmp_path)
    assert epochs(tmp_path) == [3, 6, 9, 12]
    newest_two = sum(path.stat().st_size for path in checkpoint_files(tmp_path)[-2:])
    monkeypatch.setattr(checkpoint, "ROOM_BYTES", newest_two)
    checkpoint.tidy_checkpoints(tmp_path)
    assert epochs(tmp_path) == [9, 12]
