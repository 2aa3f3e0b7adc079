"""Which runs are remembered beyond their conversation, and keeping what is remembered of them in step with the log."""
