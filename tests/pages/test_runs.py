"""The Run page: the schedule, and what is shown of runs."""

import pytest

from pruning_core.planning.recipe import Ratio, Recipe, Schedule, Tuning
from pruning_core.runs import dispatcher
from pruning_core.runs.checkpoint import Checkpoint, save_checkpoint
from pruning_core.runs.log import Log
from pruning_core.runs.pipeline import execute
from pruning_core.runs.store import Store
from tests.pages.test_pages import visit, widget

RECIPE = Recipe(model="bundled:mlp_digits")


def schedule(app) -> Schedule:
    return app.session_state["recipe"].schedule


def labels(elements) -> list[str]:
    return [element.label for element in elements]


def test_the_three_ways_of_pruning_have_their_own_settings(app):
    visit(app, "pages/run.py", RECIPE)
    assert "Rounds" not in labels(app.number_input)
    widget(app.selectbox, "Pruning").set_value("rounds").run()
    assert schedule(app) == Schedule(rounds=3)
    widget(app.selectbox, "Pruned per round").set_value("exponential").run()
    widget(app.number_input, "Epochs, last round").set_value(7).run()
    widget(app.number_input, "Largest drop, points").set_value(1.5).run()
    widget(app.selectbox, "Trained from").set_value("rewind").run()
    widget(app.number_input, "Rewound to epoch").set_value(2).run()
    expected = Schedule(
        rounds=3,
        shape="exponential",
        last_epochs=7,
        max_drop=1.5,
        weights="rewind",
        rewind_epoch=2,
    )
    assert schedule(app) == expected
    widget(app.selectbox, "Pruning").set_value("gradual").run()
    assert (schedule(app).gradual, schedule(app).weights) == (True, "keep")
    assert "Trained from" not in labels(app.selectbox)
    widget(app.selectbox, "Pruning").set_value("adaptive").run()
    widget(app.number_input, "First step").set_value(0.5).run()
    widget(app.number_input, "Rounds, at most").set_value(6).run()
    changes = {"rounds": 6, "last_epochs": None, "first_step": 0.5, "weights": "keep"}
    expected = expected.model_copy(update=changes)
    assert schedule(app) == expected
    widget(app.selectbox, "Pruning").set_value("shot").run()
    assert (schedule(app).rounds, schedule(app).last_epochs) == (1, None)
    assert schedule(app).first_step is None
    assert not app.error


@pytest.mark.parametrize("value", [2.5, None])
def test_an_empty_limit_means_none(app, value):
    limited = RECIPE.replace(schedule=Schedule(rounds=2, max_drop=1.0))
    visit(app, "pages/run.py", limited)
    widget(app.number_input, "Largest drop, points").set_value(value).run()
    assert schedule(app).max_drop == value


@pytest.fixture
def waits(monkeypatch):
    """Runs stay in the queue: no worker is started."""
    monkeypatch.setattr(dispatcher, "dispatch", lambda store: None)


def test_one_click_starts_the_four_runs_of_the_ticket_bench(app, waits):
    visit(app, "pages/run.py", RECIPE.replace(target=Ratio(value=0.8)))
    widget(app.button, "Lottery-ticket bench").click().run()
    assert not app.exception
    records = Store().all()
    assert len({record.group_id for record in records}) == 1
    assert [metric.label for metric in app.metric[:4]] == [
        *("trained weights", "rewound", "re-initialised", "random mask")
    ]
    assert [metric.value for metric in app.metric[:4]] == ["queued"] * 4
    shown = app.session_state["run"]
    widget(app.button, "Show").click().run()
    assert app.session_state["run"] in {record.id for record in records} - {shown}


def test_a_bench_that_means_nothing_says_so(app, waits):
    visit(app, "pages/run.py", RECIPE.replace(tuning=Tuning(epochs=0)))
    widget(app.button, "Lottery-ticket bench").click().run()
    assert "untrained" in app.error[0].value
    assert Store().all() == ()


def test_a_run_is_paused_resumed_and_cancelled(app, waits):
    visit(app, "pages/run.py", RECIPE)
    widget(app.button, "Prune").click().run()
    run = app.session_state["run"]
    widget(app.button, "Pause").click().run()
    assert Store().get(run).state == "paused"
    widget(app.button, "Resume").click().run()
    assert Store().get(run).state == "queued"
    widget(app.button, "Pause").click().run()
    widget(app.button, "Cancel").click().run()
    assert Store().get(run).state == "cancelled"
    assert not app.exception


def test_a_run_is_forked_with_the_fine_tuning_of_the_page(app, waits):
    recipe = RECIPE.replace(tuning=Tuning(epochs=2, train_samples=200))
    run = dispatcher.submit(recipe)
    for event in execute(recipe):
        if isinstance(event, Checkpoint):
            save_checkpoint(Store().folder(run), event)
    Store().claim(1)
    Store().set_epoch(run, 1, 2)
    Store().finish(run, 1, "cancelled")
    app.query_params["run"] = run
    visit(app, "pages/run.py", recipe)
    widget(app.number_input, "Epochs").set_value(5).run()
    app.session_state["fork"] = True
    app.run()
    assert not app.exception
    if "Start the fork" not in labels(app.button):
        pytest.skip("popovers do not open here")
    widget(app.button, "Start the fork").click().run()
    assert not app.exception
    made = Store().get(app.session_state["run"])
    assert (made.parent, made.parent_epoch, made.n_epochs) == (run, 2, 5)
    assert app.session_state["recipe"].tuning.epochs == 5


def test_the_log_and_the_sparsity_of_each_layer_are_shown_once_opened(app, waits):
    run = dispatcher.submit(RECIPE)
    folder = Store().folder(run)
    with Log(folder / "log.jsonl", 1) as log:
        totals = {"params": 10, "nonzero": 10, "macs": 10, "n_bytes": 40}
        log.add("preview", before=totals, after=totals, nonzero={"fc1": [10, 4]})
        log.add("note", text="A line of the log.")
    app.session_state["run_layers"] = app.session_state["run_log"] = True
    app.query_params["run"] = run
    visit(app, "pages/run.py", RECIPE)
    assert any("A line of the log." in code.value for code in app.code)
    (table,) = [frame.value for frame in app.dataframe if "Sparsity" in frame.value]
    assert table["Sparsity"].tolist() == [0.6]


def test_the_recommended_way_is_one_click_and_is_not_offered_twice(app):
    visit(app, "pages/run.py", RECIPE.replace(tuning=Tuning(epochs=4)))
    widget(app.button, "Recommended way").click().run()
    recipe = app.session_state["recipe"]
    assert (recipe.schedule.rounds, recipe.tuning.epochs, recipe.n_epochs) == (4, 1, 4)
    assert recipe.tuning.distillation is not None
    assert widget(app.button, "Recommended way").disabled
    assert not app.error
