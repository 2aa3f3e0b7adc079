"""Executes tools."""
