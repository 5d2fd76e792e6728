"""Files of strangers: screened without running anything, read in a limited process, kept by digest.

``store.take_in`` is the door. Nothing in a file decides what code runs: checkpoints are not
unpickled but read by an interpreter that can only build descriptions (``pickles.py``), and all
of it happens in a child process whose memory and time are bounded (``sandbox.py``).
"""
