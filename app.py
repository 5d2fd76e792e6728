"""Pruning Studio: the shell around the pages. Start it with ``streamlit run app.py``."""

from pages.common import shell

shell.run()
