"""Take the result away: weights, ONNX, recipe, report, and the same run without this page."""

import streamlit as st

from pages.common import files, files_on_demand, shell, strip

shell.enter()
strip.show()
run = files.choose()
if run is None:
    st.subheader("Nothing to download yet", anchor=False)
    st.markdown(
        "The files of a run appear here when it is done. Decide what leaves on the Plan page, then "
        "press **Prune** on the Run page."
    )
    st.page_link("pages/run.py", label="To the Run page", icon=":material/arrow_forward:")
else:
    files.downloads(run)
    files_on_demand.show(run)
    files.same_without_page(run)
