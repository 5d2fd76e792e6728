"""The app in-process, with runs kept in a folder of the test's own."""

import json
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from pages.common import measuring

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def app(tmp_path, monkeypatch):
    """The started app on its first page."""
    monkeypatch.setenv("PRUNING_STUDIO_STATE", str(tmp_path / "state"))
    return AppTest.from_file(str(ROOT / "app.py"), default_timeout=120)


@pytest.fixture
def bench(app):
    """The processes that measure, with the state folder of this test, not of an earlier one."""
    measuring.bench().close()
    measuring.bench.clear()
    yield measuring.bench()
    measuring.bench().close()
    measuring.bench.clear()


@pytest.fixture
def component():
    """Read what a page hands to a component: ``component(app, "strip")``."""

    def read(app, name):
        found = [
            element.proto
            for element in app.get("bidi_component")
            if element.proto.component_name == f"pruning_studio_{name}"
        ]
        assert len(found) == 1, f"{len(found)} components called {name}"
        data = json.loads(found[0].bytes)
        if name == "layers":
            data["rows"] = [row for row in rows_of(data) if row["role"] == "site"]
        return data

    return read


def rows_of(data):
    """Return the rows of the table of layers, which travel by column, as one dict each."""
    columns, sparse = data["columns"], data["sparse"]
    return [
        {name: values[place] for name, values in columns.items()}
        | {name: values.get(str(place)) for name, values in sparse.items()}
        for place in range(len(columns["name"]))
    ]


def figures(app):
    """Return every Plotly figure of the page."""
    return [json.loads(element.proto.spec) for element in app.get("plotly_chart")]


def open_view(app, recipe, view):
    """Open one view of the Plan page with a recipe."""
    app.query_params["view"] = view
    app.run()
    app.session_state["recipe"] = recipe
    app.switch_page("pages/plan.py").run()
    assert not app.exception
    assert not app.error
    return app
