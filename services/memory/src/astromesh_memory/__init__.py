"""Conversational, semantic and episodic memory, projected from the log."""
