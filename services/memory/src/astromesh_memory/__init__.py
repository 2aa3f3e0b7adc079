"""Conversational memory, projected from the log."""
