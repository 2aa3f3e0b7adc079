"""A fixed chain of stages: each works on what the one before it gave."""
