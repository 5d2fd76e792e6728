"""One file per kind of quantisation; each registers itself."""
