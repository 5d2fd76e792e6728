"""Commands that produce every figure the project claims."""
