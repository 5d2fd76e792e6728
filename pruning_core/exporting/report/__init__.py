"""The HTML report: pure functions from the run document to one self-contained page."""
