"""Fine-tuning and batch-norm recalibration."""
