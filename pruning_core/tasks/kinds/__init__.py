"""The tasks, one file each; a file in this folder registers itself in ``TASKS``."""
