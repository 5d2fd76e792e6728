"""Decide what leaves: globally or layer by layer, and see the exact savings at once.

The page has parts that can be drawn anew alone: what one layer does leaves the global settings as
they are, see ``state.attempt``.
"""

import streamlit as st

from pages.common import cache, controls, layers, shell, state, strip, views
from pages.common.format import markdown


@st.fragment(key="strip")
def savings() -> None:
    """Draw the savings strip."""
    strip.show()
    state.drawn()


@st.fragment(key="layers")
def table() -> None:
    """Draw what limits the plan as a whole, and the table of layers."""
    state.keep_in_step()
    recipe = state.recipe()
    plan = cache.plan(recipe)
    for note in plan.notes.get("", ()):
        st.info(markdown(note))
    controls.others(plan)
    if cache.sites(recipe):
        selected = state.layer(tuple(cache.sites(recipe)))
        layers.show(plan, cache.preview(recipe), selected)
    else:
        st.info(
            "This model has no units that can be removed. Choose single weights above, or another "
            "model on the Model page."
        )


@st.fragment(key="view")
def view() -> None:
    """Draw the chosen view."""
    state.keep_in_step()
    recipe = state.recipe()
    if cache.sites(recipe):
        selected = state.layer(tuple(cache.sites(recipe)))
        views.show(cache.plan(recipe), cache.preview(recipe), selected)


shell.enter()
savings()
drawn = ["strip", *shell.parts()]
amount: tuple[str, ...] = ()
if not state.is_left_out("controls"):
    controls.show()
    amount = controls.PARTS
for part, draw in (("layers", table), ("view", view)):
    if not state.is_left_out(part):
        draw()
        drawn.append(part)
state.can_redraw(tuple(drawn), amount)
