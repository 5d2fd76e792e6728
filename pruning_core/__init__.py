"""Pruning Studio core: load, trace, score, plan, preview, prune, tune, evaluate and export networks."""
