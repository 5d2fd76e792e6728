"""A recipe carried out from start to end, recorded and resumable."""
