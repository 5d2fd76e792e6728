"""Streamlit's own command line, with uploads guarded before the first visitor comes.

python -m pages.common.server run app.py
"""

from streamlit.web.cli import main

from pages.common import access

if __name__ == "__main__":
    access.guard_uploads()
    main(prog_name="streamlit")
