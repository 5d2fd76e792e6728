"""Decide what leaves: globally or layer by layer, and see the exact savings at once."""

import streamlit as st

from pages.common import cache, controls, detail, layers, shell, state, strip
from pages.common.format import markdown

shell.enter()
strip.show()
recipe = state.recipe()
plan = cache.plan(recipe)
counted = cache.preview(recipe)
controls.show(plan, counted)
for note in plan.notes.get("", ()):
    st.info(markdown(note))

if plan.keep:
    selected = state.layer(tuple(plan.keep))
    layers.show(plan, counted, selected)
    detail.show(plan, selected)
else:
    st.info(
        "This model has no units that can be removed. Choose single weights above, or another "
        "model on the Model page."
    )
