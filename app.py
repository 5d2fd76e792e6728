"""Pruning Studio: start it with ``python app.py``, or ``streamlit run app.py`` in this folder."""

import sys

from streamlit.runtime.scriptrunner import get_script_run_ctx

if get_script_run_ctx(suppress_warning=True) is None:
    from pages.common import launch

    sys.exit(launch.main(sys.argv[1:]))

from pages.common import shell

shell.run()
