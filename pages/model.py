"""Choose a model and see what it is made of; nothing has to be configured.

The first picture needs no PyTorch: it is drawn while that is still being imported.
"""

import streamlit as st

from pages.common import cache, large_files, overview, own_data, own_files, shell, state, strip

shell.enter()
place = strip.reserve()
large_files.panel()
own_files.panel()
identity = state.recipe().model
chooser, picture = st.columns([2, 5], gap="medium")
with chooser:
    overview.chooser()
with picture:
    overview.first_layer(identity)
    st.page_link("pages/plan.py", label="Plan what leaves", icon=":material/arrow_forward:")

strip.show(place)
network = cache.network(identity)
own_data.panel()
overview.totals(network, cache.preview(state.recipe()).before)
overview.layer_table(network)
overview.share_charts(network)
overview.locked(network)
