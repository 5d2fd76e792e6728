"""Carry a plan out on a copy of the model."""
