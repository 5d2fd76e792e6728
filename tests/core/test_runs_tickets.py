"""The lottery-ticket bench: four recipes, one group, one figure."""

import json
from pathlib import Path

import pytest

from pruning_core.command_line import main
from pruning_core.errors import InvalidRecipeError, RunError
from pruning_core.exporting.reopen import open_run
from pruning_core.loading.model import load_model
from pruning_core.planning.recipe import Ratio, Recipe, Schedule, Tuning
from pruning_core.runs import dispatcher
from pruning_core.runs.store import QUEUE_LIMIT, Store
from pruning_core.runs.tickets import ticket_recipes

RECIPE = Recipe(
    model="bundled:mlp_digits",
    target=Ratio(value=0.9),
    tuning=Tuning(epochs=2, train_samples=400),
)


def test_the_four_runs_differ_in_nothing_but_their_weights_and_the_last_in_its_mask() -> None:
    recipes = ticket_recipes(RECIPE, load_model(RECIPE.model))
    assert list(recipes) == ["trained weights", "rewound", "re-initialised", "random mask"]
    assert [recipe.schedule.weights for recipe in recipes.values()] == [
        *("keep", "rewind", "reinitialise", "rewind")
    ]
    assert recipes["trained weights"] == RECIPE
    assert recipes["random mask"].criterion == "random"
    for recipe in recipes.values():
        assert recipe.replace(schedule=Schedule(), criterion="l1") == RECIPE


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"tuning": Tuning(epochs=0)}, "untrained"),
        ({"schedule": Schedule(rounds=3, gradual=True)}, "one training"),
        ({"schedule": Schedule(rounds=3, max_drop=1.0)}, "of one size"),
    ],
)
def test_what_cannot_be_compared_is_refused(changes, sentence) -> None:
    with pytest.raises(InvalidRecipeError, match=sentence):
        ticket_recipes(RECIPE.replace(**changes), load_model(RECIPE.model))


def test_a_model_whose_beginning_is_not_known_is_refused(tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "no_beginning.py").write_text(
        "from torch import nn\ndef make():\n    return nn.Sequential(nn.Linear(64, 10))\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    model = load_model("python:no_beginning:make", input_shape=(64,))
    with pytest.raises(RunError, match="are not known"):
        ticket_recipes(RECIPE.replace(model=model.identity), model)


def test_the_command_writes_four_runs_and_one_figure(tmp_path: Path, capsys) -> None:
    path = tmp_path / "recipe.json"
    path.write_text(RECIPE.to_json())
    out = tmp_path / "bench"
    assert main(["tickets", str(path), "--out", str(out), "--json"]) == 0
    runs = json.loads(capsys.readouterr().out)["runs"]
    names = ["trained_weights", "rewound", "re-initialised", "random_mask"]
    assert sorted(item.name for item in out.iterdir()) == sorted([*names, "tickets.html"])
    masks = [run["mask_fingerprint"] for run in runs.values()]
    assert masks[0] == masks[1] == masks[2] != masks[3]
    assert all(len(run["validation_accuracy"]) == 2 for run in runs.values())
    assert runs["trained weights"]["tuned"] > runs["re-initialised"]["tuned"]
    assert open_run(out / "rewound").recipe.schedule.weights == "rewind"
    text = (out / "tickets.html").read_text()
    assert all(label in text for label in runs)


def test_a_group_is_queued_as_a_whole_or_not_at_all(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(dispatcher, "dispatch", lambda store: None)
    store = Store(tmp_path / "state")
    recipes = ticket_recipes(RECIPE, load_model(RECIPE.model))
    ids = dispatcher.submit_group(recipes, store=store)
    records = store.group(store.get(ids[0]).group_id)
    assert {record.label: record.id for record in records} == dict(zip(recipes, ids, strict=True))
    assert store.group("another") == ()
    for _ in range(QUEUE_LIMIT - 4 - 3):
        store.add(RECIPE, threads=1)
    with pytest.raises(RunError, match="waiting already"):
        dispatcher.submit_group(recipes, store=store)
    assert len(store.all()) == QUEUE_LIMIT - 3
