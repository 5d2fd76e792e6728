"""The commands of ``python -m pruning_core``, one file each: arguments in, an answer out."""
