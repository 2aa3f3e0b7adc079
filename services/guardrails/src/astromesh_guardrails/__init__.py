"""Checks and redacts text."""
