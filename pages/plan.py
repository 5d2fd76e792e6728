"""Decide what leaves: globally or layer by layer, and see the exact savings at once."""

import streamlit as st

from pages.common import cache, controls, layers, shell, state, strip, views
from pages.common.format import markdown

shell.enter()
strip.show()
recipe = state.recipe()
plan = cache.plan(recipe)
counted = cache.preview(recipe)
controls.show(plan, counted)
for note in plan.notes.get("", ()):
    st.info(markdown(note))
controls.others(plan)

if cache.sites(recipe):
    selected = state.layer(tuple(cache.sites(recipe)))
    layers.show(plan, counted, selected)
    views.show(plan, counted, selected)
else:
    st.info(
        "This model has no units that can be removed. Choose single weights above, or another "
        "model on the Model page."
    )
