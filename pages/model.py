"""Choose a model and see what it is made of; nothing has to be configured."""

import streamlit as st

from pages.common import cache, overview, shell, state, strip
from pages.common.format import count, markdown, percent, size

shell.enter()
strip.show()
chooser, picture = st.columns([2, 5], gap="medium")

with chooser:
    cards = {card.identity: card for card in cache.cards()}
    st.radio(
        "Bundled models",
        list(cards),
        format_func=lambda identity: markdown(cards[identity].title),
        captions=[
            f"{markdown(overview.data_title(card.data))} · {percent(card.accuracy)} of "
            f"{card.n_test:,} test examples right · {count(card.n_params)} parameters"
            for card in cards.values()
        ],
        **state.bound("model_choice", state.recipe().model, state.choose_model),
    )
    st.caption(
        "Models of your own run from the command line and from Python: "
        "`python -m pruning_core inspect python:package.module:factory`."
    )

with picture:
    recipe = state.recipe()
    card = cards.get(recipe.model)
    network = cache.network(recipe.model)
    st.subheader(markdown(card.title if card else recipe.model), anchor=False)
    if card is not None:
        st.markdown(markdown(card.description))
    before = cache.preview(recipe).before
    facts = (
        ("Parameters", count(before.params)),
        ("MACs per sample", count(before.macs)),
        ("Weights file", size(before.n_bytes)),
        ("Layers", str(len(network.layers))),
        ("Coupled groups", str(len(network.groups))),
    )
    for column, (label, value) in zip(st.columns(len(facts)), facts, strict=True):
        column.metric(label, value)
    overview.first_layer(network)

overview.layer_table(network)
overview.share_charts(network)
overview.locked(network)
