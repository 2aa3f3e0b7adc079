"""Runs agents as event-sourced sagas."""
