"""One file per export format; each registers itself."""
