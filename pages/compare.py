"""Finished runs beside each other: tree, table, trade-off, settings, masks and answers."""

import streamlit as st

from pages.common import compare_import, compare_runs, compare_two, comparing, shell, strip

shell.enter()
strip.show()
with st.container(horizontal=True, vertical_alignment="center"):
    st.subheader("Compare runs", anchor=False, width="content")
    st.space("stretch")
    compare_import.show()
runs = comparing.listed()
if not runs:
    st.markdown(
        "Runs appear here when they are done: each dense network, what pruning and fine-tuning "
        "made of it, and its int8 file. Start one on the Run page, or import the folder of a run "
        "from another machine as a zip file."
    )
    st.page_link("pages/run.py", label="To the Run page", icon=":material/arrow_forward:")
else:
    compare_runs.table(runs)
    chosen = comparing.chosen(runs)
    compare_runs.pictures(chosen)
    compare_runs.settings(chosen)
    compare_two.show(chosen)
