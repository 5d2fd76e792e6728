"""Lessons, one file each; ``__init__`` of the package above imports them."""
