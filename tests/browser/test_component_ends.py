"""A component is not ended by what Streamlit calls when newer data overtook the first."""

import pytest

from pages.common import components, layer_rows
from pruning_core import Recipe, load_model, preview, resolve, score, trace
from pruning_core.granularities import GRANULARITIES
from pruning_core.planning.recipe import Ratio

pytestmark = pytest.mark.browser

# Streamlit 1.67 does this when data comes twice in a row: the end of the first call after another
# began, though the element stays where it is.
TWO_CALLS = """async ([text, html, values]) => {
  const data = new TextEncoder().encode(JSON.stringify(values));
  document.body.innerHTML = `<div id="host">${html}</div>`;
  const url = URL.createObjectURL(new Blob([text], { type: "text/javascript" }));
  const mount = (await import(url)).default;
  const parentElement = document.getElementById("host");
  window.sent = [];
  const setTriggerValue = (name, value) => window.sent.push(value);
  const first = mount({ data, parentElement, setTriggerValue });
  first();
  await new Promise((done) => setTimeout(done, 50));
  mount({ data, parentElement, setTriggerValue });
  first();
  await new Promise((done) => setTimeout(done, 50));
}"""


@pytest.mark.parametrize(
    "parts",
    [
        *(("heads",), ("heatmap",), ("strip",), ("threshold",), ("together",), ("units",)),
        ("layers_columns", "layers"),
    ],
)
def test_every_script_is_a_module_that_loads(page, parts):
    page.goto("about:blank")
    kind = page.evaluate(
        """async (text) => {
  const url = URL.createObjectURL(new Blob([text], { type: "text/javascript" }));
  return typeof (await import(url)).default;
}""",
        components.script(*parts),
    )
    assert kind == "function"


def payload():
    recipe = Recipe(model="bundled:mlp_digits", target=Ratio(value=0.1))
    model = load_model(recipe.model)
    network = trace(model.module, model.inputs)
    scores = score(model, network, recipe)
    plan = resolve(recipe, network, scores)
    granularity = GRANULARITIES[recipe.granularity]
    rows = layer_rows.rows(plan, preview(network, plan), network, granularity, scores.by_site)
    coupled = {group.name: group.layers for group in network.groups}
    return {
        "model": recipe.model,
        "removes": granularity.removes,
        "ticks": ["#007A5E"],
        "selected": "fc1",
        "done": {"client": "", "n": 0},
        **layer_rows.payload(rows, coupled, layer_rows.shared_groups(network)),
    }


def test_a_key_that_is_pressed_after_an_overtaken_call_counts_once(page):
    text = components.script("layers_columns", "layers")
    page.goto("about:blank")
    page.evaluate(TWO_CALLS, [text, components.LAYERS_HTML, payload()])
    page.locator(".layers table").focus()
    page.keyboard.type("5")
    assert page.locator("input.ratio:focus").input_value() == "5"
    page.keyboard.press("Enter")
    wishes = [wish for message in page.evaluate("window.sent") for wish in message["wishes"]]
    assert [(wish["action"], wish["value"]) for wish in wishes] == [("ratio", 5)]
    assert page.evaluate("document.activeElement.tagName") == "TABLE"
