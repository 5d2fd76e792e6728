"""The recipe as a file: download it, open one."""

import streamlit as st

from pages.common import cache, state
from pruning_core.planning.recipe import Recipe


def download(label: str) -> None:
    """Draw the button that downloads the recipe as it is when the button is pressed."""
    drawn = state.drawn()
    st.download_button(
        label,
        lambda: "" if drawn.recipe is None else drawn.recipe.to_json(),
        file_name="recipe.json",
        mime="application/json",
        on_click="ignore",
    )


def upload() -> None:
    """Draw the field that takes a recipe file."""
    st.file_uploader(
        "Open a recipe",
        type="json",
        max_upload_size=1,
        key="recipe_file",
        on_change=lambda: state.attempt(_open),
    )


def _open() -> None:
    """Take over the uploaded recipe, unless it is none or these pages cannot carry it out."""
    file = st.session_state["recipe_file"]
    if file is None:
        return
    uploaded = state.openable(Recipe.from_json(file.getvalue()))
    cache.plan(uploaded)
    state.set_recipe(uploaded)
