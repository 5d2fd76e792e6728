"""Carry the plan out: prune, fine-tune, watch, stop; earlier runs are below."""

import streamlit as st

from pages.common import run_list, run_view, shell, state, strip, tuning

shell.enter()
strip.show()
with st.container(key="run_page"):
    settings, shown = st.columns([2, 5], gap="large")
with settings:
    tuning.show()
with shown:
    if state.run_id():
        run_view.show(state.run_id())
    else:
        st.subheader("No run is shown", anchor=False)
        st.markdown(
            "Press **Prune** to carry the plan out: the model is tested, pruned, tested again, "
            "fine-tuned and tested a last time, in a process of its own. You may close or reload "
            "this page meanwhile; the run goes on and is listed below."
        )
run_list.show()
