"""Orchestration patterns: generators of effects. No clock, no randomness, no I/O lives here."""
