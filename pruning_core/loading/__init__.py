"""Models and data sets: where networks, weights and examples come from."""
