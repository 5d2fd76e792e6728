"""From a recipe and scores to a plan: which units stay."""
