"""Episodic memory: what happened in runs."""
