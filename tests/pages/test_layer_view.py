"""The detail view of one layer: scores, units picked by hand, what leaves together, pictures."""

import pytest

from pruning_core import Recipe
from pruning_core.planning.recipe import Ratio
from tests.pages.test_pages import visit, widget


@pytest.mark.parametrize(("granularity", "share"), [("2:4", 0.5), ("1:4", 0.75), ("4:8", 0.5)])
def test_a_pattern_is_switched_not_dragged(app, component, granularity, share):
    visit(app, "pages/plan.py", Recipe(model="bundled:lenet_5", granularity=granularity))
    app.session_state["layer"] = "conv2"
    app.run()
    off = component(app, "threshold")
    assert off["on_off"]
    assert sum(off["gone"]) == 0
    assert not [field for field in app.number_input if field.label in ("Threshold", "Count")]
    widget(app.segmented_control, "This layer").set_value(granularity).run()
    on = component(app, "threshold")
    assert on["removed"] == sum(on["gone"]) == share * on["total"]
    assert all(gone <= count for gone, count in zip(on["gone"], on["counts"], strict=True))
    widget(app.segmented_control, "This layer").set_value("Dense").run()
    assert app.session_state["recipe"].layers == {"conv2": Ratio(value=0)}
    assert component(app, "threshold")["removed"] == 0


def test_scores_can_be_drawn_as_a_cumulative_curve(app, component):
    visit(app, "pages/plan.py", Recipe(model="bundled:lenet_5", granularity="unit"))
    assert component(app, "threshold")["curve"] is None
    widget(app.segmented_control, "Drawn as").set_value("ECDF").run()
    curve = component(app, "threshold")["curve"]
    assert curve["below"] == [k / 20 for k in range(20)]
    assert curve["scores"] == sorted(curve["scores"])
