"""The Run page: the schedule, and what is shown of runs."""

import pytest

from pruning_core.planning.recipe import Recipe, Schedule
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
    widget(app.selectbox, "Pruning").set_value("shot").run()
    assert (schedule(app).rounds, schedule(app).last_epochs) == (1, None)
    assert not app.error


@pytest.mark.parametrize("value", [2.5, None])
def test_an_empty_limit_means_none(app, value):
    limited = RECIPE.replace(schedule=Schedule(rounds=2, max_drop=1.0))
    visit(app, "pages/run.py", limited)
    widget(app.number_input, "Largest drop, points").set_value(value).run()
    assert schedule(app).max_drop == value
