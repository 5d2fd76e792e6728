"""Five hundred layers in the table alone, with what a scan and a timing would have measured.

The recipe is under the table, so that a test can read what the edits made of it.
"""

import math
import sys
from pathlib import Path

import streamlit as st

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from pages.common import edits, inbox, layer_rows, layers
from pages.common.components import mount_layers
from pruning_core import Recipe, load_model, preview, resolve, score, trace
from pruning_core.granularities import GRANULARITIES
from pruning_core.planning.recipe import Ratio
from tests import many_layers

st.set_page_config(layout="wide")


@st.cache_resource
def traced():
    """Trace once and rate once."""
    model = load_model(many_layers.IDENTITY)
    recipe = edits.with_granularity(Recipe(model=many_layers.IDENTITY), "unit")
    network = trace(model.module, model.inputs)
    return network, score(model, network, recipe), recipe.replace(target=Ratio(value=0.1))


network, scores, first = traced()
recipe = st.session_state.setdefault("recipe", first)


def act(wish):
    """Carry out what the table sent, as the page does."""
    if wish["action"] == "select":
        st.session_state["selected"] = wish["name"]
        return
    st.session_state["recipe"] = layers.edited(
        st.session_state["recipe"], wish, lambda recipe: resolve(recipe, network, scores)
    )


plan = resolve(recipe, network, scores)
rows = layer_rows.rows(plan, preview(network, plan), network, GRANULARITIES["unit"], scores.by_site)
names = [row.name for row in rows if row.role == "site"]
ratios = [0.0, 0.25, 0.5, 0.75]
curves = {
    name: (ratios, [0.9 - ratio * (0.1 + 0.2 * math.sin(i) ** 2) for ratio in ratios])
    for i, name in enumerate(names)
}
coupled = {group.name: group.layers for group in network.groups}
mount_layers(
    key="table",
    data={
        "model": recipe.model,
        "removes": True,
        "ticks": ["#007A5E"],
        "selected": st.session_state.get("selected", names[0]),
        "done": inbox.done("table"),
        **layer_rows.payload(
            rows,
            coupled,
            layer_rows.shared_groups(network),
            sensitivity=curves if "measured" in st.query_params else None,
            time_shares=dict.fromkeys(names, 1 / len(names))
            if "measured" in st.query_params
            else None,
        ),
    },
    on_wishes_change=lambda: inbox.carry_out("table", act),
)
st.code(recipe.to_json(), language=None)
