"""The speed of a finished run on the Run page."""

import json

from streamlit.testing.v1 import AppTest

from pruning_core.planning.recipe import Recipe
from pruning_core.runs.store import Store


def test_the_button_stands_before_and_the_tables_after_measuring(tmp_path, monkeypatch):
    monkeypatch.setenv("PRUNING_STUDIO_STATE", str(tmp_path))
    record = Store().add(Recipe(model="bundled:mlp_digits"), threads=1)

    def page(run):
        from pages.common import run_speed
        from pruning_core.planning.recipe import Recipe

        run_speed.show(run, Recipe(model="bundled:mlp_digits"))

    app = AppTest.from_function(page, args=(record.id,), default_timeout=60).run()
    assert not app.exception
    assert [button.label for button in app.button] == ["Measure speed"]
    times = {"median_ms": 1.0, "low_ms": 0.9, "high_ms": 1.1}
    row = {
        "backend": "pytorch", "batch_size": 1, "threads": 1, "n": 20, "before": times,
        "after": times, "ratio": 1.0, "ratio_low": 0.9, "ratio_high": 1.1,
        "verdict": "no measurable gain", "why": "Masked weights are still multiplied.",
    }  # fmt: skip
    found = {
        "rows": [row],
        "memory": [{"batch_size": 1, "n": 5, "dense": 2000, "pruned": 1000}],
        "weights": {"dense": 4000, "pruned": 2000},
        "macs": {"dense": 100, "pruned": 50},
        "problems": [],
    }
    folder = Store().folder(record.id) / "export"
    folder.mkdir()
    (folder / "speed.json").write_text(json.dumps(found))
    app.run()
    assert not app.exception
    assert [button.label for button in app.button] == ["Measure speed again"]
    speed, memory = (table.value for table in app.dataframe)
    assert speed["Runtime"][0] == "PyTorch"
    assert "no measurable gain (ratio 0.90 to 1.10)" in speed.iloc[0, 5]
    assert list(memory["Pruned"]) == ["2 kB", "1 kB"]
    assert any("Masked weights are still multiplied" in item.value for item in app.caption)
